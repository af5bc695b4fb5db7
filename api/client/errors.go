package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/tenure-dev/tenure/api/wire"
)

// ErrUnreachable says that there is no server at the address.
var ErrUnreachable = errors.New("no server answers")

// errLost: the request may have arrived; its answer did not.
var errLost = errors.New("the connection was lost")

// Problem is an answer that is no success.
type Problem struct {
	wire.Problem
	// RetryAfter is how long the server asks to wait; 0 when it does not say.
	RetryAfter time.Duration
}

func (p *Problem) Error() string { return p.Detail }

// IsCode reports whether err is a problem with this code.
func IsCode(err error, code string) bool {
	p, ok := errors.AsType[*Problem](err)
	return ok && p.Code == code
}

// maxProblem bounds what is read of a problem.
const maxProblem = 1 << 20

// problem reads a response that is no success. What is no problem document came from something between us and the server.
func problem(resp *http.Response) error {
	p := &Problem{}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxProblem))
	if err == nil {
		err = json.Unmarshal(body, &p.Problem)
	}
	if err != nil || p.Code == "" {
		p.Problem = wire.Problem{
			Type: "about:blank", Title: http.StatusText(resp.StatusCode), Status: resp.StatusCode, Code: "unexpected_answer",
			Detail:      fmt.Sprintf("the answer %s is not one of a Tenure server", resp.Status),
			Cause:       "it carries no problem document",
			Remediation: "check the server's address, and what stands between it and you",
		}
	}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		p.RetryAfter = time.Duration(s) * time.Second
	}
	return p
}

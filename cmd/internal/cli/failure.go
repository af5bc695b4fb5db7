package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/cli/config"
)

// errInterrupted is the cause of a context that a signal ended.
var errInterrupted = errors.New("interrupted")

// errTimeout is the end of something that took longer than the caller allowed.
var errTimeout = errors.New("timeout")

// plainError is a failure that a verb words itself.
type plainError struct {
	exit    int
	code    string
	message string
	mend    string
}

func (e *plainError) Error() string { return e.message }

// StartError is why a server cannot start, in the words of the part that knows. Nothing in it is a secret.
type StartError struct {
	Code string
	// What is what cannot be done, Cause why, Remediation what to do about it.
	What        string
	Cause       error
	Remediation string
}

func (e *StartError) Error() string {
	if e.Cause == nil {
		return e.What
	}
	return e.What + ": " + e.Cause.Error()
}

// Unwrap gives the cause to errors.Is and errors.AsType.
func (e *StartError) Unwrap() error { return e.Cause }

// ownError is a failure of run or exec itself: its code must not be taken for the remote command's.
type ownError struct{ err error }

func (e *ownError) Error() string { return e.err.Error() }
func (e *ownError) Unwrap() error { return e.err }

// failure is an error as the caller sees it; as JSON it is one line.
type failure struct {
	Code        string `json:"code"`
	Message     string `json:"message"`
	Cause       string `json:"cause,omitempty"`
	Field       string `json:"field,omitempty"`
	Remediation string `json:"remediation,omitempty"`
	Retryable   bool   `json:"retryable"`
	ExitCode    int    `json:"exitCode"`
	RequestID   string `json:"requestId,omitempty"`
	// Blockers are what stands in the way.
	Blockers []wire.Blocker `json:"blockers,omitempty"`
	// Constraints are what the request needs and is not so.
	Constraints []wire.Constraint `json:"constraints,omitempty"`
	// RetryAfterSeconds is when the server asks to come again; 0 if it does not say.
	RetryAfterSeconds int `json:"retryAfterSeconds,omitempty"`
	// quiet failures have been said, or have nobody to be said to.
	quiet bool
}

// explain is the one place where errors become exit codes.
func explain(err error) failure {
	f := failure{Code: "failed", Message: err.Error(), ExitCode: exitFailed}
	if status, ok := errors.AsType[exitStatus](err); ok {
		return failure{ExitCode: int(status), quiet: true}
	}
	if problem, ok := errors.AsType[*client.Problem](err); ok {
		f = explainProblem(problem)
	}
	usage, isUsage := errors.AsType[*usageError](err)
	plain, isPlain := errors.AsType[*plainError](err)
	noKey, isNoKey := errors.AsType[*config.NoKeyError](err)
	start, isStart := errors.AsType[*StartError](err)
	_, isURL := errors.AsType[*url.Error](err)
	switch {
	case errors.Is(err, errInterrupted), errors.Is(err, context.Canceled):
		f.Code, f.Message, f.ExitCode, f.Remediation = "interrupted", "interrupted", exitInterrupted, ""
	case isStart:
		f.Code, f.Message, f.Remediation = start.Code, start.What, start.Remediation
		if start.Cause != nil {
			f.Cause = start.Cause.Error()
		}
	case isPlain:
		f.Code, f.ExitCode, f.Remediation = plain.code, plain.exit, plain.mend
	case isUsage:
		f.Code, f.ExitCode, f.Remediation = "usage", exitUsage, usage.remediation()
	case isNoKey:
		f.Code, f.ExitCode, f.Remediation = "not_signed_in", exitNotSignedIn, noKey.Remediation
	case errors.Is(err, client.ErrUnreachable), isURL:
		f.Code, f.ExitCode, f.Retryable = "server_unreachable", exitUnreachable, true
		f.Remediation = "start a server on this machine with: tenure serve; or name another one with --server or TENURE_SERVER"
	case errors.Is(err, errTimeout), errors.Is(err, context.DeadlineExceeded):
		f.Code, f.ExitCode = "timeout", exitTimeout
	case errors.Is(err, syscall.EPIPE):
		f.quiet = true
	}
	if _, ok := errors.AsType[*ownError](err); ok && f.ExitCode != exitTimeout && f.ExitCode != exitInterrupted && f.ExitCode != exitUsage {
		f.ExitCode = exitOurs
	}
	return f
}

func explainProblem(p *client.Problem) failure {
	return failure{
		Code: p.Code, Message: p.Error(), Cause: p.Cause, Field: p.Field, Remediation: p.Remediation,
		Retryable: p.Retryable, RequestID: p.RequestID, Blockers: p.Blockers, Constraints: p.Constraints, RetryAfterSeconds: int(p.RetryAfter.Seconds()), ExitCode: exitOfStatus(p.Status, p.Code),
	}
}

func exitOfStatus(status int, code string) int {
	if code == "lease_failed" {
		return exitNotGranted
	}
	switch status {
	case http.StatusTooManyRequests:
		return exitNotGranted
	case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType:
		return exitUsage
	case http.StatusNotFound:
		return exitNotFound
	case http.StatusUnauthorized:
		return exitNotSignedIn
	case http.StatusForbidden:
		return exitForbidden
	case http.StatusConflict, http.StatusGone, http.StatusPreconditionFailed, http.StatusPreconditionRequired:
		return exitConflict
	}
	return exitFailed
}

// print writes a failure for a person, or as one line of JSON.
func (f failure) print(w io.Writer, asJSON bool) {
	if asJSON {
		line, err := json.Marshal(f)
		if err == nil {
			fmt.Fprintf(w, "%s\n", line)
		}
		return
	}
	fmt.Fprintf(w, "%s: %s\n", programName, clean(f.Message))
	for _, b := range f.Blockers {
		fmt.Fprintf(w, "  %s\n", clean(fmt.Sprintf("%s %s (%s)", b.Kind, b.ID, b.Status)))
	}
	for _, c := range f.Constraints {
		fmt.Fprintf(w, "  %s\n", clean(fmt.Sprintf("%s is not met: %s", c.Constraint, c.Detail)))
	}
	for _, line := range [][2]string{{"field", f.Field}, {"cause", f.Cause}, {"try", f.Remediation}, {"request", f.RequestID}} {
		if line[1] != "" {
			fmt.Fprintf(w, "  %s: %s\n", line[0], clean(line[1]))
		}
	}
}

// wantsJSON reports whether errors are to be JSON. A command line that could not be parsed is looked at as it is.
func (r *root) wantsJSON(args []string) bool {
	for i, a := range args {
		if a == "--" {
			break
		}
		value, ok := strings.CutPrefix(a, "--output=")
		if !ok {
			value, ok = strings.CutPrefix(a, "-o")
		}
		if ok && value == "" || a == "--output" {
			if i+1 < len(args) {
				value = args[i+1]
			}
			ok = true
		}
		if ok {
			return isJSON(strings.TrimPrefix(value, "="))
		}
	}
	return isJSON(r.flags.output)
}

func isJSON(format string) bool { return format == formatJSON || format == formatNDJSON }

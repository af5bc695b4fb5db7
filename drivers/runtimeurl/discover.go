package runtimeurl

import (
	"context"
	"net"
	"strings"
)

// Runner runs a short POSIX sh script inside a runtime. The script needs nothing but the shell's own words and one of the
// tools it looks for.
type Runner interface {
	RunScript(ctx context.Context, script string, stdin []byte) (stdout []byte, err error)
}

// Dialer is optional on a [Runner]: it opens a connection from inside the runtime.
type Dialer interface {
	DialContext(ctx context.Context, network, addr string) (net.Conn, error)
}

// Discoverer finds the API's URL for runtimes. It may be used by many at once.
type Discoverer struct {
	opts    Options
	fromEnv []target
	public  target
	listen  listener
	hosts   []target
	table   table
}

// Query is what is particular to one runtime.
type Query struct {
	// Configured are the environment's runtimeApiCandidates.
	Configured []string
	// Local says that the runtime is in the engine's own network namespace, so that its loopback is the engine's.
	Local bool
}

// Result is what was found.
type Result struct {
	// URL is "" if no candidate answered.
	URL string
	// Tried holds every candidate up to the one that answered, in their order.
	Tried []Outcome
}

// Status is what became of a candidate.
type Status string

// What can become of a candidate.
const (
	StatusAnswered Status = "answered"
	// StatusRefused: nobody takes the connection. Curl does not tell that from a missing route.
	StatusRefused Status = "refused"
	StatusTimeout Status = "timeout"
	// StatusUnreachable: no route, a failed TLS handshake, a connection cut, or a name that the runtime cannot resolve.
	StatusUnreachable Status = "unreachable"
	// StatusUnresolved: the engine cannot resolve the name and Allow does not name it.
	StatusUnresolved Status = "unresolved"
	// StatusWrongStatus: an HTTP status that is not 200, redirects included.
	StatusWrongStatus Status = "wrong_status"
	// StatusNotOurs: 200 with another body than the health route's.
	StatusNotOurs Status = "not_ours"
	// StatusDenied: the table of allowed and denied ones forbids it; it was not contacted.
	StatusDenied Status = "denied"
	// StatusNoTool: nothing inside the runtime can make the request.
	StatusNoTool Status = "no_tool"
	// StatusInvalid: it is no URL.
	StatusInvalid Status = "invalid"
	// StatusNotTried: the budget or the caller's context ended before its turn, or the script did not run.
	StatusNotTried Status = "not_tried"
)

// Outcome is what became of one candidate. It may be shown to anybody.
type Outcome struct {
	// URL is "" for what is none.
	URL    string `json:"url"`
	Source Source `json:"source"`
	Status Status `json:"status"`
	// Detail is for a person; "" if there is no more to say.
	Detail string `json:"detail,omitempty"`
}

func (o Outcome) String() string {
	url := o.URL
	if url == "" {
		url = "(a " + string(o.Source) + " candidate)"
	}
	if o.Detail == "" {
		return url + ": " + string(o.Status)
	}
	return url + ": " + string(o.Status) + " (" + o.Detail + ")"
}

// String lists the candidates and what became of each, as an error message of a driver shows them.
func (r Result) String() string {
	if len(r.Tried) == 0 {
		return "no candidates"
	}
	parts := make([]string, 0, len(r.Tried))
	for _, o := range r.Tried {
		parts = append(parts, o.String())
	}
	return strings.Join(parts, "; ")
}

// Discover tries the candidates in order from inside the runtime. Who did not answer but may yet is tried again until the
// budget is spent. It never fails: without an answer URL is "".
func (d *Discoverer) Discover(ctx context.Context, r Runner, q Query) Result {
	ctx, cancel := context.WithTimeoutCause(ctx, d.opts.Budget, errBudget)
	defer cancel()
	s := newSearch(d, r, q)
	s.check(ctx, q.Local)
	for wait := firstPause; s.round(ctx); wait = min(2*wait, longestPause) {
		if !pause(ctx, wait) {
			break
		}
	}
	return s.result()
}

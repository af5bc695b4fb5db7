package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"github.com/tenure-dev/tenure/api/auth"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/projections"
	"github.com/tenure-dev/tenure/projections/runner"
)

// statusError is a refusal with a status that its kind does not have.
type statusError struct {
	err     error
	refusal *domain.Refusal
	status  int
}

func (e *statusError) Error() string { return e.refusal.Error() }

func (e *statusError) Unwrap() error { return e.err }

// leaseFailedError: the lease ended before it was active.
type leaseFailedError struct{ lease wire.Lease }

func (e *leaseFailedError) Error() string {
	return "the lease " + e.lease.Status + " before it was active"
}

// answerError is echo's way to hand over its own errors.
func (s *Server) answerError(err error, c echo.Context) { s.answerErrorOf(c, err) }

// answerErrorOf sends the problem that an error is.
func (s *Server) answerErrorOf(c echo.Context, err error) {
	request, _ := c.Get(keyRequest).(uuid.UUID)
	if c.Response().Committed {
		// The answer has begun and cannot be taken back; cut it, so that nobody takes it for a whole one.
		s.deps.Logger.Warn("cut an answer short", "request_id", request, "route", c.Path(), "error", err)
		panic(http.ErrAbortHandler)
	}
	p, retryAfter := problemOf(err)
	if p.Status >= http.StatusInternalServerError && s.deps.Diagnose != nil {
		err = s.deps.Diagnose(err)
		p, retryAfter = problemOf(err)
	}
	if done, _ := c.Get(keyDone).(bool); done && (p.Status >= http.StatusInternalServerError || p.Status == http.StatusNotFound) {
		// It was done, and only what became of it cannot be told: nobody may believe that nothing happened. What was just made and
		// is not there any more was lost with the end of a log that forked.
		p, retryAfter = problemOf(eventstore.ErrUnknownOutcome)
		p.Detail = "the command was accepted, and what became of it cannot be read"
	}
	p.Type, p.Title, p.RequestID = "urn:tenure:problem:"+p.Code, title(p.Code), request.String()
	s.metrics.refused(p.Code)
	if p.Status >= http.StatusInternalServerError && !errors.Is(err, errClosing) {
		s.deps.Logger.Error("could not answer", "request_id", request, "route", c.Path(), "status", p.Status, "code", p.Code, "error", err)
	}
	h := c.Response().Header()
	if retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(retryAfter.Seconds())))
	}
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", "Bearer")
	}
	h.Set(echo.HeaderContentType, wire.TypeProblem)
	_ = http.NewResponseController(c.Response()).SetWriteDeadline(time.Now().Add(s.deps.Limits.WriteTimeout))
	// The client may be gone; there is nobody to tell.
	_ = c.JSON(p.Status, p)
}

func title(code string) string { return strings.ReplaceAll(code, "_", " ") }

// ProblemOf is what the API answers to a command that ended with err, which must not be nil.
func ProblemOf(err error) wire.Problem {
	p, _ := problemOf(err)
	return p
}

// problemOf is the one place where an error becomes a problem. retryAfter is for those that pass.
func problemOf(err error) (p wire.Problem, retryAfter time.Duration) {
	if e, ok := errors.AsType[*statusError](err); ok {
		return ofRefusal(e.refusal, e.status), 0
	}
	if e, ok := errors.AsType[*busyError](err); ok {
		return ofRefusal(e.refusal, statusOf(e.refusal.Kind)), e.retryAfter
	}
	if r, ok := errors.AsType[*domain.Refusal](err); ok {
		return ofRefusal(r, statusOf(r.Kind)), 0
	}
	if e, ok := errors.AsType[*leaseFailedError](err); ok {
		return ofFailedLease(e.lease), 0
	}
	for _, row := range mapping {
		if errors.Is(err, row.is) {
			p := row.problem
			p.Cause = row.is.Error()
			return p, row.retryAfter
		}
	}
	if e, ok := errors.AsType[*runner.StoppedError](err); ok {
		return wire.Problem{
			Status: http.StatusServiceUnavailable, Code: "read_model_stopped", Detail: "the read model " + e.Name + " is stopped",
			Cause: "more of its streams are parked than may be", Retryable: true,
			Remediation: "an operator can see GET /api/v1/projections and retry or skip what is parked",
		}, time.Minute
	}
	if e, ok := errors.AsType[*echo.HTTPError](err); ok && e.Code >= 400 && e.Code < 500 {
		return ofEcho(e.Code), 0
	}
	return wire.Problem{
		Status: http.StatusInternalServerError, Code: "internal", Detail: "the server failed to answer",
		Cause:       "a fault of the server, which it has logged under this request id",
		Remediation: "tell the operator the request id",
	}, 0
}

func statusOf(k domain.Kind) int {
	switch k {
	case domain.KindInvalid:
		return http.StatusBadRequest
	case domain.KindNotFound:
		return http.StatusNotFound
	case domain.KindConflict:
		return http.StatusConflict
	case domain.KindGone:
		return http.StatusGone
	case domain.KindForbidden:
		return http.StatusForbidden
	case domain.KindStale:
		return http.StatusPreconditionFailed
	case domain.KindBusy:
		return http.StatusTooManyRequests
	}
	return http.StatusInternalServerError
}

func ofRefusal(r *domain.Refusal, status int) wire.Problem {
	mend := r.Remediation
	if mend == "" {
		mend = "read the thing again and see whether what you want is still possible"
	}
	p := wire.Problem{Status: status, Code: r.Code, Detail: r.Error(), Cause: r.Message, Field: r.Field, Remediation: mend}
	p.Retryable, p.Constraints = r.Kind == domain.KindBusy, showConstraints(r.Constraints)
	for _, b := range r.Blockers {
		p.Blockers = append(p.Blockers, wire.Blocker{Kind: b.Kind, ID: b.ID, Status: b.Status})
	}
	return p
}

func ofFailedLease(l wire.Lease) wire.Problem {
	cause := "it was " + l.Status
	if l.FailureReason != nil {
		cause = *l.FailureReason
	}
	return wire.Problem{
		Status: http.StatusConflict, Code: "lease_failed", Detail: "the lease ended before it was active: " + cause, Cause: cause,
		Remediation: "see the lease's events, mend what they name, and acquire again", Lease: &l,
	}
}

func ofEcho(status int) wire.Problem {
	p := wire.Problem{Status: status, Code: "bad_request", Detail: "the request cannot be understood", Cause: http.StatusText(status), Remediation: "see /api/v1/openapi.yaml"}
	switch status {
	case http.StatusNotFound:
		p.Code, p.Detail, p.Cause = "route_not_found", "there is no such route", "the path is none of the API's"
	case http.StatusMethodNotAllowed:
		p.Code, p.Detail, p.Cause = "method_not_allowed", "the route does not take this method", "the path is known, with other methods"
	}
	return p
}

// mapping says what errors that are no refusals become, in the order in which they are looked at.
var mapping = []struct {
	is         error
	problem    wire.Problem
	retryAfter time.Duration
}{
	{is: auth.ErrDenied, problem: wire.Problem{
		Status: http.StatusUnauthorized, Code: "unauthorized", Detail: "no valid API key was sent",
		Remediation: "send the header Authorization: Bearer KEY with a key that is not revoked; the first one is in admin.key in the server's data directory",
	}},
	{is: errClosing, problem: wire.Problem{
		Status: http.StatusServiceUnavailable, Code: "shutting_down", Detail: "the server is shutting down", Retryable: true,
		Remediation: "try again when it is up",
	}, retryAfter: 2 * time.Second},
	{is: ErrNodeAway, problem: wire.Problem{
		Status: http.StatusServiceUnavailable, Code: "node_away", Detail: "the output is on a machine that cannot be reached now", Retryable: true,
		Remediation: "try again when it is back; an operator sees the processes at GET /api/v1/workers, and how others reach them at --address of a worker",
	}, retryAfter: 5 * time.Second},
	{is: errRuntimeAway, problem: wire.Problem{
		Status: http.StatusServiceUnavailable, Code: "node_away", Detail: "the runtime is on a machine of which no process lives now", Retryable: true,
		Remediation: "try again when it is back, or take another lease; an operator sees the machines by tenure node list",
	}, retryAfter: 5 * time.Second},
	{is: errNotReady, problem: wire.Problem{
		Status: http.StatusServiceUnavailable, Code: "not_ready", Detail: "the server cannot serve yet, or not any more", Retryable: true,
		Remediation: "try again; if it lasts, see the server's log",
	}, retryAfter: time.Second},
	{is: errTooManyStreams, problem: wire.Problem{
		Status: http.StatusServiceUnavailable, Code: "too_many_streams", Detail: "the server has as many open streams as it takes", Retryable: true,
		Remediation: "close streams that are not needed, or try again later",
	}, retryAfter: 5 * time.Second},
	{is: errBehind, problem: wire.Problem{
		Status: http.StatusServiceUnavailable, Code: "read_model_behind", Detail: "the read model did not reach the position in time", Retryable: true,
		Remediation: "try again; an operator can see how far it is at GET /api/v1/projections",
	}, retryAfter: time.Second},
	{is: projections.ErrNotBuilt, problem: wire.Problem{
		Status: http.StatusServiceUnavailable, Code: "read_model_not_built", Detail: "the read model is being built for the first time", Retryable: true,
		Remediation: "try again; an operator can see how far it is at GET /api/v1/projections",
	}, retryAfter: time.Second},
	{is: projections.ErrCursor, problem: wire.Problem{
		Status: http.StatusBadRequest, Code: "invalid_cursor", Detail: "after: the cursor is not one of this list", Field: "after",
		Remediation: "use next of the page before, with the same filters",
	}},
	{is: eventstore.ErrCommandReused, problem: wire.Problem{
		Status: http.StatusUnprocessableEntity, Code: "idempotency_key_reused", Field: wire.HeaderIdempotencyKey,
		Detail: "the Idempotency-Key was used for another request", Remediation: "use a new key for a new request",
	}},
	{is: eventstore.ErrNoSpace, problem: wire.Problem{
		Status: http.StatusServiceUnavailable, Code: "no_space", Detail: "the disk of the database is full; the command was not acknowledged", Retryable: true,
		Remediation: "an operator must free space on the disk of the database, for an embedded one that of the server's data directory; then repeat with the same Idempotency-Key",
	}, retryAfter: 5 * time.Second},
	{is: eventstore.ErrUnknownOutcome, problem: wire.Problem{
		Status: http.StatusServiceUnavailable, Code: "outcome_unknown", Detail: "whether the command was done is not known", Retryable: true,
		Remediation: "repeat with the same Idempotency-Key",
	}, retryAfter: time.Second},
	{is: eventstore.ErrUnavailable, problem: wire.Problem{
		Status: http.StatusServiceUnavailable, Code: "unavailable", Detail: "the log cannot be reached; nothing was done", Retryable: true,
		Remediation: "try again",
	}, retryAfter: time.Second},
	{is: eventstore.ErrConflict, problem: wire.Problem{
		Status: http.StatusConflict, Code: "conflict", Detail: "others changed the same thing all the while", Retryable: true,
		Remediation: "try again",
	}},
	{is: eventstore.ErrStaleEpoch, problem: wire.Problem{
		Status: http.StatusServiceUnavailable, Code: "stale_epoch", Detail: "the log has forked, and this server has not found out yet what it has now",
		Retryable: true, Remediation: "try again; an operator can see what was found at GET /api/v1/log",
	}, retryAfter: time.Second},
	{is: eventstore.ErrForked, problem: wire.Problem{
		Status: http.StatusServiceUnavailable, Code: "log_forked", Detail: "the log has forked, and nothing is driven until it is adopted", Retryable: true,
		Remediation: "an operator must look at what was found (tenure log show) and adopt the log (tenure log adopt)",
	}, retryAfter: 30 * time.Second},
	{is: eventstore.ErrTooLate, problem: wire.Problem{
		Status: http.StatusConflict, Code: "too_late", Detail: "the command came after its time", Remediation: "read the thing again",
	}},
	{is: eventstore.ErrInvalid, problem: wire.Problem{
		Status: http.StatusBadRequest, Code: "too_large", Detail: "what the request says is too large for the log",
		Remediation: "send less: an event has at most 256 KiB",
	}},
	{is: runner.ErrUnknown, problem: wire.Problem{
		Status: http.StatusNotFound, Code: "projection_not_found", Detail: "there is no such read model",
		Remediation: "see GET /api/v1/projections for their names",
	}},
	{is: runner.ErrRebuildRunning, problem: wire.Problem{
		Status: http.StatusConflict, Code: "rebuild_running", Detail: "the read model is being rebuilt already", Retryable: true,
		Remediation: "see GET /api/v1/projections for how far it is",
	}},
	{is: runner.ErrNotParked, problem: wire.Problem{
		Status: http.StatusNotFound, Code: "stream_not_parked", Detail: "the stream is not parked in that read model",
		Remediation: "see GET /api/v1/projections/{name}/parked",
	}},
	{is: runner.ErrStillFails, problem: wire.Problem{
		Status: http.StatusConflict, Code: "still_fails", Detail: "the event still cannot be applied; the stream stays parked",
		Remediation: "mend the projection, or skip the event",
	}},
	{is: context.Canceled, problem: wire.Problem{
		// Nobody reads it: the client is gone. nginx's number keeps it apart in the metrics.
		Status: 499, Code: "client_gone", Detail: "the client went away", Remediation: "none",
	}},
	{is: context.DeadlineExceeded, problem: wire.Problem{
		Status: http.StatusServiceUnavailable, Code: "timeout", Detail: "the answer took too long", Retryable: true, Remediation: "try again",
	}, retryAfter: time.Second},
}

var (
	errNotReady       = errors.New("a part of this process is not ready")
	errTooManyStreams = errors.New("too many streams")
)

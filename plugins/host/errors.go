package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/plugins/protocol"
)

// verb is one method as its errors are understood.
type verb struct {
	method string
	// step is its name in errors.
	step string
	// repeatable says that asking again is harmless, so that a refusal decides nothing. Of the others a refusal in words that
	// we do not know says nothing about what was done before.
	repeatable bool
	// extension says that it is not in the published protocol.
	extension bool
}

var (
	verbAcquire  = verb{method: protocol.MethodAcquire, step: "acquire"}
	verbResume   = verb{method: protocol.MethodResume, step: "resume", repeatable: true}
	verbRelease  = verb{method: protocol.MethodRelease, step: "release", repeatable: true}
	verbDestroy  = verb{method: protocol.MethodDestroy, step: "destroy", repeatable: true}
	verbExecute  = verb{method: protocol.MethodExecute, step: "execute"}
	verbStart    = verb{method: protocol.MethodExecStart, step: "start", extension: true}
	verbList     = verb{method: protocol.MethodList, step: "list", repeatable: true, extension: true}
	verbProbe    = verb{method: protocol.MethodProbe, step: "probe", repeatable: true}
	verbValidate = verb{method: protocol.MethodValidateConfig, step: "validate_config", repeatable: true}
)

// translate makes of an error of the wire what package drivers knows.
func (c *child) translate(v verb, err error) error {
	if err == nil {
		return nil
	}
	fail := func(outcome drivers.Outcome, code string, err error, remediation string) error {
		return &drivers.Failure{Outcome: outcome, Code: code, Step: v.step, Err: err, Remediation: remediation}
	}
	if said, ok := errors.AsType[*protocol.Error](err); ok {
		return c.refusal(v, said)
	}
	noReply, ok := errors.AsType[*protocol.CallError](err)
	switch {
	case !ok && errors.Is(err, protocol.ErrBadReply):
		return fail(drivers.OutcomeAmbiguous, "worker_bad_reply", err, "tell the plugin's author: the reply is not what the protocol asks for")
	case !ok:
		return fail(drivers.OutcomeRetryable, "worker_unavailable", c.cleanError(err), "try again")
	case !noReply.Sent:
		if c.gone(noReply) {
			return fail(drivers.OutcomeRetryable, "worker_unavailable", fmt.Errorf("the plugin's worker had ended before it was asked: %s", c.whyGone()), "try again; it is started again")
		}
		return fail(drivers.OutcomeRetryable, "worker_busy", fmt.Errorf("the plugin's worker could not be asked: %w", noReply.Err), "try again")
	case c.gone(noReply):
		return fail(drivers.OutcomeAmbiguous, "worker_died", fmt.Errorf("the plugin's worker ended over it: %s", c.whyGone()),
			"see what it printed; whether the provider acted is found out by asking again, or at the provider")
	case errors.Is(noReply.Err, context.DeadlineExceeded), errors.Is(noReply.Err, errVerbTimeout):
		return fail(drivers.OutcomeAmbiguous, "worker_timeout", fmt.Errorf("the plugin did not answer in time: %w", noReply.Err),
			"see whether the provider is slow; a late answer is not forgotten")
	default:
		return fail(drivers.OutcomeAmbiguous, "worker_no_reply", fmt.Errorf("nobody waits for the plugin's answer any more: %w", noReply.Err), "a late answer is not forgotten")
	}
}

// gone reports whether a call failed because the worker did.
func (c *child) gone(e *protocol.CallError) bool { return errors.Is(e.Err, protocol.ErrClosed) }

// whyGone says to whom it served why the worker is not there any more. The end of its output is noticed before its own end.
func (c *child) whyGone() string {
	select {
	case <-c.exited:
	case <-time.After(2 * lastWords):
	}
	select { // its last words may say it
	case <-c.stderr.done:
	case <-time.After(lastWords):
	}
	c.mu.Lock()
	why, several := c.why, c.several
	c.mu.Unlock()
	if why != nil {
		return why.Error()
	}
	if died := c.diedBy(!several); died != "" {
		return died
	}
	return "it closed its output"
}

// refusal is an error that a worker answered.
func (c *child) refusal(v verb, said *protocol.Error) error {
	message := c.secrets.quote(strings.TrimSpace(said.Message), 4000)
	if message == "" {
		message = "the plugin gives no reason"
	}
	var data protocol.ErrorData
	if json.Unmarshal(said.Data, &data) == nil && data.Schema == protocol.ErrorSchema {
		return c.refusalInOurWords(v, message, data)
	}
	unsupported := said.Code == protocol.CodeMethodNotFound || said.Code == protocol.CodeMethodNotImplemented
	fail := &drivers.Failure{
		Outcome: drivers.OutcomeAmbiguous, Code: "provider_error", Step: v.step, Err: fmt.Errorf("%s (code %d)", message, said.Code),
		Remediation: "see the provider's message",
	}
	switch {
	case unsupported:
		return fmt.Errorf("%s: %s: %w", v.step, message, drivers.ErrUnsupported)
	case said.Code == protocol.CodeInvalidParams, said.Code == protocol.CodeInvalidRequest, said.Code == protocol.CodeParse:
		fail.Outcome, fail.Code = drivers.OutcomeDefinite, "provider_refused"
	case v.repeatable:
		fail.Outcome = drivers.OutcomeRetryable
	default:
		// It may have failed after it made something; nothing in the message can be relied on.
		fail.Remediation = "see the provider's message; whether it left something behind must be seen there"
	}
	return fail
}

// refusalInOurWords is an error whose data says what it left behind.
func (c *child) refusalInOurWords(v verb, message string, data protocol.ErrorData) error {
	clean := func(s string) string { return c.secrets.quote(s, 1000) }
	err := errors.New(message)
	if len(data.Problems) > 0 {
		var problems []drivers.FieldProblem
		for _, p := range data.Problems[:min(len(data.Problems), mostSaid)] {
			problems = append(problems, drivers.FieldProblem{Field: clean(p.Field), Problem: clean(p.Problem), Remediation: clean(p.Remediation)})
		}
		err = &drivers.ConfigError{Problems: problems}
		if v.method == protocol.MethodValidateConfig {
			return err
		}
	}
	if data.Gone {
		err = fmt.Errorf("%s: %w", message, drivers.ErrGone)
	}
	if data.Mismatch {
		err = fmt.Errorf("%w: %w", err, drivers.ErrMismatch)
	}
	switch {
	case data.Unsupported:
		return fmt.Errorf("%s: %s: %w", v.step, message, drivers.ErrUnsupported)
	case data.Stage != "":
		return &drivers.StartError{Stage: clean(data.Stage), Code: clean(data.Code), Remediation: clean(data.Remediation), Err: err}
	case (data.Gone || data.Mismatch) && data.Outcome == "":
		return err
	}
	f := &drivers.Failure{
		Outcome: drivers.Outcome(data.Outcome), Code: clean(data.Code), Step: clean(data.Step), Remediation: clean(data.Remediation), Err: err,
		NothingMade: data.NothingMade && v.method == protocol.MethodAcquire,
	}
	switch f.Outcome {
	case drivers.OutcomeRetryable, drivers.OutcomeDefinite, drivers.OutcomeAmbiguous:
	default:
		f.Outcome = drivers.OutcomeAmbiguous
	}
	if f.Code == "" {
		f.Code = "provider_error"
	}
	if f.Step == "" {
		f.Step = v.step
	}
	return f
}

// cleanError is err without secrets.
func (c *child) cleanError(err error) error {
	if text := err.Error(); c.secrets.clean(text) != text {
		return errors.New(c.secrets.clean(text))
	}
	return err
}

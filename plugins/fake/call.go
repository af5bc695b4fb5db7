package fake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tenure-dev/tenure/drivers"
)

// call is one call of a verb with the steps that a script has for it.
type call struct {
	world *World
	verb  Verb
	steps []Step
	// blind says that what was made and is not told of cannot be found again.
	blind bool
}

// begin finds the steps of this call and records that they are taken, before any of them is: a crash is then not repeated.
func (w *World) begin(verb Verb, scope string, c config) (*call, error) {
	steps, err := readScript(ScriptPath(w.opts.Dir), true)
	if err != nil {
		return nil, scriptUnreadable(err)
	}
	steps = append(steps, c.Script...)
	if c.ScriptFile != "" {
		more, err := readScript(c.ScriptFile, false)
		if err != nil {
			return nil, scriptUnreadable(err)
		}
		steps = append(steps, more...)
	}
	cl := &call{world: w, verb: verb}
	scripted := false
	for _, s := range steps {
		scripted = scripted || s.Verb == verb
	}
	if !scripted {
		return cl, nil
	}
	scope = string(verb) + " " + scope
	err = w.ledger.update(func(s *state) []Entry {
		entry := Entry{Op: OpCall, Scope: scope}
		n := s.calls[scope] + 1
		for i, step := range steps {
			if step.Verb != verb || step.Attempt > 0 && step.Attempt != n || step.Times > 0 && s.taken[scope][i] >= step.Times {
				continue
			}
			cl.steps = append(cl.steps, step)
			entry.Steps = append(entry.Steps, i)
		}
		return []Entry{entry}
	})
	if err != nil {
		return nil, ledgerFailed(err)
	}
	return cl, nil
}

// at takes the steps of one place and returns the error that the call is to fail with.
func (c *call) at(ctx context.Context, p Place) error {
	for _, s := range c.steps {
		if s.place() != p {
			continue
		}
		if err := c.take(ctx, s, p); err != nil {
			return err
		}
	}
	return nil
}

func (c *call) take(ctx context.Context, s Step, p Place) error {
	switch s.Action {
	case ActionDelay:
		if s.Deaf {
			ctx = context.WithoutCancel(ctx)
		}
		if err := wait(ctx, s.delay()); err != nil {
			return c.canceled(err, p)
		}
	case ActionLate:
		return wait(context.WithoutCancel(ctx), s.delay())
	case ActionFail:
		return c.failed(s, drivers.OutcomeRetryable)
	case ActionPartial:
		return c.failed(s, drivers.OutcomeAmbiguous)
	case ActionCrash:
		c.world.opts.Exit(cmp.Or(s.ExitCode, 3))
	case ActionJunk:
		return c.world.junk(s)
	case ActionSilent:
		<-c.world.over
		return errors.New("the worker ends")
	case ActionSwell: // at the reply
	}
	return nil
}

// failed is the failure that a step asks for.
func (c *call) failed(s Step, outcome drivers.Outcome) error {
	err := errors.New(cmp.Or(s.Message, "the script says so"))
	if c.verb == VerbExec {
		return &drivers.StartError{
			Stage: cmp.Or(s.Step, "process"), Code: cmp.Or(s.Code, "scripted"), Remediation: s.Remediation, Err: err,
		}
	}
	return &drivers.Failure{
		Outcome: cmp.Or(s.Outcome, outcome), Code: cmp.Or(s.Code, "scripted"), Step: cmp.Or(s.Step, string(c.verb)),
		Remediation: cmp.Or(s.Remediation, "change the script"), Err: err,
	}
}

// canceled is a call that was given up at p.
func (c *call) canceled(cause error, p Place) error {
	outcome := drivers.OutcomeRetryable
	if c.verb == VerbAcquire && p != PlaceBefore && c.blind {
		outcome = drivers.OutcomeAmbiguous
	}
	return &drivers.Failure{Outcome: outcome, Code: "canceled", Step: string(c.verb) + "_" + string(p), Err: cause, Remediation: "ask again, if it is still wanted"}
}

// padding is what the reply is to be swollen by.
func (c *call) padding() string {
	n := 0
	for _, s := range c.steps {
		if s.Action == ActionSwell {
			n += s.Bytes
		}
	}
	return strings.Repeat("x", n)
}

// destroyFails is how many tries to take down what this call makes are to fail.
func (c *call) destroyFails() (n int) {
	for _, s := range c.steps {
		n += s.DestroyFails
	}
	return n
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func scriptUnreadable(err error) error {
	return &drivers.Failure{
		Outcome: drivers.OutcomeDefinite, Code: "script_unreadable", Step: "read_script",
		Remediation: "correct the script of the fake provider", Err: err,
	}
}

func ledgerFailed(err error) error {
	return &drivers.Failure{
		Outcome: drivers.OutcomeRetryable, Code: "ledger_unusable", Step: "ledger",
		Remediation: "let the worker's user write to its directory, and free some space there", Err: fmt.Errorf("fake: %w", err),
	}
}

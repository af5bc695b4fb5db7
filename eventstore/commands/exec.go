package commands

import (
	"context"
	"errors"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/eventstore"
)

// StartExec asks to run a command in a lease.
type StartExec struct {
	Exec  domain.ExecID
	Lease domain.LeaseID
	// Fence is that of the lease which the caller holds.
	Fence     int64
	Argv      []string
	Cwd       string
	TimeoutMs int64
	Values
}

// RequestExec asks to run a command in an active lease. It counts as use of the lease.
func (c *Commands) RequestExec(ctx context.Context, by Caller, x StartExec) (eventstore.Outcome, error) {
	values, err := newValues(x.Env, x.Stdin)
	if err != nil {
		return eventstore.Outcome{}, err
	}
	return c.inTime(ctx, func() (eventstore.Outcome, error) { return c.requestExec(ctx, by, x, values) })
}

func (c *Commands) requestExec(ctx context.Context, by Caller, x StartExec, values values) (eventstore.Outcome, error) {
	return eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		l, t, err := c.usableLease(ctx, w, x.Lease)
		if err != nil {
			return err
		}
		if err := l.CheckFence(x.Fence); err != nil {
			return err
		}
		if err := use(ctx, w, x.Lease, l, t, lease.Renew{}); err != nil {
			return err
		}
		_, err = eventstore.Begin(ctx, w, Executions, x.Exec.UUID, execution.Command(execution.Request{Requested: execution.Requested{
			Company: l.Company, Lease: x.Lease, Argv: x.Argv, Cwd: x.Cwd, Env: values.names,
			StdinBytes: int64(len(x.Stdin)), StdinHash: values.stdinHash, TimeoutMs: x.TimeoutMs, Node: l.Node,
		}}))
		if err != nil {
			return err
		}
		return c.keepValues(w, values, eventstore.Input{ID: x.Exec.UUID, Company: l.Company, Subject: Executions.Stream(x.Exec.UUID)})
	})
}

// ClaimExec claims a command for a worker, before it starts. A command whose lease ended meanwhile is refused for good:
// then ok is false.
func (c *Commands) ClaimExec(
	ctx context.Context, by Caller, id domain.ExecID, worker Worker, need Need,
) (l lease.State, got Got, ok bool, err error) {
	_, err = eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		x, err := eventstore.View(ctx, w, Executions, id.UUID)
		if err != nil {
			return err
		}
		if l, err = eventstore.View(ctx, w, Leases, x.Request.Lease.UUID); err != nil {
			return err
		}
		w.Company(x.Request.Company)
		_, unusable := c.usable(ctx, w, l)
		refusal, ended := errors.AsType[*domain.Refusal](unusable)
		if unusable != nil && !ended {
			return unusable
		}
		ok = !ended && !x.Killing
		switch {
		case x.Status == execution.StatusRequested && x.Killing:
			return endExec(ctx, w, id, execution.Refuse{Stage: "lease", Code: "killed", Message: "it was killed before it started"})
		case x.Status == execution.StatusRequested && !ok:
			return endExec(ctx, w, id, execution.Refuse{Stage: "lease", Code: refusal.Code, Message: refusal.Message})
		}
		w.Drives()
		if _, err = eventstore.Act(ctx, w, Executions, id.UUID, execution.Command(execution.Claim{Worker: worker.ID, Node: worker.Node})); err != nil {
			return err
		}
		got, err = settle(ctx, w, l.Company, need)
		return err
	})
	return l, got, ok, err
}

// RecordExecStart records that the command runs.
func (c *Commands) RecordExecStart(ctx context.Context, by Caller, id domain.ExecID, start execution.Start) (eventstore.Outcome, error) {
	return c.onExec(ctx, by, id, start, false)
}

// KillExec asks to end a command; asking again, or after its end, changes nothing.
func (c *Commands) KillExec(ctx context.Context, by Caller, id domain.ExecID, kill execution.RequestKill) (eventstore.Outcome, error) {
	return c.onExec(ctx, by, id, kill, false)
}

// FinishExec records the end of a command and of its output. It counts as use of the lease.
func (c *Commands) FinishExec(ctx context.Context, by Caller, id domain.ExecID, end execution.Finish) (eventstore.Outcome, error) {
	return c.onExec(ctx, by, id, end, true)
}

// AbandonExec ends a command whose worker is gone: nobody knows how it ended, and it never runs again.
func (c *Commands) AbandonExec(ctx context.Context, by Caller, id domain.ExecID, why string) (eventstore.Outcome, error) {
	return c.onExec(ctx, by, id, execution.Abandon{Why: why}, true)
}

// onExec decides a command on an exec. One that ends it counts as use of its lease, unless that ran out on the way.
func (c *Commands) onExec(ctx context.Context, by Caller, id domain.ExecID, cmd execution.Command, ends bool) (eventstore.Outcome, error) {
	o, err := c.onExecOf(ctx, by, id, cmd, ends, true)
	if errors.Is(err, eventstore.ErrTooLate) {
		return c.onExecOf(ctx, by, id, cmd, ends, false)
	}
	return o, err
}

func (c *Commands) onExecOf(
	ctx context.Context, by Caller, id domain.ExecID, cmd execution.Command, ends, uses bool,
) (eventstore.Outcome, error) {
	return eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		x, err := eventstore.View(ctx, w, Executions, id.UUID)
		if err != nil {
			return err
		}
		w.Company(x.Request.Company)
		if !ends {
			_, err = eventstore.Act(ctx, w, Executions, id.UUID, cmd)
			return err
		}
		if err := endExec(ctx, w, id, cmd); err != nil || !uses {
			return err
		}
		return c.touch(ctx, w, x.Request.Lease)
	})
}

// endExec decides a command that ends an exec, and drops its values.
func endExec(ctx context.Context, w *eventstore.Work, id domain.ExecID, cmd execution.Command) error {
	events, err := eventstore.Act(ctx, w, Executions, id.UUID, cmd)
	if err == nil && len(events) > 0 {
		w.Drop(id.UUID)
	}
	return err
}

// KnownExec returns a command as far as this process knows; see [eventstore.Recall].
func (c *Commands) KnownExec(ctx context.Context, id domain.ExecID) (execution.State, error) {
	x, err := eventstore.Recall(ctx, c.ledger, Executions, id.UUID)
	return x.State, err
}

// Exec returns a command as it is in the log now.
func (c *Commands) Exec(ctx context.Context, id domain.ExecID) (execution.State, error) {
	x, err := eventstore.Load(ctx, c.ledger, Executions, id.UUID)
	return x.State, err
}

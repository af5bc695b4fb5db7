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
	// Fence is the lease's as the caller knows it; 0 when it did not say.
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
	return eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		l, err := usableLease(ctx, w, x.Lease)
		if err != nil {
			return err
		}
		if x.Fence != 0 && x.Fence != l.Fence {
			return domain.Refuse(domain.KindStale, "stale_fence", "the lease has another fence").On("Lease-Fence").
				Mend("send the fence of the lease that you hold")
		}
		if err := touch(ctx, w, x.Lease); err != nil {
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
		refusal, ok1 := errors.AsType[*domain.Refusal](l.CheckUsable(w.Now()))
		ok = !ok1 && !x.Killing
		switch {
		case x.Status == execution.StatusRequested && x.Killing:
			return endExec(ctx, w, id, execution.Refuse{Stage: "lease", Code: "killed", Message: "it was killed before it started"})
		case x.Status == execution.StatusRequested && !ok:
			return endExec(ctx, w, id, execution.Refuse{Stage: "lease", Code: refusal.Code, Message: refusal.Message})
		}
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

func (c *Commands) onExec(ctx context.Context, by Caller, id domain.ExecID, cmd execution.Command, ends bool) (eventstore.Outcome, error) {
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
		if err := endExec(ctx, w, id, cmd); err != nil {
			return err
		}
		return touch(ctx, w, x.Request.Lease)
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

func usableLease(ctx context.Context, w *eventstore.Work, id domain.LeaseID) (lease.State, error) {
	l, err := eventstore.View(ctx, w, Leases, id.UUID)
	if err != nil {
		return l, err
	}
	if l.Status() == lease.StatusNone {
		return l, domain.NotFound("lease")
	}
	w.Company(l.Company)
	return l, l.CheckUsable(w.Now())
}

// touch counts as use of a lease, if it can still be used.
func touch(ctx context.Context, w *eventstore.Work, id domain.LeaseID) error {
	_, err := eventstore.Act(ctx, w, Leases, id.UUID, lease.Command(lease.Renew{Now: w.Now()}))
	if _, refused := errors.AsType[*domain.Refusal](err); refused {
		return nil
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

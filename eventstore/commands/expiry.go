package commands

import (
	"context"
	"errors"
	"time"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/eventstore"
)

// Renewal is a use of a lease.
type Renewal struct {
	// TTL moves the hard end; nil leaves it.
	TTL *time.Duration
	// Ongoing says that the use goes on, and that somebody says so again in time.
	Ongoing bool
}

// RenewLease says that the lease is in use. A use soon after another one changes nothing: see package lease. The log takes
// a renewal only before the lease's end.
func (c *Commands) RenewLease(ctx context.Context, by Caller, id domain.LeaseID, r Renewal) (eventstore.Outcome, error) {
	return c.inTime(ctx, func() (eventstore.Outcome, error) {
		return eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
			l, t, err := c.usableLease(ctx, w, id)
			if err != nil {
				return err
			}
			return use(ctx, w, id, l, t, lease.Renew{TTL: r.TTL, Ongoing: r.Ongoing})
		})
	})
}

// usableLease is a lease that can be used, and the times by which that was told.
func (c *Commands) usableLease(ctx context.Context, w *eventstore.Work, id domain.LeaseID) (lease.State, times, error) {
	l, err := eventstore.View(ctx, w, Leases, id.UUID)
	if err != nil {
		return l, times{}, err
	}
	if l.Status() == lease.StatusNone {
		return l, times{}, domain.NotFound("lease")
	}
	w.Company(l.Company)
	t, err := c.usable(ctx, w, l)
	return l, t, err
}

// use renews a lease that can be used. What the command leads to, the renewal or not, is taken by the log only before the
// lease's end.
func use(ctx context.Context, w *eventstore.Work, id domain.LeaseID, l lease.State, t times, r lease.Renew) error {
	r.Now, r.Gaps = w.Now(), t.gaps
	_, err := eventstore.Act(ctx, w, Leases, id.UUID, lease.Command(r))
	if err == nil {
		w.NotAfter(l.EndsAt(t.gaps))
	}
	return err
}

// touch counts as use of a lease, if it can still be used.
func (c *Commands) touch(ctx context.Context, w *eventstore.Work, id domain.LeaseID) error {
	l, err := eventstore.View(ctx, w, Leases, id.UUID)
	if err != nil {
		return err
	}
	err = use(ctx, w, id, l, c.times(), lease.Renew{})
	if _, refused := errors.AsType[*domain.Refusal](err); refused {
		return nil
	}
	return err
}

// ExpireLease asks to take down a lease whose time is over, or warns of that shortly before; it does nothing earlier, and
// nothing while it is not sure what time it is. Renewals go before it.
func (c *Commands) ExpireLease(ctx context.Context, by Caller, id domain.LeaseID) (eventstore.Outcome, error) {
	if _, unsure := c.ledger.Store().Clock().Unsure(); unsure {
		return eventstore.Outcome{}, nil
	}
	opts := by.options()
	opts.Lane = eventstore.LaneExpiry
	return eventstore.Execute(ctx, c.ledger, opts, func(ctx context.Context, w *eventstore.Work) error {
		l, err := eventstore.View(ctx, w, Leases, id.UUID)
		if err != nil {
			return err
		}
		now := w.Now()
		t, err := c.timesOf(ctx, now, l)
		if err != nil {
			return err
		}
		_, err = actOnLease(ctx, w, id, lease.Expire{Now: now, Gaps: t.gaps, Renewable: t.renewable})
		return err
	})
}

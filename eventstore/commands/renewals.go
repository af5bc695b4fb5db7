package commands

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/outage"
	"github.com/tenure-dev/tenure/eventstore"
)

// Renewals knows when nobody could renew a lease, so that nobody loses one for that.
//
// Every process that serves the API writes a row once a second. Who finds it older than [outage.Threshold] first records the
// gap, and only then writes the row. So what a process has read of the row up to a moment says all about the gaps up to
// that moment: a lease whose idle end is not later than the row has ended for good, and any other one has not yet, whatever
// the clock shows. Nobody waits for anybody to decide that way, and everybody decides the same.
type Renewals struct {
	c     *Commands
	pulse eventstore.Pulse
	opts  RenewalOptions
	// turn holds one token: who has it asks the database.
	turn chan struct{}

	mu    sync.Mutex
	known known
}

// known is what the last look at the row told.
type known struct {
	reading eventstore.PulseReading
	version int64
	state   outage.State
}

// RenewalOptions say what a process has to do with renewals. The zero value of each is its default.
type RenewalOptions struct {
	// Serves says that this process accepts renewals while it runs.
	Serves bool
	// Cap bounds how far idle deadlines move for a gap, and for several in a row; default 1 h.
	Cap time.Duration
	// Interval is how often the row is written, or looked at; default 1 s.
	Interval time.Duration
	// By is who records gaps.
	By     eventstore.Attribution
	Logger *slog.Logger
}

// WatchRenewals makes the commands heed the times in which nobody could renew. Without it they take renewals for always
// possible. It is called before the first command.
func (c *Commands) WatchRenewals(pulse eventstore.Pulse, opts RenewalOptions) *Renewals {
	if opts.Cap == 0 {
		opts.Cap = outage.DefaultCap
	}
	if opts.Interval == 0 {
		opts.Interval = time.Second
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Renewals{c: c, pulse: pulse, opts: opts, turn: make(chan struct{}, 1)}
	r.turn <- struct{}{}
	c.renewals = r
	return r
}

// Run keeps the row, or looks at it, until ctx is done.
func (r *Renewals) Run(ctx context.Context) {
	ticker := time.NewTicker(r.opts.Interval)
	defer ticker.Stop()
	for failing := false; ; {
		err := r.check(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			r.opts.Logger.Warn("whether leases can be renewed is not known", "error", err)
		}
		failing = err != nil
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// check looks at the row, records a gap if there was one, and writes the row if this process serves.
func (r *Renewals) check(ctx context.Context) error {
	select {
	case <-r.turn:
		defer func() { r.turn <- struct{}{} }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	reading, err := r.read(ctx)
	if err != nil {
		return err
	}
	if r.opts.Serves && overdue(reading) {
		version, err := r.record(ctx, reading)
		if err != nil {
			return err
		}
		if reading, err = r.pulse.Resume(ctx, version); err != nil {
			return err
		}
	}
	next := r.now()
	first := next.reading.Now.IsZero()
	if reading.Version > next.version || first {
		loaded, err := eventstore.Load(ctx, r.c.ledger, Outages, outage.ID)
		if err != nil {
			return err
		}
		if !first && loaded.State.ClockConfirmed > next.state.ClockConfirmed {
			r.c.ledger.Store().Clock().Confirm()
		}
		next.version, next.state = loaded.Version, loaded.State
	}
	next.reading = reading
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known = next
	return nil
}

func (r *Renewals) read(ctx context.Context) (eventstore.PulseReading, error) {
	if r.opts.Serves {
		return r.pulse.Beat(ctx, outage.Threshold)
	}
	return r.pulse.Look(ctx)
}

func (r *Renewals) now() known {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known
}

func overdue(p eventstore.PulseReading) bool {
	return !p.At.IsZero() && p.Now.Sub(p.At) > outage.Threshold
}

// record puts a gap into the log, once however many processes find it, and returns the version of the stream.
func (r *Renewals) record(ctx context.Context, p eventstore.PulseReading) (int64, error) {
	done, err := eventstore.Execute(ctx, r.c.ledger, Caller{By: r.opts.By}.options(), func(ctx context.Context, w *eventstore.Work) error {
		to := w.Now()
		if to.Before(p.Now) {
			to = p.Now
		}
		_, err := eventstore.Act(ctx, w, Outages, outage.ID, outage.Command(outage.Record{From: p.At, To: to, Cap: r.opts.Cap}))
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("record that leases could not be renewed: %w", err)
	}
	loaded, err := eventstore.Load(ctx, r.c.ledger, Outages, outage.ID)
	if gaps := loaded.State.Gaps; err == nil && done.Changed && len(gaps) > 0 {
		last := gaps[len(gaps)-1]
		r.opts.Logger.Info("leases could not be renewed for a while; idle deadlines move", "from", last.From, "to", last.To, "shift", last.Shift)
	}
	return loaded.Version, err
}

// times are the gaps that are known, and the last moment that renewals are known to have been possible at.
type times struct {
	gaps      outage.Gaps
	renewable time.Time
}

// always is that renewals were possible at any time.
var always = times{renewable: time.Unix(1<<40, 0)}

func (c *Commands) times() times {
	if c.renewals == nil {
		return always
	}
	k := c.renewals.now()
	if overdue(k.reading) {
		// A gap that goes on: nobody serves. It counts as far as it got, or leases would never end.
		return times{k.state.Gaps.With(outage.Open(k.reading.At, k.reading.Now, c.renewals.opts.Cap)), k.reading.Now}
	}
	return times{k.state.Gaps, k.reading.At}
}

// timesOf are the times by which it can be told whether a lease has ended. The database is asked only if it looks as if.
func (c *Commands) timesOf(ctx context.Context, now time.Time, l lease.State) (times, error) {
	t := c.times()
	end := l.EndsAt(t.gaps)
	if l.Status() != lease.StatusActive || now.Before(end) || !end.Before(l.HardExpiresAt) || !t.renewable.Before(end) {
		return t, nil
	}
	if err := c.renewals.check(ctx); err != nil {
		return times{}, err
	}
	return c.times(), nil
}

// ErrTimeUnsure says that it cannot be told right now whether a lease's time is over.
var ErrTimeUnsure = fmt.Errorf("%w: whether the lease's time is over cannot be told right now", eventstore.ErrUnavailable)

// usable refuses work in a lease that is not active or whose time is over, and returns the end of one that can be used.
func (c *Commands) usable(ctx context.Context, w *eventstore.Work, l lease.State) (times, error) {
	now := w.Now()
	t, err := c.timesOf(ctx, now, l)
	if err != nil {
		return t, err
	}
	err = l.CheckUsable(now, t.gaps)
	if err == nil || l.Status() != lease.StatusActive {
		return t, err
	}
	end := l.EndsAt(t.gaps)
	if _, unsure := c.ledger.Store().Clock().Unsure(); unsure || end.Before(l.HardExpiresAt) && t.renewable.Before(end) {
		return t, ErrTimeUnsure
	}
	return t, err
}

// EndOf is when a lease ends by itself unless it is used, with the gaps that are known.
func (c *Commands) EndOf(l lease.State) time.Time { return l.EndsAt(c.times().gaps) }

// Gaps are those in which nobody could renew.
func (c *Commands) Gaps() outage.Gaps { return c.times().gaps }

// tooLateTries bounds how often a use of a lease is decided again that reached the log after the lease's end.
const tooLateTries = 3

// inTime gives a use of a lease to the log, which takes it only before the lease's end. If that has passed on the way, it is
// decided again, since the end may have moved: the way was long because the database was away.
func (c *Commands) inTime(ctx context.Context, use func() (eventstore.Outcome, error)) (eventstore.Outcome, error) {
	for try := 1; ; try++ {
		o, err := use()
		if !errors.Is(err, eventstore.ErrTooLate) {
			return o, err
		}
		if c.renewals != nil { // which also tells what time it is
			if err := c.renewals.check(ctx); err != nil {
				return o, err
			}
		}
		if try == tooLateTries {
			return o, domain.Refuse(domain.KindGone, "lease_ended", "the lease ran out").Mend("acquire a new lease")
		}
	}
}

// ConfirmClock records an operator's word that the database's clock is right after a jump. Every process that heeds the
// pulse takes it.
func (c *Commands) ConfirmClock(ctx context.Context, by Caller, reason string) (eventstore.Outcome, error) {
	if c.renewals == nil {
		return eventstore.Outcome{}, errors.New("this process does not watch the clock")
	}
	o, err := eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		_, err := eventstore.Act(ctx, w, Outages, outage.ID, outage.Command(outage.ConfirmClock{Reason: reason}))
		return err
	})
	if err != nil {
		return o, err
	}
	return o, c.renewals.heard(ctx)
}

// heard makes every process read the stream of gaps again, this one at once.
func (r *Renewals) heard(ctx context.Context) error {
	if err := r.check(ctx); err != nil {
		return err
	}
	loaded, err := eventstore.Load(ctx, r.c.ledger, Outages, outage.ID)
	if err != nil {
		return err
	}
	if _, err := r.pulse.Resume(ctx, loaded.Version); err != nil {
		return err
	}
	return r.check(ctx)
}

// ClockStatus is how time stands for this process.
type ClockStatus struct {
	// Now is the database's time.
	Now time.Time
	// Unsure says that the clock jumped By and that no lease ends here until that is settled.
	Unsure bool
	By     time.Duration
	// RenewableAt is when renewals were last known to be possible; zero for not yet.
	RenewableAt time.Time
	// Gaps are those in which they were not.
	Gaps outage.Gaps
}

// Clock is how time stands for this process.
func (c *Commands) Clock() ClockStatus {
	clock := c.ledger.Store().Clock()
	by, unsure := clock.Unsure()
	s := ClockStatus{Now: clock.Now(), Unsure: unsure, By: by}
	if c.renewals != nil {
		k := c.renewals.now()
		s.RenewableAt, s.Gaps = k.reading.At, k.state.Gaps
	}
	return s
}

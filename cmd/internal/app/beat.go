package app

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/tenure-dev/tenure/eventstore"
)

// livenessTTL is how long this process counts as alive when it is silent; its default is the supervisor's.
func (a *App) livenessTTL() time.Duration {
	return cmp.Or(a.opts.Supervisor.LivenessTTL, 4*time.Second)
}

// takeOverAfter is how long a process may leave the read models behind the log. Who takes over the work of one that died finds
// it by them, so they are taken over before that: in half the time after which it counts as dead. One that is only slow loses no
// more than its turn.
func (a *App) takeOverAfter() time.Duration { return max(a.livenessTTL()/2, time.Second) }

// startBeating keeps the liveness row of a process that does not drive. Supervisors do so themselves.
func (a *App) startBeating(ctx context.Context) error {
	ttl := a.livenessTTL()
	a.guardClock()
	if err := a.processes.Register(ctx, a.process, ttl); err != nil {
		return err
	}
	a.onStop("liveness", func(ctx context.Context) error {
		if err := a.processes.Leave(ctx, a.process.ID); err != nil {
			a.log.Warn("this process could not say that it ends", "error", err) // its row runs out by itself
		}
		return nil
	})
	a.background(ctx, "beats", func(ctx context.Context) { a.beat(ctx, ttl) })
	return nil
}

func (a *App) beat(ctx context.Context, ttl time.Duration) {
	ticker := time.NewTicker(ttl / 4)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		call, cancel := context.WithTimeout(ctx, ttl/2)
		now := a.process
		now.ClockJump, now.Doubts = a.store.Clock().Unsure()
		err := a.processes.Beat(call, now, ttl)
		cancel()
		switch {
		case errors.Is(err, eventstore.ErrProcessGone):
			a.fail(errors.New("another process took this one's place"))
			return
		case err != nil && ctx.Err() == nil:
			a.log.Warn("this process could not say that it lives", "error", err)
		}
	}
}

// guardClock notes jumps of the database's clock, as who drives does: this process ends nothing by its time, but says what it
// sees.
func (a *App) guardClock() {
	o := a.opts.Supervisor
	a.store.Clock().Guard(eventstore.ClockLimits{Jump: o.ClockJump, Settle: o.ClockSettle}, func(n eventstore.ClockNotice) {
		if n.Sure {
			a.log.Warn("the database's clock is trusted again", "jump", n.By, "why", n.Why)
			return
		}
		a.log.Error("the database's clock jumped; it is doubted until later readings agree, or: tenure clock confirm", "jump", n.By)
	})
}

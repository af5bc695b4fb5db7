package app

import (
	"context"
	"errors"
	"time"

	"github.com/tenure-dev/tenure/eventstore"
)

// startBeating keeps the liveness row of a process that does not drive. Supervisors do so themselves.
func (a *App) startBeating(ctx context.Context) error {
	ttl := a.opts.Supervisor.LivenessTTL
	if ttl == 0 {
		ttl = 4 * time.Second
	}
	if err := a.processes.Register(ctx, a.process, ttl); err != nil {
		return err
	}
	beats, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		a.beat(beats, ttl)
	}()
	a.onStop("liveness", func(ctx context.Context) error {
		cancel()
		<-ended
		if err := a.processes.Leave(ctx, a.process.ID); err != nil {
			a.log.Warn("this process could not say that it ends", "error", err) // its row runs out by itself
		}
		return nil
	})
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
		err := a.processes.Beat(call, a.process, ttl)
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

package app

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// stopLimit bounds a stop as a whole, beyond the time that running work is given.
const stopLimit = 40 * time.Second

// Stop takes the engine down in the reverse order of its start. It may be called again.
func (a *App) Stop(ctx context.Context) error {
	a.stopOnce.Do(func() {
		var problems []error
		for i := len(a.cleanups) - 1; i >= 0; i-- {
			c := a.cleanups[i]
			if err := c.undo(ctx); err != nil {
				problems = append(problems, fmt.Errorf("stop %s: %w", c.name, err))
			}
		}
		a.stopErr = errors.Join(problems...)
	})
	return a.stopErr
}

// cleanup is how a step of the start is undone.
type cleanup struct {
	name string
	undo func(context.Context) error
}

// onStop notes how a step is undone.
func (a *App) onStop(name string, undo func(context.Context) error) {
	a.cleanups = append(a.cleanups, cleanup{name, undo})
}

// background runs something beside everything else. Its undoing ends run's ctx and waits for its return.
func (a *App) background(ctx context.Context, name string, run func(ctx context.Context)) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		run(ctx)
	}()
	a.onStop(name, func(context.Context) error { cancel(); <-ended; return nil })
}

// fail notes what makes the engine end; only the first one counts.
func (a *App) fail(err error) {
	select {
	case a.failed <- err:
	default:
	}
}

// Failed delivers what makes the engine unable to go on.
func (a *App) Failed() <-chan error { return a.failed }

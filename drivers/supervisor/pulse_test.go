package supervisor_test

import (
	"context"
	"fmt"
	"time"

	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/memory"
)

// pulse is the row of the world over a process's link.
type pulse struct {
	*memory.Pulse
	link *link
}

// ask asks the row, whose answer also tells what time it is.
func (p pulse) ask(question func() (eventstore.PulseReading, error)) (eventstore.PulseReading, error) {
	if p.link.down.Load() {
		return eventstore.PulseReading{}, fmt.Errorf("%w: the cable is cut", eventstore.ErrUnavailable)
	}
	r, err := question()
	p.link.clock.Observe(r.Now)
	return r, err
}

func (p pulse) Beat(ctx context.Context, limit time.Duration) (eventstore.PulseReading, error) {
	return p.ask(func() (eventstore.PulseReading, error) { return p.Pulse.Beat(ctx, limit) })
}

func (p pulse) Resume(ctx context.Context, version int64) (eventstore.PulseReading, error) {
	return p.ask(func() (eventstore.PulseReading, error) { return p.Pulse.Resume(ctx, version) })
}

func (p pulse) Look(ctx context.Context) (eventstore.PulseReading, error) {
	return p.ask(func() (eventstore.PulseReading, error) { return p.Pulse.Look(ctx) })
}

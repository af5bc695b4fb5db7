package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tenure-dev/tenure/eventstore/pg"
)

// wakeups measures the time from an append to the handler of a Watermill subscription that sleeps; the floor is one commit.
func wakeups(ctx context.Context, b *bench) (err error) {
	d, err := b.database(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.drop()) }()
	store, err := pg.Open(ctx, d.pool, pg.Options{Logger: b.log})
	if err != nil {
		return err
	}
	defer store.Close()
	under, err := newFloor(ctx, d.url, 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, under.close(ctx)) }()
	subscriber, err := store.Subscriber("bench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, subscriber.Close()) }()
	messages, err := subscriber.Subscribe(ctx, pg.Topic)
	if err != nil {
		return err
	}
	const warmUp = 20
	c := &caller{store: store, payload: payload()}
	var took, commits []time.Duration
	for i := range b.sizes.wakeups + warmUp {
		commit, err := under.writers[0].commit(ctx)
		if err != nil {
			return err
		}
		began := time.Now()
		if err := c.append(ctx); err != nil {
			return err
		}
		m, open := <-messages
		if !open {
			return errors.New("the subscription ended")
		}
		arrived := time.Since(began)
		if r, err := pg.FromMessage(m); err != nil || r.AppendID != c.last {
			return fmt.Errorf("event %d arrived instead of the appended one: %w", r.Position, err)
		}
		m.Ack()
		if i >= warmUp {
			took, commits = append(took, arrived), append(commits, commit)
		}
	}
	b.latencies(took, commits, "wakeup/p50", "wakeup/p99", []bound{{2 * time.Millisecond, 4}, {10 * time.Millisecond, 20}})
	return nil
}

// bound is an aim for a time: the greater of the two, in time and in commits.
type bound struct {
	time    time.Duration
	commits float64
}

// latencies reports the median and the 99th of 100, with the median commit as the floor of both.
func (b *bench) latencies(took, commits []time.Duration, p50, p99 string, bounds []bound) {
	floor := milliseconds(median(commits))
	for i, name := range []string{p50, p99} {
		value := milliseconds(percentile(took, []float64{50, 99}[i]))
		e := entry{Name: name, Value: value, Unit: "ms"}.against(floor, value/floor)
		if i < len(bounds) {
			e = e.atMost(max(milliseconds(bounds[i].time), bounds[i].commits*floor))
		}
		b.report.add(e)
	}
}

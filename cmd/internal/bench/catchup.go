package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/tenure-dev/tenure/eventstore/pg"
)

// longRounds bounds the rounds of what takes long.
const longRounds = 3

// catchup measures how fast a Watermill subscription reads a long log from its beginning.
func catchup(ctx context.Context, b *bench) (err error) {
	log, err := b.longLog(ctx)
	if err != nil {
		return err
	}
	store, err := pg.Open(ctx, log.pool, pg.Options{Logger: b.log})
	if err != nil {
		return err
	}
	defer store.Close()
	var rates []float64
	before := b.used()
	for round := range min(b.sizes.rounds, longRounds) {
		took, err := readAll(ctx, store, fmt.Sprintf("bench-%d", round), log.events)
		if err != nil {
			return err
		}
		rates = append(rates, float64(log.events)/took.Seconds())
	}
	fmt.Fprintf(os.Stderr, "catchup: CPU for each event: %s\n", b.used().since(before).per(float64(log.events)*float64(len(rates))))
	e := entry{Name: "catchup/1m", Value: median(rates), Unit: "events/s"}
	b.report.add(e.atLeast(e.Value, 100_000, " events/s"))
	return nil
}

func readAll(ctx context.Context, store *pg.Store, group string, events int64) (took time.Duration, err error) {
	began := time.Now()
	subscriber, err := store.Subscriber(group)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, subscriber.Close()) }()
	messages, err := subscriber.Subscribe(ctx, pg.Topic)
	if err != nil {
		return 0, err
	}
	for next := int64(1); next <= events; next++ {
		m, open := <-messages
		if !open {
			return 0, errors.New("the subscription ended")
		}
		r, err := pg.FromMessage(m)
		if err != nil {
			return 0, err
		}
		if r.Position != next {
			return 0, fmt.Errorf("event %d arrived instead of %d", r.Position, next)
		}
		m.Ack()
	}
	return time.Since(began), nil
}

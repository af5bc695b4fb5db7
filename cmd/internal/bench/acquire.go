package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// acquires measures the time of one client's call that returns an active lease; the floor is one commit.
func acquires(ctx context.Context, b *bench) (err error) {
	e, err := b.engine(ctx, 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.close(ctx)) }()
	under, err := newFloor(ctx, e.db.url, 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, under.close(ctx)) }()
	const warmUp = 20
	var took, commits []time.Duration
	for i := range b.sizes.acquires + warmUp {
		commit, err := under.writers[0].commit(ctx)
		if err != nil {
			return err
		}
		began := time.Now()
		lease, err := e.acquire(ctx, 0)
		if err != nil {
			return err
		}
		active := time.Since(began)
		if err := e.release(ctx, lease.ID); err != nil {
			return err
		}
		if i >= warmUp {
			took, commits = append(took, active), append(commits, commit)
		}
	}
	b.latencies(took, commits, "acquire/c1/p50", "acquire/c1/p99", []bound{{6 * time.Millisecond, 12}})
	return nil
}

// cycles measures how many leases per second n clients acquire, see active, and release until they are gone.
func cycles(name string, clients int, aim float64) func(context.Context, *bench) error {
	return func(ctx context.Context, b *bench) (err error) {
		e, err := b.engine(ctx, b.sizes.environments)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, e.close(ctx)) }()
		var rates []float64
		var spent cpu
		var done float64
		for round := range b.sizes.rounds + 1 {
			before, began := b.used(), time.Now()
			rate, err := together(ctx, clients, b.sizes.round, func(ctx context.Context, i int) error {
				lease, err := e.acquire(ctx, i)
				if err != nil {
					return err
				}
				return e.release(ctx, lease.ID)
			})
			if err != nil {
				return err
			}
			if round > 0 {
				rates = append(rates, rate)
				done += rate * time.Since(began).Seconds()
				spent = spent.plus(b.used().since(before))
			}
		}
		fmt.Fprintf(os.Stderr, "%s: CPU for each: %s\n", name, spent.per(done))
		result := entry{Name: name, Value: median(rates), Unit: "cycles/s"}
		if aim > 0 {
			result = result.atLeast(result.Value, aim, " cycles/s")
		}
		b.report.add(result)
		return nil
	}
}

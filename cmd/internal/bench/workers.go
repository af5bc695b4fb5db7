package main

import (
	"context"
	"errors"
	"fmt"
)

const (
	// workerDelay is how long the provider of throughput lets wait, in milliseconds, for a runtime and for its end each.
	workerDelay = 20
	// workerClients ask for more than three such workers can do.
	workerClients = 24
	// workersRounds is how many rounds one of theirs is long: a life takes its time.
	workersRounds = 4
	// workersMost is the most workers.
	workersMost = 3
)

// workerNames are the benchmarks of throughput, by the number of workers.
func workerNames() (names []string) {
	for n := range workersMost {
		names = append(names, fmt.Sprintf("throughput/workers/%d", n+1))
	}
	return names
}

// workersAims are what two and three workers are to do, as multiples of one.
var workersAims = []float64{0, 1.8, 2.6}

// throughput measures whole lives of leases per second through an API server, with one, two and three workers in turn, at a
// provider that lets each of them wait. One worker alone can do as many lives in the time that a life waits there as it works
// on at once: by default so few that all three wait for the provider and not for a core.
func throughput(ctx context.Context, b *bench) (err error) {
	script := fmt.Sprintf(`[{"verb": "acquire", "action": "delay", "ms": %d}, {"verb": "release", "action": "delay", "ms": %d}]`, workerDelay, workerDelay)
	f, err := b.fleet(ctx, 1, []string{"--parallel", fmt.Sprint(b.sizes.parallel)}, script)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.close(ctx)) }()
	cycle := func(ctx context.Context, _ int) error {
		lease, err := f.acquire(ctx, 0)
		if err != nil {
			return err
		}
		return f.release(ctx, lease.ID)
	}
	rates := make([][]float64, workersMost)
	for range b.sizes.rounds {
		for n := range workersMost {
			if err := f.grow(ctx, n+1); err != nil {
				return err
			}
			// A worker that has just started makes connections and its provider first.
			if _, err := together(ctx, workerClients, b.sizes.round, cycle); err != nil {
				return err
			}
			rate, err := together(ctx, workerClients, workersRounds*b.sizes.round, cycle)
			if err != nil {
				return err
			}
			rates[n] = append(rates[n], rate)
		}
		if err := f.shrink(ctx, 1); err != nil {
			return err
		}
	}
	one := median(rates[0])
	for n, name := range workerNames() {
		rate := median(rates[n])
		e := entry{Name: name, Value: rate, Unit: "cycles/s"}
		if n == 0 {
			bound := float64(b.sizes.parallel) * 1000 / (2 * workerDelay)
			e = e.against(bound, rate/bound)
		} else {
			e = e.against(one, rate/one).atLeast(rate/one, workersAims[n], " × one worker")
		}
		b.report.add(e)
	}
	return nil
}

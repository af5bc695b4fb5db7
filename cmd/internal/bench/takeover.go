package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/tenure-dev/tenure/eventstore"
)

const (
	// takeoverWorkers drive, and takeoverKills of them are killed at a time, each at a moment of its own.
	takeoverWorkers = 4
	takeoverKills   = 2
	// takeoverLeases are held at least of the part of a worker that is to be killed.
	takeoverLeases = 3
	// takeoverAim is what the issue asks for.
	takeoverAim = 5
)

// takeovers measures how long it takes from the kill -9 of a worker until others have acted on all that clients then ask for of
// its part of the work: some leases of it are given back at once, and the slowest counts, so that a kill is one sample. The
// floor is the same with leases of a worker that lives.
func takeovers(ctx context.Context, b *bench) (err error) {
	f, err := b.fleet(ctx, takeoverWorkers, nil, `[]`)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.close(ctx)) }()
	var took, usual []time.Duration
	for len(took) < b.sizes.kills {
		if err := f.grow(ctx, takeoverWorkers); err != nil {
			return err
		}
		victims := f.workers[:min(takeoverKills, b.sizes.kills-len(took))]
		of, err := f.holdEach(ctx, takeoverLeases)
		if err != nil {
			return err
		}
		killed, lived, err := f.killAndRelease(ctx, victims, of)
		if err != nil {
			return err
		}
		took, usual = append(took, killed...), append(usual, lived...)
		f.workers = f.workers[len(victims):]
	}
	seconds := func(all []time.Duration, p float64) float64 { return percentile(all, p).Seconds() }
	fmt.Fprintf(os.Stderr, "takeover: %d kills, from %.2f to %.2f s\n", len(took), seconds(took, 0), seconds(took, 100))
	for _, p := range []float64{50, 99} {
		value, floor := seconds(took, p), seconds(usual, p)
		e := entry{Name: fmt.Sprintf("takeover/kill/p%.0f", p), Value: value, Unit: "s"}.against(floor, value/floor)
		if p > 50 {
			e = e.atMost(takeoverAim)
		}
		b.report.add(e)
	}
	return nil
}

// holdEach makes leases until there are so many of the part of each worker, by the worker's id in the system.
func (f *fleet) holdEach(ctx context.Context, n int) (map[int][]uuid.UUID, error) {
	owners, err := f.owners(ctx)
	if err != nil {
		return nil, err
	}
	of := map[int][]uuid.UUID{}
	for {
		enough := true
		for _, w := range f.workers {
			enough = enough && len(of[w.pid()]) >= n
		}
		if enough {
			return of, nil
		}
		lease, err := f.acquire(ctx, 0)
		if err != nil {
			return nil, err
		}
		owner := owners[eventstore.PartitionOf(lease.ID)]
		of[owner] = append(of[owner], lease.ID)
	}
}

// killAndRelease kills workers, and gives all leases back: those of a killed one when it is, and those of the others before.
func (f *fleet) killAndRelease(ctx context.Context, victims []*process, of map[int][]uuid.UUID) (killed, lived []time.Duration, err error) {
	dies := map[int]bool{}
	for _, v := range victims {
		dies[v.pid()] = true
	}
	for owner, leases := range of {
		if !dies[owner] {
			slowest, err := f.releaseAll(ctx, leases)
			if err != nil {
				return nil, nil, err
			}
			lived = append(lived, slowest)
		}
	}
	killed = make([]time.Duration, len(victims))
	group, ctx := errgroup.WithContext(ctx)
	for i, v := range victims {
		group.Go(func() (err error) {
			// Where in its beat it is hit is chance.
			if err := rest(ctx, rand.N(time.Second)); err != nil { //nolint:gosec // chance is no secret
				return err
			}
			if err := v.kill(); err != nil {
				return err
			}
			killed[i], err = f.releaseAll(ctx, of[v.pid()])
			return err
		})
	}
	return killed, lived, group.Wait()
}

// releaseAll gives leases back at once, and returns how long the slowest takes until it is gone.
func (f *fleet) releaseAll(ctx context.Context, leases []uuid.UUID) (time.Duration, error) {
	began := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for _, id := range leases {
		group.Go(func() error { return f.release(ctx, id) })
	}
	err := group.Wait()
	return time.Since(began), err
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tenure-dev/tenure/api/wire"
)

// renewals measures how long a holder's renewal takes while an import fills the log as fast as it goes: whole leases at
// once, which the read models and the supervisor take in as any others.
func renewals(ctx context.Context, b *bench) (err error) {
	e, err := b.engine(ctx, 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.close(ctx)) }()
	held, err := e.acquire(ctx, 0)
	if err != nil {
		return err
	}
	lives, err := newLives()
	if err != nil {
		return err
	}
	importing, stop := context.WithCancel(ctx)
	defer stop()
	group, importing := errgroup.WithContext(importing)
	var events atomic.Int64
	underWay := make(chan struct{}, b.sizes.importers)
	for i := range b.sizes.importers {
		group.Go(func() error {
			for n := 0; importing.Err() == nil; n++ {
				life := lives[(i+n)%len(lives)]
				if _, err := e.app.Store().Submit(imported(life)).Wait(ctx); err != nil {
					return err
				}
				events.Add(int64(len(life)))
				if n == 0 {
					underWay <- struct{}{}
				}
			}
			return nil
		})
	}
	for range b.sizes.importers {
		select {
		case <-underWay:
		case <-importing.Done():
			return group.Wait()
		}
	}
	before := time.Now()
	var took []time.Duration
	for n := range b.sizes.renewals {
		// Each moves the hard end, or it would be coalesced with the one before.
		ttl := (24*time.Hour - time.Duration(n%2)*time.Hour).String()
		began := time.Now()
		if _, err := e.client.RenewLeaseFor(importing, held.ID, held.Fence, wire.Renew{TTL: &ttl}); err != nil {
			return errors.Join(err, group.Wait())
		}
		took = append(took, time.Since(began))
	}
	rate := float64(events.Load()) / time.Since(before).Seconds()
	stop()
	if err := group.Wait(); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "renew: p50 %.1f ms; the import made %.0f events/s meanwhile\n", milliseconds(median(took)), rate)
	b.report.add(entry{Name: "renew/p99", Value: milliseconds(percentile(took, 99)), Unit: "ms"})
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tenure-dev/tenure/api/wire"
)

// sandboxes measures what a client waits for from nothing to the exit of the first command in a sandbox: one at a time, beside
// a bare bwrap with the same namespaces, and many at once beside as many of those.
func sandboxes(ctx context.Context, b *bench) (err error) {
	d, err := bubblewrapBench(ctx, b)
	if err != nil {
		return err
	}
	e, err := b.driverEngine(ctx, d)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.close(ctx)) }()
	const warmUp = 2
	var took, bare []time.Duration
	for i := range b.sizes.visits + warmUp {
		alone, err := bareSandbox(ctx)
		if err != nil {
			return err
		}
		one, err := e.createFirstExit(ctx)
		if err != nil {
			return err
		}
		if i >= warmUp {
			took, bare = append(took, one), append(bare, alone)
		}
	}
	const aim, aimAtOnce = 25, 400
	value, floor := milliseconds(median(took)), milliseconds(median(bare))
	b.report.add(entry{Name: "driver/bubblewrap/create_first_exit/p50", Value: value, Unit: "ms"}.against(floor, value/floor).atMost(aim))

	bareAll, err := allAtOnce(ctx, b.sizes.atOnce, bareSandbox)
	if err != nil {
		return err
	}
	all, err := allAtOnce(ctx, b.sizes.atOnce, e.createFirstExit)
	if err != nil {
		return err
	}
	value, floor = milliseconds(percentile(all, 99)), milliseconds(percentile(bareAll, 99))
	b.report.add(entry{Name: "driver/bubblewrap/100_at_once/p99", Value: value, Unit: "ms"}.against(floor, value/floor).atMost(aimAtOnce))
	return nil
}

// allAtOnce does the same n times at once, and all of it also if one fails: a bwrap that is killed while it sets up leaves a child
// that waits for it for ever.
func allAtOnce(ctx context.Context, n int, do func(context.Context) (time.Duration, error)) ([]time.Duration, error) {
	took := make([]time.Duration, n)
	var group errgroup.Group
	for i := range took {
		group.Go(func() (err error) {
			took[i], err = do(ctx)
			return err
		})
	}
	return took, group.Wait()
}

// bareSandbox is the time of a bwrap that does no more than the engine's must.
func bareSandbox(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	cmd := exec.CommandContext(ctx, "bwrap", "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "true")
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("bwrap: %w: %s", err, out)
	}
	return time.Since(began), nil
}

// createFirstExit is the time from the request for a lease to the end of its first command. The release is not counted.
func (e *driverEngine) createFirstExit(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	lease, err := e.acquire(ctx, 0)
	if err != nil {
		return 0, err
	}
	x, err := e.client.StartExec(ctx, lease.ID, lease.Fence, wire.StartExec{Argv: []string{"true"}})
	if err != nil {
		return 0, err
	}
	if err := e.exited(ctx, x.ID); err != nil {
		return 0, err
	}
	took := time.Since(began)
	return took, e.release(ctx, lease.ID)
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/tenure-dev/tenure/cmd/internal/app"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/runtime"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/eventstore/pg"
)

// sweeps measures how many leases a second an engine ends, runtime and all, whose time was over when it started: the read
// model finds them, each is ended by an append, torn down by a driver that does nothing, and recorded. The floor is one row a
// lease, by as many connections as the engine has steps.
func sweeps(ctx context.Context, b *bench) error {
	return b.withLeases(ctx, b.sizes.deadlines, -time.Minute, func(ctx context.Context, e *engine) error {
		before, began := b.used(), time.Now()
		if err := awaitEvents(ctx, e.app.Store(), lease.Expired{}.EventName(), b.sizes.deadlines); err != nil {
			return err
		}
		took, spent := time.Since(began), b.used().since(before)
		under, err := newFloor(ctx, e.db.url, floorWriters)
		if err != nil {
			return err
		}
		floor, err := under.rate(ctx, b.sizes.round)
		if err = errors.Join(err, under.close(ctx)); err != nil {
			return err
		}
		rate := float64(b.sizes.deadlines) / took.Seconds()
		fmt.Fprintf(os.Stderr, "expiry: %d leases in %s, %.0f µs each; for each %s\n",
			b.sizes.deadlines, took.Round(time.Millisecond), 1e6/rate, spent.per(float64(b.sizes.deadlines)))
		b.report.add(entry{Name: "expiry/sweep100k", Value: rate, Unit: "leases/s"}.against(floor, rate/floor))
		return nil
	}, fastSweeps)
}

// fastSweeps lets an engine end leases as fast as it can.
func fastSweeps(o *app.Options) {
	o.Supervisor.ExpiryRate, o.Supervisor.SweepInterval = 1<<20, 100*time.Millisecond
}

// floorWriters are as many as the engine's steps at once.
const floorWriters = 64

// idleCost measures what an engine and its Postgres use while leases are active and nothing happens, in percent of one core;
// the floor is the same without leases. It is watched for as long as the reaper's period is: that and the account of all runtimes
// come once in it.
func idleCost(ctx context.Context, b *bench) error {
	var used [2]float64
	for i, n := range []int{0, b.sizes.deadlines} {
		err := b.withLeases(ctx, n, 23*time.Hour, func(ctx context.Context, e *engine) error {
			if err := rest(ctx, 4*b.sizes.settle); err != nil { // what the start and the import left to do, here
				return err
			}
			for _, left := range []string{"VACUUM (ANALYZE)", "CHECKPOINT"} { // and in Postgres
				if _, err := e.db.pool.Exec(ctx, left); err != nil {
					return err
				}
			}
			before, began := b.used(), time.Now()
			if err := rest(ctx, b.sizes.watch); err != nil {
				return err
			}
			spent := b.used().since(before)
			took := time.Since(began).Seconds()
			used[i] = 100 * (spent.self + spent.server).Seconds() / took
			fmt.Fprintf(os.Stderr, "idle: with %d leases %.1f %% of a core here, %.1f %% in Postgres\n",
				n, 100*spent.self.Seconds()/took, 100*spent.server.Seconds()/took)
			return nil
		})
		if err != nil {
			return err
		}
	}
	e := entry{Name: "expiry/idle100k", Value: used[1], Unit: "% of a core"}
	if used[0] > 0 {
		e = e.against(used[0], used[1]/used[0])
	}
	b.report.add(e.atMost(5))
	return nil
}

func rest(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// withLeases lets measure see an engine that starts on a log with n active leases, whose hard ends are that far from now.
func (b *bench) withLeases(
	ctx context.Context, n int, end time.Duration, measure func(context.Context, *engine) error, change ...func(*app.Options),
) (err error) {
	e, err := b.engine(ctx, 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.close(ctx)) }()
	if err := e.app.Stop(ctx); err != nil {
		return err
	}
	if err := importLeases(ctx, e, n, time.Now().Add(end)); err != nil {
		return err
	}
	if e.app, err = start(ctx, filepath.Join(e.dir, "data"), e.db.url, b.log, change...); err != nil {
		return err
	}
	return measure(ctx, e)
}

// importLeases puts active leases into the log of an engine that rests.
func importLeases(ctx context.Context, e *engine, n int, end time.Time) (err error) {
	store, err := pg.Open(ctx, e.db.pool, pg.Options{})
	if err != nil {
		return err
	}
	defer store.Close()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(floorWriters)
	for done := 0; done < n; done += leasesAtOnce {
		a := eventstore.Append{ID: newID(), Lane: eventstore.LaneBulk}
		for range min(leasesAtOnce, n-done) {
			if err := addActive(&a, e, end); err != nil {
				return errors.Join(err, group.Wait())
			}
		}
		group.Go(func() error {
			_, err := store.Submit(a).Wait(ctx)
			return err
		})
	}
	return group.Wait()
}

// leasesAtOnce is how many leases of seven events fit into an append.
const leasesAtOnce = eventstore.MaxAppendEvents / 7

// addActive adds the events of an active lease and of its runtime, as the engine would have made them.
func addActive(a *eventstore.Append, e *engine, end time.Time) error {
	id, made, worker := newID(), domain.RuntimeID{UUID: newID()}, domain.WorkerID{UUID: uuid.New()}
	request := requested()
	request.Company, request.Environment = domain.CompanyID{UUID: e.company}, domain.EnvironmentID{UUID: e.environments[0]}
	request.Config = json.RawMessage(`{}`)
	add := func(stream eventstore.Stream, name string, revision int, payload []byte, err error) error {
		a.Events = append(a.Events, eventstore.NewEvent{Stream: stream, Name: name, Revision: revision, Company: request.Company, Payload: payload})
		return err
	}
	var problems []error
	for _, l := range []lease.Event{
		request, lease.Granted{}, lease.ProvisioningStarted{Attempt: 1, Runtime: made, Worker: worker, Deadline: end},
		lease.Provisioned{Attempt: 1, Runtime: made, Acquisition: lease.AcquisitionCreated, HardExpiresAt: end, ExpiresAt: end},
	} {
		name, revision, payload, err := lease.Codec.Encode(l)
		problems = append(problems, add(commands.Leases.Stream(id), name, revision, payload, err))
	}
	for _, r := range []runtime.Event{
		runtime.Intended{Company: request.Company, Environment: request.Environment, Lease: domain.LeaseID{UUID: id}, Driver: noopName, Provider: noopName},
		runtime.Made{}, runtime.Held{Lease: domain.LeaseID{UUID: id}},
	} {
		name, revision, payload, err := runtime.Codec.Encode(r)
		problems = append(problems, add(commands.Runtimes.Stream(made.UUID), name, revision, payload, err))
	}
	for _, stream := range []eventstore.Stream{commands.Leases.Stream(id), commands.Runtimes.Stream(made.UUID)} {
		a.Expect = append(a.Expect, eventstore.Expectation{Stream: stream, Expect: eventstore.NoStream})
	}
	return errors.Join(problems...)
}

// awaitEvents reads on in the log until it has seen that many events of the name.
func awaitEvents(ctx context.Context, store *pg.Store, name string, n int) error {
	for after, seen := int64(0), 0; seen < n; {
		changed := store.Changed()
		page, err := store.ReadAll(ctx, after, 0)
		if err != nil {
			return err
		}
		for _, r := range page {
			after = r.Position
			if r.Name == name {
				seen++
			}
		}
		if len(page) > 0 {
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

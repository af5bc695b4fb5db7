package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/pg"
)

var (
	company     = domain.CompanyID{UUID: uuid.MustParse("0190f000-0000-7000-8000-000000000001")}
	environment = domain.EnvironmentID{UUID: uuid.MustParse("0190f000-0000-7000-8000-000000000002")}
	eventName   = lease.Requested{}.EventName()
)

func newID() uuid.UUID { return uuid.Must(uuid.NewV7()) }

// requested is what a client asks for.
func requested() lease.Requested {
	return lease.Requested{
		Company: company, Environment: environment, EnvironmentVersion: 1, Driver: noopName, Provider: noopName,
		Config: json.RawMessage(`{"root":"/srv"}`), Run: "run-0190f000", Policy: lease.PolicyEphemeral, TTLMs: 86_400_000, IdleTimeoutMs: 3_600_000,
		Context: lease.Context{Issue: "issue-1", Agent: "agent-1", Workspace: "workspace-1", WorkspaceMode: "shared", Adapter: "process"},
	}
}

// payload is the payload of a middling event.
func payload() []byte {
	_, _, raw, err := lease.Codec.Encode(requested())
	if err != nil {
		panic(err) // a constant
	}
	return raw
}

// appends measures events per second of n callers, each with one append under way, each append with a command and a
// check of its stream's version; the floor is as many connections that insert.
func appends(name string, writers int, via string, aim float64) func(context.Context, *bench) error {
	return func(ctx context.Context, b *bench) (err error) {
		var link func(string) string
		if via != "" {
			proxy, err := newDelay(b.server.ConnString(), b.dir)
			if err != nil {
				return err
			}
			defer proxy.close()
			link = proxy.url
		}
		d, err := b.database(ctx, link)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, d.drop()) }()
		store, err := pg.Open(ctx, d.pool, pg.Options{Logger: b.log})
		if err != nil {
			return err
		}
		defer store.Close()
		under, err := newFloor(ctx, d.url, writers)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, under.close(ctx)) }()
		if via != "" {
			trip, err := roundTrip(ctx, under.writers[0].conn)
			if err != nil {
				return err
			}
			b.report.add(entry{Name: "run/roundtrip/" + via, Value: milliseconds(trip), Unit: "ms"})
		}
		callers := make([]*caller, writers)
		for i := range callers {
			callers[i] = &caller{store: store, payload: payload()}
		}
		value, floor, ratio, err := b.takeTurns(ctx, name,
			func(ctx context.Context, length time.Duration) (float64, error) {
				return together(ctx, writers, length, func(ctx context.Context, i int) error { return callers[i].append(ctx) })
			}, under.rate)
		if err != nil {
			return err
		}
		e := entry{Name: name, Value: value, Unit: "events/s"}.against(floor, ratio)
		if aim > 0 {
			e = e.atLeast(ratio, aim, "× floor")
		}
		b.report.add(e)
		return nil
	}
}

// takeTurns measures two rates in rounds, one of them first in every other round, after a round that does not count. The
// ratio is the median of the rounds' ratios.
func (b *bench) takeTurns(ctx context.Context, name string, one, two func(context.Context, time.Duration) (float64, error)) (value, floor, ratio float64, err error) {
	var values, floors, ratios []float64
	var spent [2]cpu
	var done [2]float64
	for round := range b.sizes.rounds + 1 {
		var rate [2]float64
		for turn := range 2 {
			which := (round + turn) % 2
			measure := one
			if which == 1 {
				measure = two
			}
			before, began := b.used(), time.Now()
			if rate[which], err = measure(ctx, b.sizes.round); err != nil {
				return 0, 0, 0, err
			}
			done[which] += rate[which] * time.Since(began).Seconds()
			spent[which] = spent[which].plus(b.used().since(before))
		}
		if round > 0 {
			values, floors, ratios = append(values, rate[0]), append(floors, rate[1]), append(ratios, rate[0]/rate[1])
		}
	}
	fmt.Fprintf(os.Stderr, "%s: CPU for each: %s; floor: %s\n", name, spent[0].per(done[0]), spent[1].per(done[1]))
	return median(values), median(floors), median(ratios), nil
}

// caller appends as the ledger does: the state it knows, the append that made it, a command of its own.
type caller struct {
	store   *pg.Store
	payload []byte
	stream  eventstore.Stream
	version int64
	last    uuid.UUID
}

func (c *caller) append(ctx context.Context) error {
	if c.version%streamEvents == 0 {
		c.stream, c.version, c.last = eventstore.StreamOf(lease.Category, newID()), 0, uuid.Nil
	}
	a := eventstore.Append{
		ID: newID(),
		Expect: []eventstore.Expectation{
			{Stream: c.stream, Expect: eventstore.Exactly(c.version), By: c.last},
		},
		Events: []eventstore.NewEvent{
			{Stream: c.stream, Name: eventName, Revision: 1, Company: company, Payload: c.payload},
		},
		By: eventstore.Attribution{
			Actor: domain.PrincipalID(company), Key: domain.KeyID(company), Request: newID(),
		},
		Command: &eventstore.Command{
			Company: company, Route: "POST /api/v1/companies/:companyId/leases", Key: newID().String(),
			RequestHash: sha256.Sum256(c.payload), Resource: newID(),
		},
	}
	if _, err := c.store.Submit(a).Wait(ctx); err != nil {
		return err
	}
	c.version, c.last = c.version+1, a.ID
	return nil
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
	env "github.com/tenure-dev/tenure/domain/environment"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/eventstore/pg"
	"github.com/tenure-dev/tenure/eventstore/vault"
)

const (
	// grantClients act at once; grantSlots is what the environments have together, and grantRequests how many leases hold one
	// of them or wait: there is always somebody who waits.
	grantClients  = 64
	grantSlots    = 100
	grantRequests = 250
	// grantEvents is how many events a grant takes: requested, waiting, and, when another gives up its slot, canceled, freed,
	// admitted, granted.
	grantEvents = 6
)

// grants measures how many leases per second come by a slot that others wait for as well: each client gives up a lease that
// was granted and asks for another one, so that a grant is two appends of six events. The floor is as many rows inserted by as
// many connections.
func grants(name string, environments int, aim float64) func(context.Context, *bench) error {
	return func(ctx context.Context, b *bench) (err error) {
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
		under, err := newFloor(ctx, d.url, grantClients)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, under.close(ctx)) }()
		desk, err := newGrantDesk(ctx, store, environments)
		if err != nil {
			return err
		}
		value, floor, ratio, err := b.takeTurns(ctx, name,
			func(ctx context.Context, length time.Duration) (float64, error) {
				return together(ctx, grantClients, length, desk.next)
			},
			func(ctx context.Context, length time.Duration) (float64, error) {
				rows, err := under.rate(ctx, length)
				return rows / grantEvents, err
			})
		if err != nil {
			return err
		}
		e := entry{Name: name, Value: value, Unit: "grants/s"}.against(floor, ratio)
		if aim > 0 {
			e = e.atLeast(value, aim, " grants/s")
		}
		b.report.add(e)
		return nil
	}
}

// grantDesk is environments that are full, and the leases in them that were granted.
type grantDesk struct {
	commands     *commands.Commands
	environments []domain.EnvironmentID
	granted      chan domain.LeaseID
}

func newGrantDesk(ctx context.Context, store eventstore.Store, environments int) (*grantDesk, error) {
	ledger := eventstore.NewLedger(store)
	d := &grantDesk{commands: commands.New(ledger, vault.InMemory()), granted: make(chan domain.LeaseID, 2*grantRequests)}
	name := lease.Granted{}.EventName()
	ledger.Heed(func(r eventstore.Recorded) {
		if r.Name != name {
			return
		}
		if id, err := r.Stream.ID(); err == nil {
			d.granted <- domain.LeaseID{UUID: id}
		}
	})
	if _, err := d.commands.AddCompany(ctx, commands.Caller{}, company, "bench"); err != nil {
		return nil, err
	}
	for i := range environments {
		id := domain.EnvironmentID{UUID: newID()}
		_, err := d.commands.RegisterEnvironment(ctx, commands.Caller{}, id, env.Registered{
			Company: company, Name: fmt.Sprintf("env-%d", i), Driver: noopName, MaxLeases: grantSlots / environments,
		}, func(string, json.RawMessage) ([]commands.SecretField, error) { return nil, nil })
		if err != nil {
			return nil, err
		}
		d.environments = append(d.environments, id)
	}
	for i := range grantRequests {
		if err := d.ask(ctx, d.environments[i%environments], i); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// next gives up a lease that was granted, which grants another one its slot, and asks for a new one in its place.
func (d *grantDesk) next(ctx context.Context, client int) error {
	var id domain.LeaseID
	select {
	case id = <-d.granted:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	l, err := d.commands.KnownLease(ctx, id)
	if err != nil {
		return err
	}
	if _, err := d.commands.CancelLease(ctx, commands.Caller{By: eventstore.Attribution{Request: uuid.New()}}, id, ""); err != nil {
		return err
	}
	return d.ask(ctx, l.Environment, client)
}

func (d *grantDesk) ask(ctx context.Context, in domain.EnvironmentID, client int) error {
	_, err := d.commands.AcquireLease(ctx, commands.Caller{By: eventstore.Attribution{Request: uuid.New()}}, commands.Acquire{
		Lease: domain.LeaseID{UUID: newID()}, Company: company, Environment: in, Run: "run-0190f000", Policy: lease.PolicyEphemeral,
		Provider: func(driver string, _ json.RawMessage) string { return driver },
		Context:  lease.Context{Agent: fmt.Sprintf("agent-%d", client%8)}, TTL: 24 * time.Hour, IdleTimeout: time.Hour,
	})
	return err
}

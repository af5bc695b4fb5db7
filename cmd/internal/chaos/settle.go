package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/check"
	"github.com/tenure-dev/tenure/migrations/pgtest/pgcluster"
	"github.com/tenure-dev/tenure/plugins/fake"
	"github.com/tenure-dev/tenure/projections"
	"github.com/tenure-dev/tenure/projections/catalog"
	"github.com/tenure-dev/tenure/projections/deadlines"
	"github.com/tenure-dev/tenure/projections/leaks"
)

// settle repairs all and waits until the engine has nothing more to do, and says whether it came to that. What does not end is a
// violation, by its name.
func (r *run) settle(ctx context.Context) bool {
	for _, n := range r.nodes {
		if err := n.setClock(0); err != nil {
			r.wrong("set a clock right", err)
		}
	}
	err := within(ctx, startLimit, r.allUp)
	if err == nil {
		err = within(ctx, startLimit, r.sure)
	}
	if err != nil {
		if ctx.Err() == nil {
			r.violate("settled", "processes", err.Error())
		}
		return false
	}
	pool, err := pgxpool.New(ctx, r.db.now().URL(pgcluster.RoleSuper, pgcluster.Database))
	if err != nil {
		r.wrong("open the database", err)
		return false
	}
	defer pool.Close()
	var open open
	err = within(ctx, r.settings.settle, func(ctx context.Context) error {
		next := time.Now().Add(sayEvery)
		return until(ctx, func() bool {
			now, err := r.left(ctx, pool)
			if ctx.Err() != nil {
				return false // what was seen last is to be named
			}
			if err != nil {
				open.trouble = err
				return false
			}
			open = now
			if time.Now().After(next) {
				next = time.Now().Add(sayEvery)
				r.say("open: %s", open)
			}
			return open.none()
		})
	})
	if err != nil && ctx.Err() == nil {
		names := open.name()
		if len(names) == 0 {
			names = []string{"the engine, which could not be looked at"}
		}
		for _, what := range names {
			r.violate("settled", what, fmt.Sprintf("it did not come to its end within %s after all faults", r.settings.settle))
		}
	}
	return err == nil
}

// sure waits until every API server says that the log is in force and that time is certain, and says so if nobody else can.
func (r *run) sure(ctx context.Context) error {
	t := r.transport.Clone()
	defer t.CloseIdleConnections()
	for _, n := range r.of(verbAPI) {
		c := r.clientOf(n, t)
		var last error
		began := time.Now()
		err := until(ctx, func() bool {
			ask, cancel := context.WithTimeout(ctx, 10*time.Second)
			defer cancel()
			health, err := c.Health(ask)
			if err == nil && health.Log != wire.LogInForce {
				err = errors.New("the log is " + health.Log)
			}
			var clock wire.Clock
			if err == nil {
				clock, err = c.Clock(ask)
			}
			if err == nil && !clock.Sure && time.Since(began) > 5*time.Second {
				r.say("%s is not sure of the time, which jumped by %d ms; it is confirmed", n.name, clock.JumpMs)
				_, err = c.ConfirmClock(ask, wire.ConfirmClock{Reason: "the clock is right"})
			}
			if err == nil && !clock.Sure {
				err = errors.New("it is not sure of the time")
			}
			last = err
			return err == nil
		})
		if err != nil {
			return fmt.Errorf("%s: %w: %w", n.name, err, last)
		}
	}
	return nil
}

// open is what has not come to its end.
type open struct {
	trouble error
	// due is what is to be done, live what exists at the provider, leaks are those on the list.
	due   []deadlines.Row
	live  []fake.Entry
	leaks []leaks.Row
	// behind are read models that lack events.
	behind []string
}

func (o open) none() bool {
	return o.trouble == nil && len(o.due)+len(o.live)+len(o.leaks)+len(o.behind) == 0
}

func (o open) String() string {
	if o.trouble != nil {
		return o.trouble.Error()
	}
	kinds := map[string]int{}
	for _, d := range o.due {
		kinds[d.Data.Kind.String()]++
	}
	return fmt.Sprintf("%d things to do %v, %d runtimes, %d leaks, read models behind: %v", len(o.due), kinds, len(o.live), len(o.leaks), o.behind)
}

// name names each thing.
func (o open) name() (names []string) {
	if o.trouble != nil {
		return []string{"what is left: " + o.trouble.Error()}
	}
	for _, d := range o.due {
		names = append(names, fmt.Sprintf("%s (%s, due %s)", d.Stream, d.Data.Kind, d.Data.DueAt.Format(time.RFC3339)))
	}
	for _, e := range o.live {
		names = append(names, fmt.Sprintf("runtime %s of %s, lease %s", e.RuntimeID, e.Provider, e.LeaseID))
	}
	for _, l := range o.leaks {
		names = append(names, fmt.Sprintf("leak %s", l.Stream))
	}
	for _, m := range o.behind {
		names = append(names, "read model "+m)
	}
	if len(names) > 20 {
		names = append(names[:20], fmt.Sprintf("and %d more", len(names)-20))
	}
	return names
}

// left looks at what has not come to its end.
func (r *run) left(ctx context.Context, pool *pgxpool.Pool) (o open, err error) {
	if o.due, _, err = deadlines.Model.Rows(ctx, pool, projections.Question{}, "created", 1000); err != nil {
		return o, err
	}
	page, err := leaks.List(ctx, pool, leaks.Filter{Status: wire.LeakOpen}, projections.Options{})
	if err != nil {
		return o, err
	}
	o.leaks = page.Items
	ledger, err := fake.ReadLedger(fake.LedgerPath(r.provider))
	if err != nil {
		return o, err
	}
	o.live = ledger.Live()
	var head int64
	if err := pool.QueryRow(ctx, `SELECT coalesce(max(position), 0) FROM events`).Scan(&head); err != nil {
		return o, err
	}
	for _, m := range catalog.All() {
		position, err := projections.Snapshot(ctx, pool, m.Key(), func(pgx.Tx, string) error { return nil })
		if err != nil {
			return o, err
		}
		if position < head {
			o.behind = append(o.behind, m.Key().Name)
		}
	}
	return o, nil
}

// readModels reads all tables as they are.
func readModels(ctx context.Context, pool *pgxpool.Pool) (all []check.ReadModel, err error) {
	for _, m := range catalog.All() {
		key := m.Key()
		model := check.ReadModel{Name: key.Name, Revision: key.Revision}
		model.Position, err = projections.Snapshot(ctx, pool, key, func(tx pgx.Tx, table string) error {
			rows, err := tx.Query(ctx, "SELECT "+projections.RowColumns+" FROM "+table+" ORDER BY stream")
			if err != nil {
				return err
			}
			model.Rows, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (check.Row, error) {
				head, data, err := projections.ScanRow(row)
				return check.Row{Stream: head.Stream, Created: head.Created, Version: head.Version, Position: head.Position, Data: data}, err
			})
			return err
		})
		if err != nil {
			return nil, err
		}
		all = append(all, model)
	}
	return all, nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/pg"
	"github.com/tenure-dev/tenure/migrations/pgtest/pgcluster"
)

// database is the Postgres of a run, which each process reaches by a gate of its own.
type database struct {
	// turn is held by who does something to it as a whole.
	turn sync.Mutex

	mu      sync.Mutex
	cluster *pgcluster.Cluster
	gates   []*gate
	// lost is what a promotion left behind.
	lost []eventstore.Recorded
}

// clusterSettings are those of a server that many processes use, and that is crashed.
var clusterSettings = map[string]string{"max_connections": "300", "shared_buffers": "64MB"}

func newDatabase(ctx context.Context) (*database, error) {
	c, err := pgcluster.New(ctx, clusterSettings)
	if err != nil {
		return nil, err
	}
	// With it an ordinary role sees that the database's files were copied; see docs/adr/0017.
	if err := c.Exec(ctx, pgcluster.Database, `GRANT EXECUTE ON FUNCTION pg_stat_file(text) TO `+pgcluster.RolePlain); err != nil {
		return nil, errors.Join(err, c.Remove(context.WithoutCancel(ctx)))
	}
	return &database{cluster: c}, nil
}

// gate makes a way to it.
func (d *database) gate() (*gate, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	g, err := newGate("unix", d.cluster.Socket())
	if err == nil {
		d.gates = append(d.gates, g)
	}
	return g, err
}

// through is the connection string of a process.
func (d *database) through(g *gate) string {
	return fmt.Sprintf("host=127.0.0.1 port=%d user=%s dbname=%s sslmode=disable pool_max_conns=12", g.port(), pgcluster.RolePlain, pgcluster.Database)
}

// now is the cluster that serves.
func (d *database) now() *pgcluster.Cluster {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cluster
}

// restart crashes the server and starts it again after a while.
func (d *database) restart(ctx context.Context, down time.Duration) error {
	c := d.now()
	if err := c.Stop(ctx, pgcluster.Immediate); err != nil {
		return err
	}
	_ = pause(ctx, down)
	return c.Start(context.WithoutCancel(ctx))
}

// replace ends the primary and lets a standby that lacks its last events take its place. What was lost is kept.
func (d *database) replace(ctx context.Context, standby *pgcluster.Cluster) (lost []eventstore.Recorded, err error) {
	old := d.now()
	for _, g := range d.gates {
		g.refuseAll(true)
	}
	defer func() {
		for _, g := range d.gates {
			g.refuseAll(false)
		}
	}()
	// Connections that were cut may still have a call under way, which commits: the server waits for it and ends.
	if err := old.Stop(ctx, pgcluster.Fast); err != nil {
		return nil, err
	}
	if err := old.Start(ctx); err != nil {
		return nil, err
	}
	head, err := lastPosition(ctx, standby)
	if err != nil {
		return nil, err
	}
	if lost, err = readLog(ctx, old, head); err != nil {
		return nil, err
	}
	if err := old.Stop(ctx, pgcluster.Immediate); err != nil {
		return nil, err
	}
	if err := standby.Promote(ctx); err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.cluster = standby
	d.lost = append(d.lost, lost...)
	for _, g := range d.gates {
		g.lead("unix", standby.Socket())
	}
	d.mu.Unlock()
	return lost, old.Remove(ctx)
}

// close ends the server and the ways to it, and removes its files.
func (d *database) close(ctx context.Context) error {
	for _, g := range d.gates {
		g.close()
	}
	return d.now().Remove(ctx)
}

// connect makes a connection past all gates.
func connect(ctx context.Context, c *pgcluster.Cluster) (*pgx.Conn, error) {
	return pgx.Connect(ctx, c.URL(pgcluster.RoleSuper, pgcluster.Database))
}

func lastPosition(ctx context.Context, c *pgcluster.Cluster) (last int64, err error) {
	conn, err := connect(ctx, c)
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return last, conn.QueryRow(ctx, `SELECT coalesce(max(position), 0) FROM events`).Scan(&last)
}

// readLog reads the events of a cluster's log after a position, past the engine.
func readLog(ctx context.Context, c *pgcluster.Cluster, after int64) ([]eventstore.Recorded, error) {
	conn, err := connect(ctx, c)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows, err := conn.Query(ctx, `SELECT `+pg.Columns+` FROM events WHERE position > $1 ORDER BY position`, after)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (r eventstore.Recorded, err error) {
		err = row.Scan(&r.Position, &r.Epoch, (*string)(&r.Stream), &r.Version, &r.Name, &r.Revision, (*[16]byte)(&r.Company.UUID), &r.CompanyPosition,
			&r.RecordedAt, (*[16]byte)(&r.AppendID), &r.AppendIndex, (*[16]byte)(&r.By.Actor.UUID), (*[16]byte)(&r.By.Key.UUID),
			(*[16]byte)(&r.By.Request), (*[16]byte)(&r.By.Cause), &r.Payload, &r.Salt, &r.Commitment, &r.PrevHash, &r.Hash)
		r.RecordedAt = r.RecordedAt.UTC()
		return r, err
	})
}

// ends are the events that end a lease.
var ends = []string{"LeaseReleased", "LeaseExpired", "LeaseFailed", "LeaseRetained", "LeaseCanceled"}

// finished counts the leases that have ended.
func (d *database) finished(ctx context.Context) (n int, err error) {
	conn, err := connect(ctx, d.now())
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return n, conn.QueryRow(ctx, `SELECT count(*) FROM events WHERE name = ANY ($1)`, ends).Scan(&n)
}

package pg

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/eventstore"
)

// Processes is who drives, each with one liveness row.
type Processes struct {
	store *Store
	pool  *pgxpool.Pool

	mu sync.Mutex
	// mine is the process that registered here, and epoch the log's at that time.
	mine  eventstore.Process
	epoch int64
}

// Processes returns the liveness rows of this log.
func (s *Store) Processes() *Processes { return &Processes{store: s, pool: s.keep} }

// ForReaders are the same for who can wait for a connection behind others.
func (p *Processes) ForReaders() *Processes { return &Processes{store: p.store, pool: p.store.pool} }

// Register makes the row of a new incarnation and removes those of the node's earlier ones: only one process at a time owns
// a node's data directory, so they are gone.
func (p *Processes) Register(ctx context.Context, process eventstore.Process, ttl time.Duration) error {
	epoch := p.store.Epoch()
	err := p.pool.QueryRow(ctx, `
		WITH earlier AS (DELETE FROM processes WHERE node_id = $2 AND id <> $1)
		INSERT INTO processes (id, node_id, hostname, pid, version, role, serves, draining, address, alive_until)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, clock_timestamp() + $10)
		RETURNING started_at`,
		process.ID.UUID, process.Node.UUID, process.Hostname, process.PID, process.Version,
		process.Role.String(), array(process.Serves), process.Draining, process.Address, ttl).Scan(&process.StartedAt)
	if err != nil {
		return unavailable(wrap(err, "register this process"))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mine, p.epoch = process, epoch
	return nil
}

// Beat says that the process lives on, and what may have changed of it. It returns ErrProcessGone when its row is not there any more: another incarnation
// took over.
func (p *Processes) Beat(ctx context.Context, process eventstore.Process, ttl time.Duration) error {
	var now time.Time
	err := p.pool.QueryRow(ctx, `
		UPDATE processes SET alive_until = clock_timestamp() + $2, serves = $3, draining = $4
		 WHERE id = $1
		RETURNING clock_timestamp()`, process.ID.UUID, ttl, array(process.Serves), process.Draining).Scan(&now)
	if err == pgx.ErrNoRows { //nolint:errorlint // QueryRow returns it bare
		return p.gone(ctx, process, ttl)
	}
	if err != nil {
		return unavailable(wrap(err, "beat"))
	}
	p.store.clock.Observe(now)
	return nil
}

// gone is the answer to a process whose row is not there. A log that has forked may have lost it; then it is made again,
// unless another incarnation of the node has one.
func (p *Processes) gone(ctx context.Context, process eventstore.Process, ttl time.Duration) error {
	if err := p.store.Look(ctx); err != nil {
		return err
	}
	p.mu.Lock()
	mine, epoch := p.mine, p.epoch
	p.mu.Unlock()
	if mine.ID != process.ID || epoch == p.store.Epoch() {
		return eventstore.ErrProcessGone
	}
	list, err := p.List(ctx)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(list, func(q eventstore.Process) bool {
		return q.Node == mine.Node && q.StartedAt.After(mine.StartedAt) && q.Alive
	}) {
		return eventstore.ErrProcessGone
	}
	return p.Register(ctx, process, ttl)
}

// Leave removes the row: the process ends in order, and its claims may be taken over at once.
func (p *Processes) Leave(ctx context.Context, id domain.WorkerID) error {
	_, err := p.pool.Exec(ctx, `DELETE FROM processes WHERE id = $1`, id.UUID)
	return unavailable(wrap(err, "remove this process"))
}

// List returns every process, those that have gone silent too.
func (p *Processes) List(ctx context.Context) ([]eventstore.Process, error) {
	rows, err := p.pool.Query(ctx, `
		SELECT id, node_id, hostname, pid, version, role, serves, draining, address, started_at, alive_until, alive_until > clock_timestamp()
		  FROM processes
		 ORDER BY started_at, id`)
	if err != nil {
		return nil, unavailable(wrap(err, "list processes"))
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (eventstore.Process, error) {
		var q eventstore.Process
		err := row.Scan((*[16]byte)(&q.ID.UUID), (*[16]byte)(&q.Node.UUID), &q.Hostname, &q.PID, &q.Version,
			(*string)(&q.Role), &q.Serves, &q.Draining, &q.Address, &q.StartedAt, &q.AliveUntil, &q.Alive)
		return q, err
	})
	return list, unavailable(wrap(err, "list processes"))
}

func wrap(err error, what string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

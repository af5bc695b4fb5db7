// Package pg is the event store on Postgres.
//
// A [Store] has one writer, which collects the appends that wait and sends them as one call of the function
// append_events (migrations/00001_log.sql), and any number of readers. Since positions are dense and in commit order, a
// reader needs only "position > $1". Readers sleep until the writer of this process says that there is more, until another
// process says so by NOTIFY, or until the poll interval is over.
package pg

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/eventstore"
)

// Options configure a store. The zero value of each field is its default.
type Options struct {
	// Logger gets what an operator would want to know; default: nothing.
	Logger *slog.Logger
	// PollInterval is the longest a reader sleeps although there may be more; default 500 ms.
	PollInterval time.Duration
	// AppendTimeout is how long the writer goes on resolving an append whose outcome is not known; default 30 s.
	AppendTimeout time.Duration
	// CallTimeout is how long the database may take to answer a call; past it the link is taken for dead and a batch is
	// sent again with the same ids on another one. Default 10 s.
	CallTimeout time.Duration
	// DirectURL leads to the same database without a pooler in between, for LISTEN alone. Default: the pool's own way; if
	// that leads through a pooler, commits of other processes are found by polling.
	DirectURL string
	// Node is whose process this is, for the record of a fork.
	Node domain.NodeID
	// Remembered is what the node's processes before this one remembered of a log: of another log it does not count.
	Remembered Memory
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.PollInterval == 0 {
		o.PollInterval = 500 * time.Millisecond
	}
	if o.AppendTimeout == 0 {
		o.AppendTimeout = 30 * time.Second
	}
	if o.CallTimeout == 0 {
		o.CallTimeout = 10 * time.Second
	}
	return o
}

// Store is the event store on one schema of one database.
type Store struct {
	pool *pgxpool.Pool
	// keep has one connection, for what must get through however busy the pool is: that a process lives and what it has.
	keep     *pgxpool.Pool
	opts     Options
	clock    eventstore.Clock
	identity atomic.Pointer[Identity]
	channel  string
	direct   *pgx.ConnConfig
	writer   *writer
	wake     *wake
	cancel   context.CancelFunc
	done     sync.WaitGroup

	memory memory
	// doubt has room for one signal: look soon whether the log is still the one it was.
	doubt    chan struct{}
	lookTurn sync.Mutex
	// looking guards changedIdentity.
	looking         sync.Mutex
	changedIdentity chan struct{}
}

var _ eventstore.Store = (*Store)(nil)

// Open starts a store on a migrated schema. The pool stays the caller's, who closes the store first.
func Open(ctx context.Context, pool *pgxpool.Pool, opts Options) (*Store, error) {
	s := &Store{
		pool: pool, opts: opts.withDefaults(),
		doubt: make(chan struct{}, 1), changedIdentity: make(chan struct{}),
	}
	if opts.DirectURL != "" {
		direct, err := pgx.ParseConfig(opts.DirectURL)
		if err != nil {
			return nil, errors.New("the direct connection string is none of Postgres") //nolint:err113 // the cause may hold a password
		}
		s.direct = direct
	}
	var now time.Time
	var identity Identity
	err := pool.QueryRow(ctx, `
		SELECT l.installation, l.epoch, l.forked, 'tenure_' || to_hex(append_lock_key()), clock_timestamp()
		  FROM log l`).Scan(&identity.Installation, &identity.Epoch, &identity.Forked, &s.channel, &now)
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	s.clock.Observe(now)
	s.identity.Store(&identity)
	switch opts.Remembered.Installation {
	case identity.Installation:
		s.memory.marks = slices.Clone(opts.Remembered.Marks)
		s.memory.epoch = opts.Remembered.Epoch
	case uuid.Nil:
	default:
		s.opts.Logger.Warn("this is another log than the one that this node knew",
			"installation", identity.Installation, "known", opts.Remembered.Installation)
	}
	config := pool.Config()
	config.MaxConns, config.MinConns, config.MinIdleConns = 1, 0, 0
	if s.keep, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	s.wake = newWake(s)
	s.writer = newWriter(s)
	if err := s.Look(ctx); err != nil {
		s.keep.Close()
		return nil, fmt.Errorf("open the log: %w", err)
	}
	if identity.Forked && s.Identity() == identity {
		s.opts.Logger.Error(forkedLine, "epoch", identity.Epoch)
	}
	ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	s.done.Go(func() { s.writer.run(ctx) })
	s.done.Go(func() { s.wake.listen(ctx) })
	s.done.Go(func() { s.wake.notify(ctx) })
	s.done.Go(func() { s.watch(ctx) })
	return s, nil
}

// Close ends the writer after the appends that were submitted, and the readers' wake-ups. It may be called again.
func (s *Store) Close() {
	s.writer.close()
	s.cancel()
	s.done.Wait()
	s.keep.Close()
}

// Channel is where commits are notified; each schema has its own.
func (s *Store) Channel() string { return s.channel }

// Clock is the database's time.
func (s *Store) Clock() *eventstore.Clock { return &s.clock }

// Submit hands an append to the writer.
func (s *Store) Submit(a eventstore.Append) eventstore.Pending { return s.writer.submit(a) }

// Changed returns a channel that is closed when there may be more to read than there was at the call.
func (s *Store) Changed() <-chan struct{} { return s.wake.changed() }

// unavailable wraps errors of the link to the database, and of a database that is going down or coming up, so that callers
// can tell them from answers.
func unavailable(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	if refused(err) || errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	return fmt.Errorf("%w: %w", eventstore.ErrUnavailable, err)
}

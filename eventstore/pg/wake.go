package pg

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// wake tells readers that there may be more to read: at once for appends of this process, by NOTIFY for those of others.
type wake struct {
	store *Store
	mu    sync.Mutex
	ch    chan struct{}
	// tell has room for one signal: other processes are to be notified.
	tell chan struct{}
	// self is what this store says when it notifies, so that it need not heed itself.
	self string
}

func newWake(s *Store) *wake {
	return &wake{store: s, ch: make(chan struct{}), tell: make(chan struct{}, 1), self: uuid.NewString()}
}

func (w *wake) changed() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ch
}

func (w *wake) broadcast() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.ch)
	w.ch = make(chan struct{})
}

// appended is called after a commit of this process.
func (w *wake) appended() {
	w.broadcast()
	select {
	case w.tell <- struct{}{}:
	default:
	}
}

// A NOTIFY is a transaction with a commit record of its own; nothing is lost if a crash forgets it.
const notifyOthers = `SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, $2)`

// notifyRest is how long a NOTIFY waits after the one before. Each is a transaction, and wakes every process; without a rest
// a busy log would spend more on telling of its events than on writing them.
const notifyRest = 10 * time.Millisecond

// notify sends one NOTIFY for all commits since the last one, in a statement of its own: inside the append it would take
// the server's notification lock and cost a factor of five.
func (w *wake) notify(ctx context.Context) {
	var rest <-chan time.Time
	for {
		if !w.due(ctx, rest) {
			return
		}
		callCtx, cancel := w.store.callContext(ctx)
		_, err := w.store.pool.Exec(callCtx, notifyOthers, w.store.channel, w.self)
		cancel()
		if err != nil && ctx.Err() == nil {
			w.store.opts.Logger.Debug("notify: others will find the events by polling", "error", err)
		}
		rest = time.After(notifyRest)
	}
}

// due waits for something to tell and for the end of the rest, and reports whether there is still somebody to tell it for.
func (w *wake) due(ctx context.Context, rest <-chan time.Time) bool {
	select {
	case <-w.tell:
	case <-ctx.Done():
		return false
	}
	if rest == nil {
		return true
	}
	select {
	case <-rest:
		return true
	case <-ctx.Done():
		return false
	}
}

// listen keeps a connection of its own that hears of other processes' commits, and makes a new one when it dies. Until
// then the poll interval covers the gap.
func (w *wake) listen(ctx context.Context) {
	for attempt := 0; ctx.Err() == nil; attempt++ {
		err := w.listenOnce(ctx, func() { attempt = 0 })
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, errPooled):
			w.store.opts.Logger.Warn("a pooler stands before the database, so commits of other processes are found by polling; "+
				"a direct connection string (serve: --database-direct-url) would find them at once", "poll_interval", w.store.opts.PollInterval)
			return
		}
		w.store.opts.Logger.Debug("listen: the connection is lost; making a new one", "error", err)
		select {
		case <-time.After(backoff(attempt)):
		case <-ctx.Done():
		}
	}
}

func (w *wake) listenOnce(ctx context.Context, connected func()) error {
	conn, err := w.listenConn(ctx)
	if err != nil {
		return err
	}
	defer func() {
		closeCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		_ = conn.Close(closeCtx)
	}()
	connected()
	w.broadcast()
	for {
		waitCtx, cancel := context.WithTimeout(ctx, w.store.opts.CallTimeout)
		notice, err := conn.WaitForNotification(waitCtx)
		silent := waitCtx.Err() != nil && ctx.Err() == nil
		cancel()
		if err == nil {
			if notice.Payload != w.self {
				w.broadcast()
			}
			continue
		}
		if !silent {
			return err
		}
		// Silence may be a dead link: it is asked.
		pingCtx, cancel := w.store.callContext(ctx)
		err = conn.Ping(pingCtx)
		cancel()
		if err != nil {
			return err
		}
	}
}

// errPooled says that a connection leads to a pooler.
var errPooled = errors.New("the connection leads to a pooler, not to a session of the server")

// Pooled reports whether a connection leads to a pooler, which may give each transaction another session: it is known by its
// process id, which is not that of the session.
func Pooled(ctx context.Context, conn *pgx.Conn) (bool, error) {
	var pid uint32
	err := conn.QueryRow(ctx, `SELECT pg_backend_pid()`).Scan(&pid)
	return err == nil && pid != conn.PgConn().PID(), err
}

// listenConn is a connection that listens. A pooler would take LISTEN and deliver nothing.
func (w *wake) listenConn(ctx context.Context) (*pgx.Conn, error) {
	ctx, cancel := w.store.callContext(ctx)
	defer cancel()
	config := w.store.pool.Config().ConnConfig.Copy()
	if w.store.direct != nil {
		config = w.store.direct.Copy()
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	pooled, err := Pooled(ctx, conn)
	if pooled {
		err = errPooled
	}
	if err == nil {
		_, err = conn.Exec(ctx, `LISTEN `+pgx.Identifier{w.store.channel}.Sanitize())
	}
	if err != nil {
		closeCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		_ = conn.Close(closeCtx)
		return nil, err
	}
	return conn, nil
}

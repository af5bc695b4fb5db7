package pg

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// wake tells readers that there may be more to read: at once for appends of this process, by NOTIFY for those of others.
type wake struct {
	store *Store
	mu    sync.Mutex
	ch    chan struct{}
	// tell has room for one signal: other processes are to be notified.
	tell chan struct{}
}

func newWake(s *Store) *wake {
	return &wake{store: s, ch: make(chan struct{}), tell: make(chan struct{}, 1)}
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
const notifyOthers = `SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, '')`

// notify sends one NOTIFY for all commits since the last one, in a statement of its own: inside the append it would take
// the server's notification lock and cost a factor of five.
func (w *wake) notify(ctx context.Context) {
	for {
		select {
		case <-w.tell:
		case <-ctx.Done():
			return
		}
		callCtx, cancel := context.WithTimeout(ctx, callTimeout)
		_, err := w.store.pool.Exec(callCtx, notifyOthers, w.store.channel)
		cancel()
		if err != nil && ctx.Err() == nil {
			w.store.opts.Logger.Debug("notify: others will find the events by polling", "error", err)
		}
	}
}

// aliveEvery is how often a silent LISTEN connection is asked whether it still lives.
const aliveEvery = 10 * time.Second

// listen keeps a connection of its own that hears of other processes' commits, and makes a new one when it dies. Until
// then the poll interval covers the gap.
func (w *wake) listen(ctx context.Context) {
	for attempt := 0; ctx.Err() == nil; attempt++ {
		err := w.listenOnce(ctx, func() { attempt = 0 })
		if ctx.Err() != nil {
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
	conn, err := pgx.ConnectConfig(ctx, w.store.pool.Config().ConnConfig.Copy())
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, `LISTEN `+pgx.Identifier{w.store.channel}.Sanitize()); err != nil {
		return err
	}
	connected()
	w.broadcast()
	for {
		waitCtx, cancel := context.WithTimeout(ctx, aliveEvery)
		_, err := conn.WaitForNotification(waitCtx)
		silent := waitCtx.Err() != nil && ctx.Err() == nil
		cancel()
		if err == nil {
			w.broadcast()
			continue
		}
		if !silent {
			return err
		}
		pingCtx, cancel := context.WithTimeout(ctx, callTimeout)
		err = conn.Ping(pingCtx)
		cancel()
		if err != nil {
			return err
		}
	}
}

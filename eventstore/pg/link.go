package pg

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenure-dev/tenure/eventstore"
)

// link is the writer's own connection: appends never wait for readers to give one back, and what the server says beside an
// answer is heard. It is made when it is needed and made again after any doubt.
type link struct {
	store *Store
	conn  *pgx.Conn
	// heads is what the answers on conn told of the log.
	heads *heads
	// used is when the server last answered.
	used time.Time
	// warning is what the server warned of during the present call.
	warning *pgconn.Notice
}

// restAfter is how long a connection may rest before it is asked whether it still lives. An append on a dead one would have
// an unknown outcome where this one has none.
const restAfter = time.Second

// errSilent is why a call ends that the database does not answer.
var errSilent = errors.New("the database did not answer in time")

// call sends a batch. sent says whether the database may have seen it. A warning makes the outcome unknown: it may say that
// the transaction ended in another way than the answer reads (no transaction in progress, not yet replicated).
func (l *link) call(ctx context.Context, batch []*pending) (outcomes []outcome, sent bool, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, l.store.opts.CallTimeout, errSilent)
	defer cancel()
	if err := l.connect(ctx); err != nil {
		return nil, false, err
	}
	l.warning = nil
	outcomes, err = l.append(ctx, batch)
	if err == nil && l.warning != nil {
		err = fmt.Errorf("the database warned (%s): %s", l.warning.Code, l.warning.Message)
	}
	if err != nil {
		if !refused(err) {
			// What the connection would say next belongs to nobody: it is not used again.
			l.close(ctx)
		}
		return nil, !pgconn.SafeToRetry(err), err
	}
	l.used = time.Now()
	if head := l.heads.log; head.hash != nil {
		l.store.memory.note(batch[0].append.Epoch, head.position, head.hash)
	}
	return l.heed(ctx, outcomes), true, nil
}

// heed looks at the log anew when it refused appends for being of another epoch, so that whoever decides again does so on
// the epoch that it has now.
func (l *link) heed(ctx context.Context, outcomes []outcome) []outcome {
	if !slices.ContainsFunc(outcomes, func(o outcome) bool { return errors.Is(o.err, eventstore.ErrStaleEpoch) }) {
		return outcomes
	}
	if err := l.store.look(ctx, l.conn); err != nil {
		l.store.opts.Logger.Warn("append: the log has another epoch, and it could not be looked at", "error", err)
	}
	return outcomes
}

// append brings a batch into the log: as it stands if it is plain and the log's head is where it is remembered, or else
// judged by the log.
func (l *link) append(ctx context.Context, batch []*pending) ([]outcome, error) {
	epoch, now := batch[0].append.Epoch, l.store.Identity()
	// What is of another epoch, or is not to be driven, the log refuses.
	plain := epoch == now.Epoch && !(now.Forked && slices.ContainsFunc(batch, func(p *pending) bool { return p.append.Drives }))
	if n, ok := l.heads.place(epoch, batch); ok && plain {
		procedure, arguments := n.call()
		r, err := ask(ctx, l.conn, batch, procedure, arguments, scanNext)
		switch {
		case err == nil && r.result == nextDone:
			l.heads.settle(n, r.at.UTC())
			return n.outcomes(batch, r.at.UTC()), nil
		case err == nil && r.result == nextMoved:
			l.heads.moved()
		case err != nil && !refused(err):
			return nil, err
		}
	}
	args := newArguments(epoch, l.store.memory.last(), batch)
	r, err := ask(ctx, l.conn, batch, callBatch, args.list(), scanAnswer)
	if err != nil {
		return nil, err
	}
	l.heads.learn(args, r)
	return args.outcomes(r, batch)
}

// connect makes sure of a connection that lives.
func (l *link) connect(ctx context.Context) error {
	if l.conn != nil && !l.conn.IsClosed() {
		if time.Since(l.used) < restAfter || l.conn.Ping(ctx) == nil {
			return nil
		}
		l.close(ctx)
	}
	config := l.store.pool.Config().ConnConfig.Copy()
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		if n.SeverityUnlocalized == "WARNING" {
			l.warning = n
		}
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	l.conn, l.heads, l.used = conn, newHeads(), time.Now()
	// The server may be another one than before.
	if err := l.store.look(ctx, conn); err != nil {
		l.close(ctx)
		return err
	}
	return nil
}

// closeTimeout bounds the farewell to a server that may not listen.
const closeTimeout = time.Second

func (l *link) close(ctx context.Context) {
	if l.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	_ = l.conn.Close(ctx)
	l.conn = nil
}

// callContext bounds a statement of the store's own. When the store is closed meanwhile it has a little time to end: one
// that is cut in the middle makes the driver send a cancel request, of which a pooler may die (PgBouncer 1.18 does).
func (s *Store) callContext(ctx context.Context) (context.Context, context.CancelFunc) {
	call, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), s.opts.CallTimeout, errSilent)
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(closeTimeout):
			cancel()
		case <-call.Done():
		}
	})
	return call, func() { stop(); cancel() }
}

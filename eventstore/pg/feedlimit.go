package pg

import (
	"context"
	stdsql "database/sql"
	"time"

	"github.com/ThreeDotsLabs/watermill-sql/v4/pkg/sql"
	"github.com/jackc/pgx/v5/pgxpool"
)

// limited bounds the transaction in which a page of the log is read: on a link that carries nothing the feed would wait for
// ever, and nobody would tell it.
type limited struct {
	sql.Beginner
	limit time.Duration
}

func limitedBeginner(pool *pgxpool.Pool, limit time.Duration) sql.Beginner {
	return limited{Beginner: sql.BeginnerFromPgx(pool), limit: limit}
}

// BeginTx begins a transaction that is over when its time is.
func (l limited) BeginTx(ctx context.Context, opts *stdsql.TxOptions) (sql.Tx, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, l.limit, errSilent)
	tx, err := l.Beginner.BeginTx(ctx, opts)
	if err != nil {
		cancel()
		return nil, err
	}
	return limitedTx{Tx: tx, ctx: ctx, cancel: cancel}, nil
}

// limitedTx lets each statement have what is left of the transaction's time.
type limitedTx struct {
	sql.Tx
	ctx    context.Context //nolint:containedctx // Watermill gives a statement the subscription's, which has no end
	cancel context.CancelFunc
}

// ExecContext implements [sql.ContextExecutor].
func (t limitedTx) ExecContext(_ context.Context, query string, args ...any) (sql.Result, error) {
	return t.Tx.ExecContext(t.ctx, query, args...)
}

// QueryContext implements [sql.ContextExecutor].
func (t limitedTx) QueryContext(_ context.Context, query string, args ...any) (sql.Rows, error) {
	return t.Tx.QueryContext(t.ctx, query, args...)
}

// Commit implements [sql.Tx].
func (t limitedTx) Commit() error {
	defer t.cancel()
	return t.Tx.Commit()
}

// Rollback implements [sql.Tx].
func (t limitedTx) Rollback() error {
	defer t.cancel()
	return t.Tx.Rollback()
}

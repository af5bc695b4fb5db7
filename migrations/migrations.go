// Package migrations holds the database's schema and brings a database up to it.
package migrations

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
)

//go:embed *.sql
var files embed.FS

// versionTable remembers which migrations ran.
const versionTable = "tenure_migrations"

// MinServerVersion is the oldest Postgres that the schema is tested with.
const MinServerVersion = 150000

// Code names what is wrong with a database, for programs.
type Code string

// The codes of Error.
const (
	CodeVersion  Code = "database_version_unsupported"
	CodeForeign  Code = "database_in_other_use"
	CodeNoSchema Code = "database_schema_missing"
	CodePool     Code = "database_pool_too_small"
)

// Error is a database that cannot be used as it is. Nothing was changed in it.
type Error struct {
	Code Code
	// What is what was found, Remediation what to do about it.
	What, Remediation string
}

func (e *Error) Error() string { return e.What + "; " + e.Remediation }

// Up brings the schema that pool's connections see up to date. Several processes may call it at once: one migrates, the
// others wait. A database with tables of something else is left alone.
//
// The lock belongs to a transaction, which stays open while another connection of the pool migrates: a session's lock would
// be left behind on somebody else's session where a pooler gives each transaction another one. Those who wait hold no
// transaction open, or they could keep the pooler's last session from the one who migrates.
func Up(ctx context.Context, pool *pgxpool.Pool) error {
	if pool.Config().MaxConns < 2 {
		return &Error{CodePool, "the pool has room for one connection, and a migration needs two", "raise pool_max_conns in --database-url"}
	}
	schema, err := check(ctx, pool)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, lockTimeout, errors.New("another process is still migrating the database"))
	defer cancel()
	for {
		done, err := migrateAlone(ctx, pool, lockID(schema))
		if err != nil || done {
			return err
		}
		select {
		case <-time.After(askAgain/2 + rand.N(askAgain)): //nolint:gosec // jitter is no secret
		case <-ctx.Done():
			return fmt.Errorf("migrate the database: %w", context.Cause(ctx))
		}
	}
}

const (
	// lockTimeout bounds the wait for others and the migration.
	lockTimeout = 10 * time.Minute
	// askAgain is about how often one who waits looks whether the others are done.
	askAgain = 100 * time.Millisecond
)

// migrateAlone migrates if nobody else is at it.
func migrateAlone(ctx context.Context, pool *pgxpool.Pool, lock int64) (done bool, _ error) {
	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `
			SELECT pg_try_advisory_xact_lock($1)
			  FROM set_config('idle_in_transaction_session_timeout', '0', true)`, lock).Scan(&done)
		if err != nil {
			return fmt.Errorf("migrate the database: %w", err)
		}
		if !done {
			return nil
		}
		return migrate(ctx, pool)
	})
	return done, err
}

func migrate(ctx context.Context, pool *pgxpool.Pool) error {
	db := stdlib.OpenDBFromPool(pool)
	defer db.Close() //nolint:errcheck // closes no connection of the pool
	store, err := database.NewStore(goose.DialectPostgres, versionTable)
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectCustom, db, files, goose.WithStore(store), goose.WithSlog(slog.New(slog.DiscardHandler)))
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate the database: %w", err)
	}
	return nil
}

// lockID is the advisory lock of those who migrate one schema.
func lockID(schema string) int64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte("tenure migrations " + schema))
	return int64(h.Sum64())
}

func check(ctx context.Context, pool *pgxpool.Pool) (schema string, err error) {
	var version int
	err = pool.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, coalesce(current_schema(), '')`).Scan(&version, &schema)
	if err != nil {
		return "", fmt.Errorf("ask the database for its version: %w", err)
	}
	if version < MinServerVersion {
		return "", &Error{
			CodeVersion, fmt.Sprintf("the database is a PostgreSQL %d, and %d is the oldest that works", version/10000, MinServerVersion/10000),
			"upgrade the server, or give --database-url another one",
		}
	}
	if schema == "" {
		return "", &Error{
			CodeNoSchema, "the connection's search_path names no schema that exists and that this user may use",
			"create the schema or grant USAGE on it, or leave search_path out of --database-url",
		}
	}
	rows, err := pool.Query(ctx, present)
	if err != nil {
		return "", fmt.Errorf("look at the database: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return "", fmt.Errorf("look at the database: %w", err)
	}
	if len(names) > 0 && !slices.Contains(names, versionTable) {
		return "", &Error{
			CodeForeign, fmt.Sprintf("schema %s holds what is not Tenure's: %s", schema, some(names)),
			"give --database-url a database that is empty, or an empty schema of its own by search_path",
		}
	}
	return schema, nil
}

// present lists what is in the schema, less what extensions put there.
const present = `
	SELECT c.relname::text
	  FROM pg_class c
	 WHERE c.relnamespace = current_schema()::regnamespace
	   AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c')
	   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
	 UNION
	SELECT p.proname || '()'
	  FROM pg_proc p
	 WHERE p.pronamespace = current_schema()::regnamespace
	   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
	 ORDER BY 1`

// some names the first few.
func some(names []string) string {
	const few = 3
	if len(names) > few {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
	}
	return strings.Join(names, ", ")
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenure-dev/tenure/eventstore/embedded"
	"github.com/tenure-dev/tenure/migrations"
)

// bench is a run: its Postgres, its directory and its figures.
type bench struct {
	settings
	dir     string
	log     *slog.Logger
	server  *embedded.Server
	schemas int
	million *millionLog
	report  report
}

// stopLimit bounds the end of a server or an engine.
const stopLimit = 40 * time.Second

// newBench starts Postgres with the settings that the engine gives its own, but for the number of connections: a floor has
// one for each writer.
func newBench(ctx context.Context, s settings, stderr io.Writer) (*bench, error) {
	dir, err := os.MkdirTemp("", "tenure-bench-")
	if err != nil {
		return nil, err
	}
	b := &bench{settings: s, dir: dir, log: slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	// Under root Postgres runs as another user, who must be able to enter.
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // what is in it has modes of its own
		return nil, errors.Join(err, b.close())
	}
	extra := map[string]string{"max_connections": "300"}
	if s.statements {
		extra["shared_preload_libraries"] = "pg_stat_statements"
		extra["pg_stat_statements.track"] = "all"
	}
	b.server, err = embedded.Start(ctx, embedded.Options{DataDir: filepath.Join(dir, "postgres"), Logger: b.log, Settings: extra})
	if err != nil {
		return nil, errors.Join(err, b.close())
	}
	if s.statements {
		if err := execute(ctx, b.server.ConnString(), `CREATE EXTENSION pg_stat_statements SCHEMA public`); err != nil {
			return nil, errors.Join(err, b.close())
		}
	}
	return b, nil
}

// close leaves nothing behind.
func (b *bench) close() error {
	var problem error
	if b.server != nil {
		ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
		defer cancel()
		problem = b.server.Stop(ctx)
	}
	return errors.Join(problem, os.RemoveAll(b.dir))
}

// database is a migrated schema of its own.
type database struct {
	url  string
	pool *pgxpool.Pool
	drop func() error
}

// database makes an empty migrated schema. url changes how it is reached; nil is directly.
func (b *bench) database(ctx context.Context, via func(url string) string) (*database, error) {
	b.schemas++
	schema := fmt.Sprintf("bench_%d", b.schemas)
	base := b.server.ConnString()
	if err := execute(ctx, base, `CREATE SCHEMA `+schema); err != nil {
		return nil, err
	}
	d := &database{url: base + " search_path=" + schema}
	if via != nil {
		d.url = via(d.url)
	}
	d.drop = func() error {
		if d.pool != nil {
			d.pool.Close()
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
		defer cancel()
		return execute(ctx, base, `DROP SCHEMA `+schema+` CASCADE`)
	}
	var err error
	if d.pool, err = pool(ctx, d.url); err == nil {
		err = migrations.Up(ctx, d.pool)
	}
	if err == nil {
		// The row of an INSERT without the engine: the same columns and indexes.
		_, err = d.pool.Exec(ctx, `CREATE TABLE floor_events (LIKE events INCLUDING ALL)`)
	}
	if err != nil {
		return nil, errors.Join(err, d.drop())
	}
	return d, nil
}

func execute(ctx context.Context, url, sql string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql)
	return errors.Join(err, conn.Close(ctx))
}

// maxConns is the engine's own bound.
const maxConns = 20

// pool is set up as the engine's.
func pool(ctx context.Context, url string) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	config.MaxConns = maxConns
	return pgxpool.NewWithConfig(ctx, config)
}

// machine reports on what the run runs: how fast its disk is, how far its database.
func (b *bench) machine(ctx context.Context) error {
	syncs, err := syncsPerSecond(b.dir, b.sizes.round)
	if err != nil {
		return err
	}
	b.report.add(entry{Name: "run/fdatasync", Value: syncs, Unit: "1/s"})
	conn, err := pgx.Connect(ctx, b.server.ConnString())
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	trip, err := roundTrip(ctx, conn)
	if err != nil {
		return err
	}
	b.report.add(entry{Name: "run/roundtrip", Value: milliseconds(trip), Unit: "ms"})
	for _, setting := range []string{"fsync", "synchronous_commit", "full_page_writes"} {
		var is string
		if err := conn.QueryRow(ctx, `SELECT current_setting($1)`, setting).Scan(&is); err != nil {
			return err
		}
		if is != "on" {
			return fmt.Errorf("%s is %s: figures without it mean nothing", setting, is)
		}
	}
	var version float64
	if err := conn.QueryRow(ctx, `SELECT current_setting('server_version_num')::float8`).Scan(&version); err != nil {
		return err
	}
	b.report.add(entry{Name: "run/postgres", Value: version, Unit: "server_version_num"})
	return nil
}

// roundTrip is the time of an empty statement.
func roundTrip(ctx context.Context, conn *pgx.Conn) (time.Duration, error) {
	const trips = 200
	took := make([]time.Duration, 0, trips)
	for range trips {
		began := time.Now()
		if err := conn.Ping(ctx); err != nil {
			return 0, err
		}
		took = append(took, time.Since(began))
	}
	return median(took), nil
}

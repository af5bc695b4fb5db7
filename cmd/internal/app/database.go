package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/cmd/internal/cli"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/embedded"
	"github.com/tenure-dev/tenure/eventstore/pg"
)

// How many connections the pool of a process has, unless pool_max_conns in the URL says otherwise, and how many it needs at
// least: the feed, the read models and a rebuild may hold one each while they use another. The writer and the listener have
// a connection of their own beside it.
const (
	maxConns    = 20
	fewestConns = 5
)

// What a database that does not answer costs. A client is told within appendLimit and two times answerLimit, and once the
// database is back, nobody waits for an answer on a dead link any longer than answerLimit.
const (
	// answerLimit is how long the database may take to answer one statement of a request.
	answerLimit = 4 * time.Second
	// appendLimit is how long an append whose outcome is not known is asked for again.
	appendLimit = 10 * time.Second
	// connectLimit is how long a connection may take to be made; connect_timeout in the URL changes it.
	connectLimit = 3 * time.Second
	// pingLimit is how long a connection that rested may take to say that it lives.
	pingLimit = 2 * time.Second
)

// poolConfig is how a process connects to the database that url names.
func poolConfig(url string) (*pgxpool.Config, error) {
	if err := checkURL(databaseFlag, url); err != nil {
		return nil, err
	}
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, errBadURL
	}
	// pgxpool does not say whether the URL or its own default decided.
	plain, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, errBadURL
	}
	if _, chosen := plain.RuntimeParams["pool_max_conns"]; !chosen {
		config.MaxConns = maxConns
	}
	if config.MaxConns < fewestConns {
		return nil, &cli.StartError{
			Code: "database_pool_too_small", What: fmt.Sprintf("%s: a pool_max_conns of %d is too few", databaseFlag, config.MaxConns),
			Remediation: fmt.Sprintf("give at least %d, or leave it out for %d", fewestConns, maxConns),
		}
	}
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = connectLimit
	}
	config.ConnConfig.DialFunc = dialer(config.ConnConfig.ConnectTimeout).DialContext
	config.PingTimeout = pingLimit
	return config, nil
}

// openPool makes the pool of a process. Statements are prepared once for each connection, unless a pooler gives each
// transaction another session: then they have no name and are planned each time.
func openPool(ctx context.Context, config *pgxpool.Config) (*pgxpool.Pool, error) {
	config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	conn, err := pgx.ConnectConfig(ctx, config.ConnConfig)
	if err != nil {
		return nil, err
	}
	// A server that cannot tell is none of ours, which the next step says.
	pooled, err := pg.Pooled(ctx, conn)
	config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement
	if pooled || err != nil {
		config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	}
	_ = conn.Close(ctx) // what it said is known
	return pgxpool.NewWithConfig(ctx, config)
}

// dialer makes connections of which the kernel notices within about ten seconds that the other end is gone: a resting one by
// keep-alives, one that has something on its way by its acknowledgement that does not come.
func dialer(timeout time.Duration) *net.Dialer {
	return &net.Dialer{
		Timeout:         timeout,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 4 * time.Second, Interval: 2 * time.Second, Count: 3},
		ControlContext: func(_ context.Context, network, _ string, c syscall.RawConn) error {
			if network == "unix" {
				return nil
			}
			var set error
			err := c.Control(func(fd uintptr) {
				set = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int((10 * time.Second).Milliseconds()))
			})
			return errors.Join(err, set)
		},
	}
}

// diagnose says more of an error that is no refusal: that the database cannot be reached, and that its disk is full where
// that is the reason.
func (a *App) diagnose(err error) error {
	if linkError(err) {
		err = fmt.Errorf("%w: %w", eventstore.ErrUnavailable, err)
	}
	if !errors.Is(err, eventstore.ErrUnavailable) && !errors.Is(err, eventstore.ErrUnknownOutcome) {
		return err
	}
	if pg.OutOfSpace(err) || a.embedded != nil && a.embedded.OutOfSpace() != nil {
		return fmt.Errorf("%w: %w", eventstore.ErrNoSpace, err)
	}
	return err
}

// linkError reports whether err is one of the link to the database, or of a database that is going down, coming up or short
// of something, and no answer of it.
func linkError(err error) bool {
	if answer, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch answer.Code[:2] {
		case "08", "53", "57", "58":
			return true
		}
		return false
	}
	_, connect := errors.AsType[*pgconn.ConnectError](err)
	return connect || pgconn.SafeToRetry(err) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// startError says what to do about a start that a full disk ended.
func (a *App) startError(err error) error {
	switch {
	case a.lock != nil && (errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)),
		a.embedded != nil && (pg.OutOfSpace(err) || linkError(err) && a.embedded.OutOfSpace() != nil):
		if _, said := errors.AsType[*embedded.Error](err); said {
			return err
		}
		return embedded.NoSpace(a.lock.Dir(), err)
	case pg.OutOfSpace(err):
		return fmt.Errorf("%w; free space on the disk of the database", err)
	}
	return err
}

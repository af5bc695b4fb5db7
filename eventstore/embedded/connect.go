package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sys/unix"
)

var (
	// errRecovering: the server is there, and says that it is not ready yet.
	errRecovering = errors.New("the server is starting up, recovering or shutting down")
	// errForeign: somebody else listens there.
	errForeign = errors.New("the socket belongs to another server")
)

// connString is a keyword/value string: unlike a URL it takes a socket directory literally. The empty values keep what the engine's
// environment says about other servers (PGPASSWORD, PGOPTIONS ...) from being mixed in.
func (c *cluster) connString(at address, database string) string {
	return fmt.Sprintf("host=%s port=%d user=%s dbname=%s sslmode=disable target_session_attrs=any options='' password='' passfile=%s",
		quoteConn(at.dir), at.port, roleName, database, quoteConn(c.passwordPath()))
}

func quoteConn(value string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'"
}

// connect opens a connection to the cluster's server and to nobody else: the kernel says which process listens, and the server says
// which data directory it serves.
func (c *cluster) connect(ctx context.Context, at address, postmaster int, database string) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(c.connString(at, database))
	if err != nil {
		return nil, fmt.Errorf("database connection settings: %w", err)
	}
	config.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		if err := listenedBy(conn, postmaster); err != nil {
			conn.Close()
			return nil, err
		}
		return conn, nil
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	if err := c.servedBy(ctx, conn); err != nil {
		conn.Close(context.WithoutCancel(ctx))
		return nil, err
	}
	return conn, nil
}

func listenedBy(conn net.Conn, postmaster int) error {
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return err
	}
	if credErr != nil {
		return fmt.Errorf("who listens: %w", credErr)
	}
	if int(cred.Pid) != postmaster {
		return fmt.Errorf("process %d listens, not %d: %w", cred.Pid, postmaster, errForeign)
	}
	return nil
}

func (c *cluster) servedBy(ctx context.Context, conn *pgx.Conn) error {
	var dir string
	if err := conn.QueryRow(ctx, "SHOW data_directory").Scan(&dir); err != nil {
		return err
	}
	theirs, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("the server's data directory: %w", err)
	}
	ours, err := os.Stat(c.dir)
	if err != nil {
		return err
	}
	if !os.SameFile(theirs, ours) {
		return fmt.Errorf("it serves %s: %w", dir, errForeign)
	}
	return nil
}

// ready reports nil when the engine's database answers, making it the first time.
func (c *cluster) ready(ctx context.Context, at address, postmaster int) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := c.connect(ctx, at, postmaster, databaseName)
	if hasCode(err, "3D000") {
		if err := c.createDatabase(ctx, at, postmaster); err != nil {
			return classify(err)
		}
		conn, err = c.connect(ctx, at, postmaster, databaseName)
	}
	if err != nil {
		return classify(err)
	}
	return conn.Close(ctx)
}

func (c *cluster) createDatabase(ctx context.Context, at address, postmaster int) error {
	conn, err := c.connect(ctx, at, postmaster, "postgres")
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, "CREATE DATABASE "+databaseName)
	if hasCode(err, "42P04") {
		return nil
	}
	return err
}

func classify(err error) error {
	if hasCode(err, "57P03") {
		return errRecovering
	}
	return err
}

func hasCode(err error, code string) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pgErr.Code == code
}

func isRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

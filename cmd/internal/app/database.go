package app

import (
	"errors"
	"fmt"
	"net"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenure-dev/tenure/migrations"
)

// databaseError says what to do about a database that cannot be used. It never repeats the connection string.
func databaseError(err error) error {
	connect, failed := errors.AsType[*pgconn.ConnectError](err)
	switch {
	case errors.Is(err, migrations.ErrForeign), errors.Is(err, migrations.ErrUnsupportedServer):
		return err
	case failed:
		return fmt.Errorf("connect to host %s, database %s, as %s: %w; check --database-url and that the server runs",
			connect.Config.Host, connect.Config.Database, connect.Config.User, reason(connect))
	}
	return err
}

// reason is the one word of the network or the server on a failed connection; the whole error repeats it for each way that
// was tried.
func reason(err error) error {
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok {
		return refused
	}
	if network, ok := errors.AsType[*net.OpError](err); ok {
		return network
	}
	return errors.Unwrap(err)
}

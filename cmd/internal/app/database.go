package app

import (
	"errors"
	"fmt"

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
			connect.Config.Host, connect.Config.Database, connect.Config.User, errors.Unwrap(connect))
	}
	return err
}

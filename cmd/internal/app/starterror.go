package app

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenure-dev/tenure/cmd/internal/cli"
	"github.com/tenure-dev/tenure/eventstore/embedded"
	"github.com/tenure-dev/tenure/eventstore/vault"
	"github.com/tenure-dev/tenure/migrations"
)

// startFailure puts an error of a part that knows what to do about it into the words of the command line.
func startFailure(err error) error {
	if known, ok := errors.AsType[*embedded.Error](err); ok {
		return &cli.StartError{Code: string(known.Code), What: known.What, Cause: known.Cause, Remediation: known.Remediation}
	}
	if known, ok := errors.AsType[*migrations.Error](err); ok {
		return &cli.StartError{Code: string(known.Code), What: "the database cannot be used", Cause: errors.New(known.What), Remediation: known.Remediation}
	}
	if known, ok := errors.AsType[*vault.Error](err); ok {
		return &cli.StartError{Code: string(known.Code), What: "the keyset cannot be used", Cause: errors.New(known.What), Remediation: known.Remediation}
	}
	return err
}

// The flags that name a database.
const (
	databaseFlag = "--database-url"
	directFlag   = "--database-direct-url"
)

// databaseError says what to do about a database that cannot be used.
func databaseError(err error) error { return databaseFailure(databaseFlag, err) }

// databaseFailure is databaseError for the database of one of the flags. It never repeats the connection string.
func databaseFailure(flag string, err error) error {
	if connect, failed := errors.AsType[*pgconn.ConnectError](err); failed {
		c := connect.Config
		e := connectFailure(flag, connect)
		e.What = fmt.Sprintf("connect to host %s, port %d, database %s, as user %s", c.Host, c.Port, c.Database, c.User)
		return e
	}
	if said, ok := errors.AsType[*pgconn.PgError](err); ok {
		if e, ok := refusals[said.Code]; ok {
			return &cli.StartError{Code: e.code, What: "the database cannot be used", Cause: err, Remediation: fmt.Sprintf(e.remediation, flag)}
		}
	}
	return err
}

// refusals are what a server says that a person can mend, by SQLSTATE.
var refusals = map[string]struct{ code, remediation string }{
	"28P01": {"database_login_refused", "check user and password in %s; special characters of a password are written as %%23 for #, %%40 for @"},
	"28000": {"database_login_refused", "check the user in %s, and that pg_hba.conf lets it in from here"},
	"3D000": {"database_missing", "create the database, or correct its name in %s"},
	"3F000": {"database_schema_missing", "create the schema, or leave search_path out of %s"},
	"42501": {"database_permission_denied", "give the user of %s the right to create tables in that schema (GRANT CREATE, USAGE ON SCHEMA), or another schema by search_path"},
	"25006": {"database_read_only", "give %s the server that takes writes, not its standby; target_session_attrs=read-write finds it among several hosts"},
	"53100": {"database_disk_full", "free space on the disk of the database of %s"},
	"53300": {"database_too_many_connections", "raise max_connections of the server, or let fewer programs use it; pool_max_conns in %s makes this one use fewer"},
	"08P01": {"database_protocol", "leave out of %s what the pooler in between does not take, such as search_path"},
}

// connectFailure tells the ways apart in which no connection is made.
func connectFailure(flag string, err error) *cli.StartError {
	if said, ok := errors.AsType[*pgconn.PgError](err); ok {
		e := &cli.StartError{Code: "database_refused", Cause: &shortly{said, err}, Remediation: "do what the server says, or correct " + flag}
		if known, ok := refusals[said.Code]; ok {
			e.Code, e.Remediation = known.code, fmt.Sprintf(known.remediation, flag)
		}
		return e
	}
	e := &cli.StartError{Code: "database_unreachable", Remediation: "check host and port in " + flag + ", and that a Postgres listens there"}
	name, isName := errors.AsType[*net.DNSError](err)
	network, isNetwork := errors.AsType[*net.OpError](err)
	switch {
	case isName:
		e.Cause, e.Remediation = &shortly{name, err}, "correct the host in "+flag+", or make its name known"
	case pgconn.Timeout(err), isNetwork && network.Timeout():
		e.Cause = &shortly{errors.New("it does not answer in time"), err}
	case isNetwork && network.Op == "dial":
		e.Cause = &shortly{network, err}
	default:
		e.Code, e.Cause = "database_not_postgres", &shortly{fmt.Errorf("what listens there does not answer as Postgres does: %w", innermost(err)), err}
		e.Remediation = "correct host and port in " + flag + ", and sslmode if the server wants TLS or has none"
	}
	return e
}

// shortly is an error that says only its reason.
type shortly struct{ reason, whole error }

func (e *shortly) Error() string { return e.reason.Error() }
func (e *shortly) Unwrap() error { return e.whole }

// innermost is the reason without the attempts around it, each of which repeats host and user.
func innermost(err error) error {
	for {
		switch u := err.(type) { //nolint:errorlint // it looks at each error by itself
		case interface{ Unwrap() []error }:
			list := u.Unwrap()
			err = list[len(list)-1]
		case interface{ Unwrap() error }:
			inner := u.Unwrap()
			if inner == nil {
				return err
			}
			err = inner
		default:
			return err
		}
	}
}

// errBadURL is the error of a connection string behind checkURL, which says more.
var errBadURL = errors.New("the connection string is none of Postgres")

// checkURL refuses what is no connection string. What exactly is wrong may be part of a password, so it is told by kind.
func checkURL(flag, dsn string) error {
	if dsn == "" {
		return nil
	}
	if _, err := pgxpool.ParseConfig(dsn); err == nil {
		return nil
	}
	e := &cli.StartError{
		Code: "database_url_invalid", What: flag + " is no connection string of Postgres", Cause: errors.New("a setting in it is not valid"),
		Remediation: "give one such as postgres://user@host:5432/tenure; special characters of a password are written as %23 for #, %40 for @",
	}
	u, err := url.Parse(dsn)
	switch {
	case !strings.Contains(dsn, "="), strings.Contains(dsn, "://"):
		if err != nil {
			e.Cause = errors.New("it is not a valid URL")
		} else if u.Scheme != "postgres" && u.Scheme != "postgresql" {
			e.Cause = errors.New("it does not begin with postgres://")
		}
	}
	return e
}

package app

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/tenure-dev/tenure/cmd/internal/cli"
	"github.com/tenure-dev/tenure/eventstore/pg"
)

// directLimit bounds the look at what the direct URL leads to.
const directLimit = 10 * time.Second

// checkDirect refuses a direct URL that is of no use: a listener that hears nothing would only make events late, without a
// word. Later on a direct link that is lost is made again, and the poll covers the gap.
func (a *App) checkDirect(ctx context.Context) error {
	if a.opts.DatabaseDirectURL == "" {
		return nil
	}
	if err := checkURL(directFlag, a.opts.DatabaseDirectURL); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, directLimit)
	defer cancel()
	config, err := pgx.ParseConfig(a.opts.DatabaseDirectURL)
	if err != nil {
		return databaseFailure(directFlag, err)
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return databaseFailure(directFlag, err)
	}
	defer conn.Close(ctx)
	pooled, err := pg.Pooled(ctx, conn)
	if err != nil {
		return databaseFailure(directFlag, err)
	}
	if pooled {
		return &cli.StartError{
			Code: "database_direct_url_pooled", What: directFlag + " is of no use", Cause: errors.New("it leads through a pooler too"),
			Remediation: "give the address of the server itself, or leave the flag out: then events of other servers are noticed by polling",
		}
	}
	var installation uuid.UUID
	err = conn.QueryRow(ctx, `SELECT installation FROM log`).Scan(&installation)
	if err != nil || installation != a.store.Identity().Installation {
		return &cli.StartError{
			Code: "database_direct_url_elsewhere", What: directFlag + " is of no use", Cause: errors.New("it leads to another database or schema than --database-url"),
			Remediation: "make both name the same database and the same schema",
		}
	}
	return nil
}

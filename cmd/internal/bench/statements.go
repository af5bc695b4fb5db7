package main

import (
	"context"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5"
)

const topStatements = `
	SELECT calls, total_exec_time::float8, left(regexp_replace(query, '\s+', ' ', 'g'), 110)
	  FROM public.pg_stat_statements
	 ORDER BY total_exec_time DESC
	 LIMIT 20`

// printStatements says where Postgres spent its time since it was asked last. A statement within a function counts for
// itself and for the function.
func (b *bench) printStatements(ctx context.Context, w io.Writer) error {
	conn, err := pgx.Connect(ctx, b.server.ConnString())
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows, err := conn.Query(ctx, topStatements)
	if err != nil {
		return err
	}
	var calls int64
	var total float64
	var query string
	_, err = pgx.ForEachRow(rows, []any{&calls, &total, &query}, func() error {
		_, err := fmt.Fprintf(w, "%10.0f ms %8d × %8.1f µs  %s\n", total, calls, total*1000/float64(calls), query)
		return err
	})
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, `SELECT public.pg_stat_statements_reset()`)
	return err
}

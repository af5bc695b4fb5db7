package deadlines

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenure-dev/tenure/domain/outage"
	"github.com/tenure-dev/tenure/projections"
)

// usedAt is when an active lease was last used: gaps since then move its deadline.
func usedAt(d *Deadline) any {
	if d.Kind != KindExpire {
		return time.Time{}
	}
	return d.LeaseState.LastUsedAt
}

// hardAt is when an active lease is due however far gaps move its idle deadline.
func hardAt(d *Deadline) any {
	if d.Kind != KindExpire {
		return time.Time{}
	}
	return d.LeaseState.HardExpiresAt.Add(d.DueAt.Sub(d.LeaseState.ExpiresAt))
}

// Expiring answers with the leases of some partitions whose time is over by now, or that are to be warned of it, the most overdue first. While
// gaps have moved deadlines, those that are not due yet for that are left out: there may be many of them, and they would be
// in front of all others. The index alone tells them apart, so that they cost next to nothing.
func Expiring(ctx context.Context, db projections.DB, partitions []int, now time.Time, gaps outage.Gaps, limit int) ([]Row, error) {
	var rows []Row
	_, err := projections.Snapshot(ctx, db, Model.Key(), func(tx pgx.Tx, table string) error {
		rows = nil
		query, args := expiringQuery(table, partitions, now, gaps, limit)
		found, err := tx.Query(ctx, query, args...)
		if err != nil {
			return err
		}
		heads, err := pgx.CollectRows(found, scanRow)
		for _, r := range heads {
			// A lease is in two branches if its hard end has come as well.
			if !slices.ContainsFunc(rows[max(len(rows)-1, 0):], func(last Row) bool { return last.Stream == r.Stream }) {
				rows = append(rows, r)
			}
		}
		return err
	})
	return rows[:min(limit, len(rows))], err
}

func scanRow(row pgx.CollectableRow) (Row, error) {
	head, data, err := projections.ScanRow(row)
	if err != nil {
		return Row{}, err
	}
	stored, err := Model.Decode(head, data)
	if err != nil {
		return Row{}, err
	}
	return *stored.(*Row), nil
}

// classes bounds how many gaps are told apart. Leases that were last used before all of these are taken for moved by these
// alone, so they may be answered with early, which costs a look at each.
const classes = 8

// expiringQuery asks for each class of leases by itself. Leases that were last used between the same two gaps moved alike, so
// there is one moment by which a deadline of the class must have been: [outage.Gaps.Passed]. Who was used within a gap moved
// by less than all of it, is taken for used after it, and is answered with early.
func expiringQuery(table string, partitions []int, now time.Time, gaps outage.Gaps, limit int) (query string, args []any) {
	var branches []string
	args = []any{partitions}
	arg := func(t time.Time) string {
		args = append(args, t)
		return fmt.Sprintf("$%d::timestamptz", len(args))
	}
	ask := func(conditions ...string) {
		branches = append(branches, fmt.Sprintf("(SELECT %s, due_at FROM %s WHERE kind = 'expire' AND partition = ANY ($1::bigint[]) AND %s ORDER BY due_at, created LIMIT %d)",
			projections.RowColumns, table, strings.Join(conditions, " AND "), limit))
	}
	var after []string
	for _, gap := range gaps[max(len(gaps)-classes, 0):] {
		passed := gaps.Passed(now, gap.From)
		if passed.Equal(now) {
			continue // nothing of this class can be on its way
		}
		from := arg(gap.From)
		ask(append(after, "due_at <= "+arg(passed), "used_at <= "+from)...)
		after = []string{"used_at > " + from}
	}
	until := arg(now)
	if after != nil {
		ask("due_at <= "+until, "hard_at <= "+until)
	}
	ask(append(after, "due_at <= "+until)...)
	return fmt.Sprintf("SELECT %s FROM (%s) d ORDER BY due_at, created", projections.RowColumns, strings.Join(branches, " UNION ALL ")), args
}

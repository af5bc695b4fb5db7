package deadlines

import (
	"context"
	"fmt"
	"strings"
	"time"

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

// Expiring answers with the leases whose time is over by now, or that are to be warned of it, the most overdue first. While
// gaps have moved deadlines, those that are not due yet for that are left out: there may be many of them, and they would be
// in front of all others.
func Expiring(ctx context.Context, db projections.DB, now time.Time, gaps outage.Gaps, limit int) ([]Row, int64, error) {
	var q projections.Question
	q.And("kind = 'expire'")
	q.Where("due_at <= $", now)
	if moved := moving(&q, now, gaps); moved != "" {
		q.And(moved)
	}
	return Model.Rows(ctx, db, q, "due_at, created", limit)
}

// classes bounds how many gaps are told apart. Leases that were last used before all of these are taken for moved by these
// alone, so they may be answered with early, which costs a look at each.
const classes = 32

// moving is the condition that a deadline has passed also where the gaps moved it. Leases that were last used between the
// same two gaps moved alike, so each such class has one moment by which a deadline must have been: [outage.Gaps.Passed].
func moving(q *projections.Question, now time.Time, gaps outage.Gaps) string {
	gaps = gaps[max(len(gaps)-classes, 0):]
	var cases strings.Builder
	for _, gap := range gaps {
		passed := gaps.Passed(now, gap.From)
		if passed.Equal(now) {
			continue // nothing of this class can be on its way
		}
		// Who was used within the gap moved by less than all of it, and is answered with early.
		fmt.Fprintf(&cases, " WHEN used_at <= %s::timestamptz THEN %s::timestamptz", q.Arg(gap.From), q.Arg(passed))
	}
	if cases.Len() == 0 {
		return ""
	}
	return fmt.Sprintf("(hard_at <= %s OR due_at <= CASE%s ELSE %s::timestamptz END)", q.Arg(now), cases.String(), q.Arg(now))
}

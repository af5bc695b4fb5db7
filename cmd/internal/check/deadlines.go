package check

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain/lease"
)

// deadlines: a lease is asked to end by its deadline and one sweep, whatever became of the processes, and not before. The same
// goes for what waits in the queue, for what is kept, and for claims. Gaps in which nobody could renew move idle deadlines;
// while nobody can act, and while the log is forked, deadlines wait.
func deadlines(j *judge) {
	for _, l := range j.allLeases() {
		j.see(1)
		leaseDeadlines(j, l)
		queueDeadline(j, l)
		keptDeadline(j, l)
		claimDeadlines(j, l)
	}
	for i := range j.Calls {
		promised(j, &j.Calls[i])
	}
}

// term is until when a lease may live, since an event of its.
type term struct {
	expires, hard time.Time
	by            *record
}

func leaseDeadlines(j *judge, l *leaseStory) {
	var now term
	for _, r := range l.records {
		switch e := r.event.(type) {
		case lease.Provisioned:
			now = term{e.ExpiresAt, e.HardExpiresAt, r}
		case lease.Renewed:
			if now.by != nil && r.RecordedAt.After(j.movedBy(now, len(j.records)).Add(j.Limits.Skew)) {
				j.broken(leaseName(l.id), fmt.Sprintf("it is renewed after its end at %s", at(j.movedBy(now, len(j.records)))), now.by, r)
			}
			now.expires, now.by = e.ExpiresAt, r
			if e.HardExpiresAt != nil {
				now.hard = *e.HardExpiresAt
			}
		case lease.ReleaseRequested:
			// Only the engine itself knows of deadlines; a client may call its own release an expiry.
			if now.by != nil && e.Reason == lease.ReasonExpired && r.By.Request == uuid.Nil {
				if end := j.movedBy(now, r.seq); r.RecordedAt.Before(end.Add(-j.Limits.Skew)) {
					j.broken(leaseName(l.id), fmt.Sprintf("it expires before its end at %s", at(end)), now.by, r)
				}
			}
		}
		if now.by != nil && l.over() == r {
			break
		}
	}
	if now.by != nil {
		j.by(leaseName(l.id), "it lives past its deadline", j.movedBy(now, len(j.records)), now.by, l.over())
	}
}

// movedBy is where a deadline is, moved by the gaps that the log has before an event: by as much of each as it was running in,
// all of them together by the cap. The hard end does not move.
func (j *judge) movedBy(t term, before int) time.Time {
	var moved time.Duration
	for _, g := range j.gaps {
		if g.seq >= before {
			break
		}
		since := t.by.RecordedAt
		if !g.To.After(since) || !t.expires.Add(moved).After(g.From) {
			continue
		}
		from := g.From
		if since.After(from) {
			from = since
		}
		length, shift, limit := g.To.Sub(from), time.Duration(g.ShiftMs)*time.Millisecond, time.Duration(g.CapMs)*time.Millisecond
		if more := moved + min(length, shift); more > limit {
			moved = max(moved, limit)
		} else {
			moved = more
		}
	}
	if end := t.expires.Add(moved); end.Before(t.hard) {
		return end
	}
	return t.hard
}

// by wants something to have happened by a deadline and one sweep: done, or by the end of the run.
func (j *judge) by(subject, complaint string, deadline time.Time, since, done *record) {
	when := j.Limits.End
	if done != nil {
		when = done.RecordedAt
	}
	if !when.After(deadline) {
		return
	}
	if late := when.Sub(deadline) - j.allowance(deadline, when); late > 0 {
		j.broken(subject, fmt.Sprintf("%s %s by %s (to %s, %s more than is allowed)", complaint, at(deadline), when.Sub(deadline), at(when), late), since, done)
	}
}

// allowance is by how much what was due at a deadline may be late at a moment: a sweep, slack, and the times between the two
// in which nobody acted, each with slack of its own for whoever has to come back to it.
func (j *judge) allowance(deadline, when time.Time) time.Duration {
	allowed := j.Limits.Sweep + j.Limits.Slack
	for _, rest := range j.rests {
		from, to := rest.From, rest.To
		if to.Add(j.Limits.Slack).Before(deadline) || from.After(when) {
			continue
		}
		allowed += j.Limits.Slack
		if from.Before(deadline) {
			from = deadline
		}
		if to.After(when) {
			to = when
		}
		if to.After(from) {
			allowed += to.Sub(from)
		}
	}
	return allowed
}

func queueDeadline(j *judge, l *leaseStory) {
	if l.requested == nil {
		return
	}
	e, ok := l.requested.event.(lease.Requested)
	if !ok || e.Queue.TimeoutMs == 0 {
		return
	}
	deadline := l.requested.RecordedAt.Add(time.Duration(e.Queue.TimeoutMs) * time.Millisecond)
	done := l.granted
	if done == nil {
		done = l.ended()
	}
	j.by(leaseName(l.id), "it waits for a slot past", deadline, l.requested, done)
	if f := l.ended(); l.granted == nil && f != nil {
		if failed, ok := f.event.(lease.Failed); ok && failed.Code == lease.CodeQueueTimeout && f.RecordedAt.Before(deadline.Add(-j.Limits.Skew)) {
			j.broken(leaseName(l.id), "it gave up waiting before its time", l.requested, f)
		}
	}
}

// keptDeadline: what is kept is passed on or given up by its time.
func keptDeadline(j *judge, l *leaseStory) {
	var until time.Time
	var since, done *record
	for _, r := range l.records {
		switch e := r.event.(type) {
		case lease.Retained:
			until, since, done = e.KeptUntil, r, nil
		case lease.Failed:
			if e.KeptUntil != nil {
				until, since, done = *e.KeptUntil, r, nil
			}
		case lease.RetentionEnded:
			done = first(done, r)
			if e.Reason == lease.RetentionExpired && r.RecordedAt.Before(until.Add(-j.Limits.Skew)) {
				j.broken(leaseName(l.id), "what it keeps expires before its time", since, r)
			}
		case lease.RuntimePassed, lease.Disowned:
			done = first(done, r)
		}
	}
	if since != nil {
		j.by(leaseName(l.id), "it keeps its runtime past", until, since, done)
	}
}

// claimDeadlines: a claim is over by its deadline, or somebody else takes it over.
func claimDeadlines(j *judge, l *leaseStory) {
	var open *record
	var deadline time.Time
	closed := func(r *record) {
		if open != nil {
			j.by(leaseName(l.id), "a claim is open past its deadline", deadline, open, r)
		}
		open = nil
	}
	for _, r := range l.records {
		switch e := r.event.(type) {
		case lease.ProvisioningStarted:
			closed(r)
			open, deadline = r, e.Deadline
		case lease.ReleaseStarted:
			closed(r)
			open, deadline = r, e.Deadline
		case lease.ProvisioningFailed, lease.ProvisioningAbandoned, lease.Provisioned, lease.ReleaseFailed, lease.Released, lease.Expired,
			lease.Failed, lease.Canceled, lease.Retained, lease.CleanupCompleted, lease.CleanupForced, lease.Disowned:
			closed(r)
		}
	}
	closed(nil)
}

// promised: the end that a client was told of holds: the engine ends the lease no earlier, unless a later renewal said so.
func promised(j *judge, c *Call) {
	l := j.leases[c.Lease]
	if c.Verb != VerbRenew || !c.done() || c.Answer.ExpiresAt.IsZero() || l == nil || j.lostStream(lease.Category, c.Lease) {
		return
	}
	j.see(1)
	end := l.releasing
	if end == nil || end.By.Request != uuid.Nil || !end.RecordedAt.Before(c.Answer.ExpiresAt.Add(-j.Limits.Skew)) {
		return
	}
	if e, ok := end.event.(lease.ReleaseRequested); !ok || e.Reason != lease.ReasonExpired {
		return
	}
	for _, r := range l.records {
		if e, ok := r.event.(lease.Renewed); ok && e.ExpiresAt.Before(c.Answer.ExpiresAt) && r.RecordedAt.After(c.Sent.Add(-j.Limits.Skew)) {
			return // somebody asked for an earlier end
		}
	}
	j.broken(leaseName(l.id), fmt.Sprintf("%s was told that it lives until %s", c, at(c.Answer.ExpiresAt)), l.active, end)
}

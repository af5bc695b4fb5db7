package check

import (
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/eventstore"
)

// acknowledged: what a client was told is done is in the log, once, unless a fork is known to have taken it away. What it was
// told is refused, or was not done, has no effect in the log.
func acknowledged(j *judge) {
	for i := range j.Calls {
		c := &j.Calls[i]
		j.see(1)
		appendsOnce(j, c)
		switch {
		case c.done():
			if !j.lostAny(c) {
				inLog(j, c)
			}
			toldState(j, c)
		case c.refused() && c.Verb != VerbReleaseRun, c.Status >= 400 && c.Code == "unavailable":
			noEffect(j, c)
		}
	}
}

// command is what makes calls one.
type command struct{ scope, key string }

func (c *Call) command() command { return command{c.Scope, c.Key} }

// requestsOfKeys are the requests of all calls with the same key.
func requestsOfKeys(calls []Call) map[command][]uuid.UUID {
	keys := map[command][]uuid.UUID{}
	for i := range calls {
		if c := &calls[i]; c.Key != "" {
			keys[c.command()] = append(keys[c.command()], c.Request)
		}
	}
	return keys
}

// lostAny reports whether a fork took away something that the call, or another one with its key, led to.
func (j *judge) lostAny(c *Call) bool {
	led := func(request uuid.UUID) bool { return j.lost.requests[request] != nil }
	return led(c.Request) || c.Key != "" && slices.ContainsFunc(j.keys[c.command()], led) ||
		j.lostStream(lease.Category, c.Lease) || j.lostStream(lease.Category, c.Answer.Lease) ||
		j.lostStream(execution.Category, c.Exec) || j.lostStream(execution.Category, c.Answer.Exec)
}

// appendsOnce: a call leads to one append at most, but for one that releases all leases of a run and one that
// has no verb of its own.
func appendsOnce(j *judge, c *Call) {
	if c.Verb == VerbReleaseRun || c.Verb == VerbOther {
		return
	}
	led := j.requests[c.Request]
	for _, r := range led {
		if r.AppendID != led[0].AppendID {
			j.broken("request "+c.Request.String(), c.String()+": it is in the log twice", led[0], r)
			return
		}
	}
}

// inLog: the effect of an acknowledged call is there, and by a call with its key.
func inLog(j *judge, c *Call) {
	switch c.Verb {
	case VerbAcquire:
		made[lease.Requested](j, c, lease.Category, c.Answer.Lease)
	case VerbExec:
		made[execution.Requested](j, c, execution.Category, c.Answer.Exec)
		if x := j.execs[c.Answer.Exec]; x != nil && x.requested != nil && c.Lease != uuid.Nil && x.lease != c.Lease {
			j.broken(execName(x.id), fmt.Sprintf("%s asked for it in lease %s; it is of %s", c, c.Lease, x.lease), x.requested)
		}
	case VerbRelease, VerbCancel:
		if l := j.leases[c.Lease]; l == nil || l.over() == nil {
			j.broken(leaseName(c.Lease), c.String()+": nothing in the log ends the lease")
		}
	case VerbRenew:
		if l := j.leases[c.Lease]; l == nil || l.active == nil {
			j.broken(leaseName(c.Lease), c.String()+": the lease was never active")
		}
	case VerbKill, VerbReleaseRun, VerbShowLease, VerbShowExec, VerbOther:
	}
	if head := j.head(); c.Answer.Position > head {
		j.broken("log", fmt.Sprintf("%s was told position %d; the log ends at %d", c, c.Answer.Position, head))
	}
}

func (j *judge) head() int64 {
	if len(j.records) == 0 {
		return 0
	}
	return j.records[len(j.records)-1].Position
}

// made: the thing that the answer names begins with an event of this call, or of another one with its key.
func made[E domain.Event](j *judge, c *Call, category string, id uuid.UUID) {
	stream := eventstore.StreamOf(category, id)
	subject, events := string(stream), j.streams[stream]
	if len(events) == 0 {
		j.broken(subject, c.String()+": it was acknowledged and is not in the log")
		return
	}
	began := events[0]
	if _, ok := began.event.(E); !ok {
		j.broken(subject, c.String()+": it was acknowledged, and the log has no request for it", began)
		return
	}
	by := began.By.Request
	switch {
	case by == c.Request:
	case c.Key != "" && slices.Contains(j.keys[c.command()], by):
		if !c.Replayed {
			j.broken(subject, fmt.Sprintf("%s was told that it made this; request %s did", c, by), began)
		}
	default:
		j.broken(subject, fmt.Sprintf("%s was told that it made this; request %s did, which is another command", c, by), began)
	}
}

// states are the events that a lease's state, as the API names it, stands for. The others pass.
var states = map[string]string{
	"released": "LeaseReleased", "expired": "LeaseExpired", "failed": "LeaseFailed", "canceled": "LeaseCanceled", "retained": "LeaseRetained",
	"active": "LeaseProvisioned",
}

// toldState: who was told how a lease ended, or that it is active, was told what the log has.
func toldState(j *judge, c *Call) {
	id := c.Answer.Lease
	if id == uuid.Nil {
		id = c.Lease
	}
	event, known := states[c.Answer.State]
	if !known || id == uuid.Nil || j.lostStream(lease.Category, id) {
		return
	}
	l := j.leases[id]
	switch {
	case l == nil:
		j.broken(leaseName(id), fmt.Sprintf("%s was told that it is %s; the log knows nothing of it", c, c.Answer.State))
	case event == "LeaseProvisioned":
		if l.active == nil {
			j.broken(leaseName(id), c.String()+" was told that it is active, and it never was", l.records[0])
		} else if p, ok := l.active.event.(lease.Provisioned); ok && !sameText(p.ProviderLeaseID, c.Answer.ProviderLeaseID) {
			j.broken(leaseName(id), fmt.Sprintf("%s was told another runtime (%s) than the log has (%s)", c, text(c.Answer.ProviderLeaseID), text(p.ProviderLeaseID)), l.active)
		}
	case l.ended() == nil || l.ended().Name != event:
		j.broken(leaseName(id), fmt.Sprintf("%s was told that it is %s", c, c.Answer.State), l.records[0], l.over(), l.ended())
	}
}

// sameText: a client that wrote down no name of the runtime says nothing of it.
func sameText(log, told *string) bool { return told == nil || log != nil && *log == *told }

func text(s *string) string {
	if s == nil {
		return "no name"
	}
	return *s
}

func noEffect(j *judge, c *Call) {
	if led := j.requests[c.Request]; len(led) > 0 {
		j.broken("request "+c.Request.String(), c.String()+": it has an effect in the log", led...)
	}
	if r := j.lost.requests[c.Request]; r != nil && !j.answeredWithout(r, c) {
		j.broken("request "+c.Request.String(), c.String()+": it had an effect, which was lost with the fork")
	}
}

// answeredWithout reports whether the log had already lost an event when a call was answered: then that it was refused is what the
// log in force says.
func (j *judge) answeredWithout(r *record, c *Call) bool {
	return slices.ContainsFunc(j.forks, func(f fork) bool {
		return f.forked.Epoch > r.Epoch && !c.Answered.Before(f.forked.RecordedAt)
	})
}

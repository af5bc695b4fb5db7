package check

import (
	"fmt"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain/execution"
)

// execs: a command is asked for and started while its lease is active, is claimed, started, ended and sealed once at most, and
// what a client was told of its end is what the log has. Nothing runs that nobody claimed.
func execs(j *judge) {
	for _, x := range j.allExecs() {
		j.see(1)
		execOnce(j, x)
		execWithin(j, x)
	}
	for i := range j.Calls {
		toldEnd(j, &j.Calls[i])
	}
	for i := range j.Ledgers {
		for n := range j.Ledgers[i].Entries {
			ranClaimed(j, &j.Ledgers[i].Entries[n])
		}
	}
}

func execOnce(j *judge, x *execStory) {
	name := execName(x.id)
	seen := map[string]*record{}
	for _, r := range x.records {
		if before := seen[r.Name]; before != nil {
			j.broken(name, r.Name+" is in its stream twice", before, r)
		}
		seen[r.Name] = r
	}
	switch {
	case x.requested == nil:
		j.broken(name, "nobody asked for it", x.claimed, x.started, x.ended)
	case x.started != nil && (x.claimed == nil || x.started.seq < x.claimed.seq):
		j.broken(name, "it started and was not claimed", x.started, x.claimed)
	case x.claimed != nil && x.ended != nil && x.claimed.seq > x.ended.seq:
		j.broken(name, "it was claimed after its end", x.ended, x.claimed)
	case x.started != nil && x.ended != nil && x.started.seq > x.ended.seq:
		j.broken(name, "it started after its end", x.ended, x.started)
	}
	if x.ended == nil {
		return
	}
	if exited := x.end.End == execution.EndExited; exited != (x.end.ExitCode != nil) {
		j.broken(name, "an exit code belongs to exited, and only to it", x.ended)
	}
	if x.claimed == nil && (x.end.End == execution.EndExited || x.end.End == execution.EndSignaled || x.end.End == execution.EndTimeout) {
		j.broken(name, "it ran to an end and was not claimed", x.ended)
	}
}

// execWithin: the lease was active when it was asked for, and still when it was claimed.
func execWithin(j *judge, x *execStory) {
	l := j.leases[x.lease]
	if x.requested == nil {
		return
	}
	if l == nil {
		j.broken(execName(x.id), "it is of lease "+x.lease.String()+", which does not exist", x.requested)
		return
	}
	if l.active == nil || l.active.seq > x.requested.seq {
		j.broken(execName(x.id), "its lease was not active when it was asked for", x.requested, l.active)
	}
	for _, r := range []*record{x.requested, x.claimed} {
		if over := l.over(); r != nil && over != nil && over.seq < r.seq {
			j.broken(execName(x.id), "its lease was over", over, r)
		}
	}
}

// toldEnd: an end that was told is the end.
func toldEnd(j *judge, c *Call) {
	id := c.Answer.Exec
	if !c.done() || id == uuid.Nil || c.Answer.End == "" {
		return
	}
	j.see(1)
	x := j.execs[id]
	switch {
	case j.lostStream(execution.Category, id):
	case x == nil || x.ended == nil:
		j.broken(execName(id), fmt.Sprintf("%s was told that it ended (%s); the log has no end", c, c.Answer.End))
	case string(x.end.End) != c.Answer.End || !same(x.end.ExitCode, c.Answer.ExitCode):
		j.broken(execName(id), fmt.Sprintf("%s was told %s %s; the log has %s %s", c, c.Answer.End, code(c.Answer.ExitCode), x.end.End, code(x.end.ExitCode)), x.ended)
	}
}

func same(a, b *int) bool { return a == nil && b == nil || a != nil && b != nil && *a == *b }

func code(n *int) string {
	if n == nil {
		return "without a code"
	}
	return fmt.Sprint(*n)
}

// ranClaimed: a command that a provider started was claimed for the lease it ran in.
func ranClaimed(j *judge, e *Entry) {
	if e.Op != OpExec || e.Exec == uuid.Nil {
		return
	}
	x := j.execs[e.Exec]
	switch {
	case j.lostStream(execution.Category, e.Exec):
	case x == nil:
		j.broken(execName(e.Exec), e.String()+": the log knows nothing of it")
	case x.claimed == nil:
		j.broken(execName(e.Exec), e.String()+": nobody had claimed it", x.requested, x.ended)
	case e.Lease != uuid.Nil && e.Lease != x.lease:
		j.broken(execName(e.Exec), fmt.Sprintf("%s for lease %s; it is of lease %s", e, e.Lease, x.lease), x.requested)
	case x.end.End == execution.EndStartFailed:
		j.ranAfterAll(x, e)
	}
}

// ranAfterAll: a driver may have taken a command back that it had started, and says then that nothing runs; so a start that
// failed is wrong only where no driver was asked.
func (j *judge) ranAfterAll(x *execStory, e *Entry) {
	if x.end.Stage == "lease" {
		j.broken(execName(x.id), e.String()+": it was refused since its lease was over", x.claimed, x.ended)
	}
}

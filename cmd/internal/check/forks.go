package check

import (
	"fmt"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/leak"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/probe"
	"github.com/tenure-dev/tenure/domain/runtime"
)

// forkedRests: from the fork of the log to its adoption nothing is claimed and no call of a driver begins. A clone that
// nobody adopted does nothing.
func forkedRests(j *judge) {
	j.see(len(j.forks) + len(j.Clones))
	for _, f := range j.forks {
		end := len(j.records)
		if f.adopted != nil {
			end = f.adopted.seq
		}
		for i := f.forked.seq; i < end; i++ {
			if r := &j.records[i]; drives(r) {
				j.broken(string(r.Stream), "it is driven while the log is forked", f.forked, r, f.adopted)
			}
		}
		forkedLedgers(j, f)
	}
	for i := range j.Clones {
		clone(j, &j.Clones[i])
	}
}

// drives reports whether an event announces that something outside is about to be touched.
func drives(r *record) bool {
	switch r.event.(type) {
	case lease.ProvisioningStarted, lease.ReleaseStarted, execution.Claimed, probe.Claimed, leak.DestroyIntended, runtime.Intended:
		return true
	}
	return false
}

// forkedLedgers: what happens outside while the log is forked was under way before.
func forkedLedgers(j *judge, f fork) {
	until := j.Limits.End
	if f.adopted != nil {
		until = f.adopted.RecordedAt
	}
	from := f.forked.RecordedAt.Add(j.Limits.Slack + j.Limits.Skew)
	until = until.Add(-j.Limits.Skew)
	for i := range j.Ledgers {
		led := &j.Ledgers[i]
		for n := range led.Entries {
			e := &led.Entries[n]
			switch e.Op {
			case OpCreate, OpHold, OpDestroy, OpExec, OpKeep:
			case OpVanish, OpAppear:
				continue
			}
			if !led.own(*e) || !e.At.After(from) || !e.At.Before(until) || j.underWay(e, f) {
				continue
			}
			j.broken(led.Provider+" "+e.Thing, e.String()+", while the log is forked", f.forked, f.adopted)
		}
	}
}

// underWay reports whether something outside may have been begun before the fork: it was claimed, in what is left of the log or
// in what was lost.
func (j *judge) underWay(e *Entry, f fork) bool {
	if e.Op == OpExec {
		x := j.execs[e.Exec]
		return x != nil && x.claimed != nil && x.claimed.seq < f.forked.seq || j.lostStream(execution.Category, e.Exec)
	}
	id := e.Lease
	if rt := j.runtimes[e.Runtime]; id == uuid.Nil && rt != nil {
		id = rt.last
	}
	if j.lostStream(lease.Category, id) || j.lostStream(runtime.Category, e.Runtime) {
		return true
	}
	l := j.leases[id]
	if l == nil {
		return false
	}
	open := false
	for _, r := range l.records {
		if r.seq >= f.forked.seq {
			break
		}
		switch r.event.(type) {
		case lease.ProvisioningStarted, lease.ReleaseStarted:
			open = true
		case lease.Provisioned, lease.ProvisioningFailed, lease.ProvisioningAbandoned, lease.ReleaseFailed, lease.Released, lease.Expired,
			lease.Failed, lease.Canceled, lease.Retained, lease.CleanupCompleted:
			open = false
		}
	}
	return open
}

func clone(j *judge, c *Clone) {
	own := read(c.Log)
	for i := range own {
		r := &own[i]
		shared := i < len(j.records) && j.records[i].Epoch == r.Epoch && j.records[i].AppendID == r.AppendID
		if !shared && drives(r) {
			j.broken(c.Name+" "+string(r.Stream), "a clone drives", r)
		}
	}
	for n := range c.Entries {
		e := &c.Entries[n]
		j.broken(c.Name+" "+e.Thing, fmt.Sprintf("%s: a clone acts outside", e))
	}
}

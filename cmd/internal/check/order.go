package check

import (
	"bytes"
	"fmt"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/epoch"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/runtime"
	"github.com/tenure-dev/tenure/eventstore"
)

// order: positions are dense, versions and company positions contiguous, epochs and times never go back, an append stands
// together and once, no pair of epoch and position names two events, every event can be read and is chained to the one before.
// The fences of a runtime's holders increase, and everybody was told the one that the log has.
func order(j *judge) {
	j.see(len(j.records))
	positions(j)
	versions(j)
	appendedOnce(j)
	pairs(j)
	fences(j)
}

func positions(j *judge) {
	for i := range j.records {
		r := &j.records[i]
		if r.event == nil && r.Payload != nil {
			j.broken(string(r.Stream), "an event that nobody can read", r)
		}
		if i == 0 {
			if r.Position != 1 {
				j.broken("log", fmt.Sprintf("it begins at position %d", r.Position), r)
			}
			continue
		}
		before := &j.records[i-1]
		if r.Position != before.Position+1 {
			j.broken("log", fmt.Sprintf("position %d follows %d", r.Position, before.Position), before, r)
		}
		if r.RecordedAt.Before(before.RecordedAt) {
			j.broken("log", "time goes back", before, r)
		}
		switch _, forked := r.event.(epoch.Forked); {
		case r.Epoch < before.Epoch:
			j.broken("log", fmt.Sprintf("epoch %d follows %d", r.Epoch, before.Epoch), before, r)
		case r.Epoch > before.Epoch && !forked:
			j.broken("log", fmt.Sprintf("epoch %d begins with something else than the fork", r.Epoch), before, r)
		case r.Epoch == before.Epoch && forked:
			j.broken("log", "a fork begins no new epoch", before, r)
		}
	}
}

func versions(j *judge) {
	streams := make(map[eventstore.Stream]*record, len(j.streams))
	companies := map[domain.CompanyID]*record{}
	for i := range j.records {
		r := &j.records[i]
		before := streams[r.Stream]
		switch {
		case before == nil && r.Version != 1:
			j.broken(string(r.Stream), fmt.Sprintf("it begins with version %d", r.Version), r)
		case before != nil && r.Version != before.Version+1:
			j.broken(string(r.Stream), fmt.Sprintf("version %d follows %d", r.Version, before.Version), before, r)
		}
		chained(j, before, r)
		streams[r.Stream] = r
		if before := companies[r.Company]; before != nil && r.CompanyPosition != before.CompanyPosition+1 || before == nil && r.CompanyPosition != 1 {
			j.broken("company-"+r.Company.String(), fmt.Sprintf("company position %d is out of line", r.CompanyPosition), before, r)
		}
		companies[r.Company] = r
	}
}

// chained checks the hash of an event.
func chained(j *judge, before, r *record) {
	want := eventstore.NoHash()
	if before != nil {
		want = before.Hash
	}
	if !bytes.Equal(r.PrevHash, want) {
		j.broken(string(r.Stream), "it is not chained to the event before it", before, r)
	}
	if !bytes.Equal(r.Hash, eventstore.Hash(*r.Recorded)) {
		j.broken(string(r.Stream), "its hash is not that of what it says", r)
	}
	if len(r.Salt) > 0 && r.Payload != nil && !bytes.Equal(r.Commitment, eventstore.Commit(r.Salt, r.Payload)) {
		j.broken(string(r.Stream), "its payload is not what was committed to", r)
	}
}

func appendedOnce(j *judge) {
	seen := make(map[uuid.UUID]*record, len(j.records))
	for group := range j.appends {
		a := &group[0]
		if earlier := seen[a.AppendID]; earlier != nil {
			j.broken(string(a.Stream), "append "+a.AppendID.String()+" is in the log twice", earlier, a)
		}
		seen[a.AppendID] = a
		for i := range group {
			if r := &group[i]; r.AppendIndex != i || r.Epoch != a.Epoch || !r.RecordedAt.Equal(a.RecordedAt) {
				j.broken(string(r.Stream), "append "+a.AppendID.String()+" does not stand together", a, r)
			}
		}
	}
}

// pairs: an event that was lost and the one in its place are of two epochs.
func pairs(j *judge) {
	type pair struct{ epoch, position int64 }
	names := make(map[pair]*record, len(j.lost.records))
	for i := range j.lost.records {
		r := &j.lost.records[i]
		p := pair{r.Epoch, r.Position}
		if other := names[p]; other != nil && other.AppendID != r.AppendID {
			j.broken("log", fmt.Sprintf("epoch %d, position %d was two events, which both were lost", r.Epoch, r.Position), other, r)
		}
		names[p] = r
	}
	for i := range j.records {
		r := &j.records[i]
		if other := names[pair{r.Epoch, r.Position}]; other != nil && other.AppendID != r.AppendID {
			j.broken("log", fmt.Sprintf("epoch %d, position %d is %s and was %s %s, which was lost", r.Epoch, r.Position, r.Name, other.Name, other.Stream), r)
		}
	}
}

func fences(j *judge) {
	for _, l := range j.allLeases() {
		grants := 0
		for _, r := range l.records {
			if _, ok := r.event.(lease.Granted); !ok {
				continue
			}
			if grants++; grants > 1 {
				j.broken(leaseName(l.id), "it is granted twice, so its fence changes", l.granted, r)
			}
		}
	}
	for _, rt := range j.allRuntimes() {
		var before *record
		var fence int64
		for _, r := range rt.records {
			held, ok := r.event.(runtime.Held)
			if !ok {
				continue
			}
			l := j.leases[held.Lease.UUID]
			if l == nil || l.granted == nil {
				j.broken(runtimeName(rt.id), "it is held by lease "+held.Lease.String()+", which was not granted", r)
				continue
			}
			if now := l.fence(); before != nil && now <= fence {
				j.broken(runtimeName(rt.id), fmt.Sprintf("a holder with fence %d comes after one with %d", now, fence), before, r, l.granted)
			}
			before, fence = r, l.fence()
		}
	}
	toldFences(j)
}

// toldFences: who was told a fence, and who acted under one, had the log's.
func toldFences(j *judge) {
	for i := range j.Calls {
		c := &j.Calls[i]
		if !c.done() {
			continue
		}
		if id := c.Answer.Lease; c.Answer.Fence != 0 && id != uuid.Nil {
			if l := j.leases[id]; l != nil && !j.lostStream(lease.Category, id) && l.fence() != c.Answer.Fence {
				j.broken(leaseName(id), fmt.Sprintf("%s was told fence %d; the log has %d", c, c.Answer.Fence, l.fence()), l.granted)
			}
		}
		needs := c.Verb == VerbExec || c.Verb == VerbRenew || c.Fence != 0 && (c.Verb == VerbRelease || c.Verb == VerbCancel)
		if l := j.leases[c.Lease]; needs && l != nil && !j.lostStream(lease.Category, c.Lease) && l.fence() != c.Fence {
			j.broken(leaseName(c.Lease), fmt.Sprintf("%s was accepted with fence %d; the lease has %d", c, c.Fence, l.fence()), l.granted)
		}
	}
	for _, led := range j.Ledgers {
		for _, e := range led.Entries {
			if e.Fence == 0 || e.Lease == uuid.Nil || e.Op == OpAppear || !led.own(e) {
				continue
			}
			if l := j.leases[e.Lease]; l != nil && !j.lostStream(lease.Category, e.Lease) && l.fence() != e.Fence && !j.above(l.fence(), e.Fence) {
				j.broken(leaseName(e.Lease), fmt.Sprintf("%s acted with fence %d; the lease has %d", e, e.Fence, l.fence()), l.granted)
			}
		}
	}
}

// above reports whether a fence is the one by which leases of earlier epochs act since the log got a new one: where that begins.
func (j *judge) above(granted, fence int64) bool {
	in := fence >> domain.FenceBits
	return fence == in<<domain.FenceBits && in > granted>>domain.FenceBits && in <= j.Log[len(j.Log)-1].Epoch
}

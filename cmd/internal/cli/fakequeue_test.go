package cli_test

import (
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/api/wire"
)

// waitingEntry is the one who waits in every environment of the fake.
func (f *fake) waitingEntry(lease uuid.UUID, place int) wire.QueueEntry {
	wait := int64(90_000)
	deadline := f.now.Add(time.Hour)
	return wire.QueueEntry{
		Place: place, LeaseID: lease, HeartbeatRunID: "r", Priority: "normal", FairnessKey: "agent-1", Weight: 1, Rule: "fairness",
		WaitingSince: f.now, ExpectedWaitMs: &wait, Deadline: &deadline,
	}
}

func (f *fake) queueOf(r *http.Request) (int, any) {
	e := f.env(r)
	if e == nil {
		return notFound("environment")
	}
	q := wire.Queue{EnvironmentID: e.ID, Capacity: 1, Held: 1, MaxQueued: 10, MostOvertaken: 32, Items: []wire.QueueEntry{}}
	for i, l := range f.leases {
		q.Items = append(q.Items, f.waitingEntry(l.ID, i+1))
	}
	q.Queued = len(q.Items)
	return http.StatusOK, q
}

// explainLease says of a lease of run "waits" that it waits, and of any other how it was granted.
func (f *fake) explainLease(r *http.Request) (int, any) {
	l := f.lease(r)
	if l == nil {
		return notFound("lease")
	}
	x := wire.Explanation{LeaseID: l.ID, EnvironmentID: l.EnvironmentID, Status: l.Status, Summary: "it is what it is", Constraints: []wire.Constraint{}}
	if l.HeartbeatRunID != "waits" {
		problem := "no space left"
		x.Grant = &wire.GrantDecision{Slot: 1, Rule: "bound", Reason: "it waited longest", GrantedAt: f.now}
		x.Work = &wire.LeaseWork{Step: "release", Attempt: 3, NextTry: &f.now, LastError: &problem}
		return http.StatusOK, x
	}
	x.Waiting = &wire.Waiting{
		Entry: f.waitingEntry(l.ID, 3), Of: 4, MostOvertaken: 32, Samples: 2, Ahead: []wire.QueueEntry{f.waitingEntry(l.ID, 1)},
		Capacity: 1, Held: 1, Holders: []wire.SlotHolder{{LeaseID: l.ID, HeartbeatRunID: "holder", Slot: 1, Status: "active", Since: &f.now}},
	}
	x.Constraints = append(x.Constraints, wire.Constraint{Constraint: "slot_free", Detail: "1 of 1 slots are taken", Remediation: "wait", MayPass: true},
		wire.Constraint{Constraint: "policy_supported", OK: true, Unknown: true, Detail: "nobody knows"})
	return http.StatusOK, x
}

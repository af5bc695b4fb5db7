package check_test

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/cmd/internal/check"
	"github.com/tenure-dev/tenure/domain/admission"
	"github.com/tenure-dev/tenure/domain/epoch"
	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/leak"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/outage"
	"github.com/tenure-dev/tenure/domain/runtime"
)

// allowed are histories that look wrong at the first glance and are not.
var allowed = map[string]func(*story){
	"a capacity is lowered below what is held": func(s *story) {
		s.acquire(lease.PolicyEphemeral, 1)
		s.acquire(lease.PolicyEphemeral, 2)
		s.append(uuid.Nil, on("admission", s.env.UUID, admission.CapacityChanged{Capacity: 1}))
		s.append(uuid.Nil, on("admission", s.env.UUID, admission.CapacityChanged{Capacity: 3}))
		s.acquire(lease.PolicyEphemeral, 3)
	},
	"a lease that cannot be taken down is quarantined, listed, and ended by force": func(s *story) {
		h := s.quarantined()
		s.append(uuid.Nil, on("lease", h.id.UUID, lease.CleanupForced{Reason: "no use"}), on("lease", h.id.UUID, lease.Released{}),
			on("admission", s.env.UUID, admission.Freed{Lease: h.id, Slot: 1}))
		s.told(h)
		s.acquire(lease.PolicyEphemeral, 1)
	},
	"a lease waits in quarantine": func(s *story) { s.quarantined() },
	"a retry out of quarantine succeeds": func(s *story) {
		h := s.quarantined()
		s.append(uuid.Nil, on("lease", h.id.UUID, lease.CleanupRetryRequested{}))
		s.startTeardown(h, 2)
		s.destroy(h, lease.Released{}, nil)
		s.append(uuid.Nil, on(leak.Category, leak.OfRuntime(h.runtime).UUID, leak.Cleared{Proof: leak.ProofDestroyed}))
	},
	"a copy that became an installation of its own leaves what it inherited to the original": func(s *story) {
		h := s.acquire(lease.PolicyEphemeral, 1)
		s.forked()
		s.append(uuid.Nil, on("lease", h.id.UUID, lease.Failed{Code: "left_to_the_original", CleanupPending: true}), on("lease", h.id.UUID, lease.Disowned{}),
			on("runtime", h.runtime.UUID, runtime.Disowned{}), on("admission", s.env.UUID, admission.Freed{Lease: h.id, Slot: 1}))
		s.acquire(lease.PolicyEphemeral, 1)
	},
	"a slot with a kept runtime is handed back untouched": func(s *story) {
		h, next := s.successor()
		s.append(uuid.Nil, on("lease", next.id.UUID, lease.Canceled{Reason: "no"}), on("admission", s.env.UUID, admission.HandedBack{Lease: next.id, To: h.id, Slot: 1}))
	},
	"a lease gives up on a runtime that it could not resume, and keeps it": func(s *story) { s.gaveUp() },
	"a lease gives up resuming, and the provider hears of the giving up before the resuming": func(s *story) {
		h, next := s.successor()
		s.claim(next, h)
		s.release(next, lease.DispositionKeepRunning)
		s.append(uuid.Nil, on("lease", next.id.UUID, lease.ProvisioningAbandoned{Attempt: 1, Code: "release_requested"}))
		s.keep(next)
		s.ledger(check.Entry{Op: check.OpHold, Thing: next.thing, Runtime: next.runtime.UUID, Lease: next.id.UUID, Fence: s.fence(next)})
	},
	"the provider took a lease's runtime away": func(s *story) {
		h := s.acquire(lease.PolicyEphemeral, 1)
		s.ledger(check.Entry{Op: check.OpVanish, Thing: h.thing, Runtime: h.runtime.UUID})
	},
	"a late teardown is repeated": func(s *story) {
		h := s.acquire(lease.PolicyEphemeral, 1)
		s.release(h, "")
		s.startTeardown(h, 1)
		s.destroy(h, lease.Released{}, nil)
		s.ledger(check.Entry{Op: check.OpDestroy, Thing: h.thing, Runtime: h.runtime.UUID, Lease: h.id.UUID, Fence: s.fence(h)})
	},
	"another installation has things at the same provider": func(s *story) {
		s.ledger(check.Entry{Op: check.OpCreate, Thing: "thing-foreign", Runtime: uuid.New(), Installation: "there"})
	},
	"while nobody was there a deadline passed": func(s *story) {
		h := s.acquire(lease.PolicyEphemeral, 1)
		deadline := s.now.Add(idle)
		s.pass(idle + 10*time.Minute)
		s.Away = []check.Interval{{From: deadline.Add(-time.Minute), To: s.now}}
		s.expire(h)
		s.startTeardown(h, 1)
		s.destroy(h, lease.Expired{}, nil)
	},
	"a gap moved the deadline of a lease that was made within it": func(s *story) {
		gap := outage.RenewalsInterrupted{From: s.now, ShiftMs: (5 * time.Minute).Milliseconds(), CapMs: time.Hour.Milliseconds()}
		s.pass(3 * time.Minute)
		h := s.acquire(lease.PolicyEphemeral, 1)
		s.pass(2*time.Minute - 2*time.Second)
		gap.To = s.now
		s.append(uuid.Nil, on(outage.Category, outage.ID, gap))
		s.pass(idle)
		s.expire(h)
		s.startTeardown(h, 1)
		s.destroy(h, lease.Expired{}, nil)
	},
	"somebody asked for an earlier end than another one was told": func(s *story) {
		h := s.acquire(lease.PolicyEphemeral, 1)
		s.renew(h)
		hard, request := s.now.Add(time.Minute), s.id()
		s.append(request, on("lease", h.id.UUID, lease.Renewed{ExpiresAt: hard, HardExpiresAt: &hard}))
		s.call(check.Call{Verb: check.VerbRenew, Request: request, Lease: h.id.UUID, Fence: s.fence(h), Status: 200, Answer: check.Answer{Lease: h.id.UUID, ExpiresAt: hard}})
		s.pass(time.Minute)
		s.expire(h)
		s.startTeardown(h, 1)
		s.destroy(h, lease.Expired{}, nil)
	},
	"a lease failed before it was active, and the client is told so with a conflict": func(s *story) {
		h := s.ask(lease.PolicyEphemeral, 1, nil)
		s.claim(h, nil)
		s.append(uuid.Nil, on("lease", h.id.UUID, lease.ProvisioningFailed{Attempt: 1, Kind: lease.FailureDefinite, Code: "bad"}), on("lease", h.id.UUID, lease.Failed{Code: "bad"}),
			on("runtime", h.runtime.UUID, runtime.Destroyed{Proof: runtime.ProofNeverMade}), on("admission", s.env.UUID, admission.Freed{Lease: h.id, Slot: 1}))
		c := &s.Calls[len(s.Calls)-1]
		c.Status, c.Code, c.Answer = 409, "lease_failed", check.Answer{}
	},
	"whether a command was done was not known": func(s *story) {
		h := s.acquire(lease.PolicyEphemeral, 1)
		c := s.renew(h)
		c.Status, c.Code, c.Answer = 503, "outcome_unknown", check.Answer{}
		s.call(check.Call{Verb: check.VerbRenew, Lease: h.id.UUID, Fence: s.fence(h), Status: 503, Code: "unavailable"})
		s.call(check.Call{Verb: check.VerbRenew, Lease: h.id.UUID, Fence: 1, Status: 412, Code: "stale_fence"})
	},
	"a renewal that changed nothing is refused when it is repeated after the end": func(s *story) {
		h := s.acquire(lease.PolicyEphemeral, 1)
		key := s.id().String()
		s.call(check.Call{Verb: check.VerbRenew, Key: key, Lease: h.id.UUID, Fence: s.fence(h), Status: 200, Answer: check.Answer{Lease: h.id.UUID, ExpiresAt: s.now.Add(idle)}})
		s.release(h, "")
		s.startTeardown(h, 1)
		s.destroy(h, lease.Released{}, nil)
		s.call(check.Call{Verb: check.VerbRenew, Key: key, Lease: h.id.UUID, Fence: s.fence(h), Status: 410, Code: "lease_ended"})
	},
	"what was under way when the log forked ends while it is forked": func(s *story) {
		h := s.ask(lease.PolicyEphemeral, 1, nil)
		s.claim(h, nil)
		fork := len(s.Log)
		s.provide(h, nil)
		made := s.Log[fork:]
		s.cutTo(fork)
		s.epoch++
		s.append(uuid.Nil, on(epoch.Category, epoch.ID, epoch.Forked{Findings: []epoch.Finding{epoch.FindingTimeline}, FromEpoch: 1}))
		s.pass(20 * time.Second)
		s.Ledgers[0].Entries[0].At = s.now
		for _, r := range made {
			r.Epoch, r.RecordedAt = 2, s.now
			s.Log = append(s.Log, r)
		}
		s.count = newCount()
		s.count.number(s.Log)
		s.Calls = s.Calls[:1]
		s.holder[h.runtime] = h.id
		s.pass(20 * time.Second)
		s.append(uuid.Nil, on(epoch.Category, epoch.ID, epoch.Adopted{Reason: "it is all there is"}))
	},
	"a command whose claim was lost with a fork runs again": func(s *story) {
		h := s.acquire(lease.PolicyEphemeral, 1)
		before := len(s.Log)
		s.exec(h, 0)
		lost := append(s.Lost, s.Log[before+1:]...)
		line := s.Ledgers[0].Entries[len(s.Ledgers[0].Entries)-1]
		s.cutTo(before + 1)
		s.Calls = s.Calls[:len(s.Calls)-1]
		s.Lost = lost
		s.forked()
		line.At = s.now
		s.append(uuid.Nil, on(execution.Category, line.Exec, execution.Claimed{Worker: s.worker}))
		s.Ledgers[0].Entries = append(s.Ledgers[0].Entries, line)
		s.append(uuid.Nil, on(execution.Category, line.Exec, execution.Ended{End: execution.EndUnknown, Why: "worker_gone"}), on(execution.Category, line.Exec, execution.OutputSealed{State: execution.SealLost}))
	},
	"a command whose effect was lost before its answer is refused by what is left": func(s *story) {
		h := s.ask(lease.PolicyEphemeral, 1, nil)
		before := len(s.Log)
		s.release(h, "")
		s.Lost = append(s.Lost, s.Log[before:]...)
		s.cutTo(before)
		s.forked()
		c := &s.Calls[len(s.Calls)-1]
		c.Status, c.Code, c.Answered, c.Answer = 404, "lease_not_found", s.now, check.Answer{}
		s.Limits.Settled = false
	},
	"what was made too late has not been found yet": func(s *story) {
		s.Limits.Settled = false
		h := s.acquire(lease.PolicyEphemeral, 1)
		s.release(h, "")
		s.startTeardown(h, 1)
		s.destroy(h, lease.Released{}, nil)
		s.ledger(check.Entry{Op: check.OpAppear, Thing: "thing-late", Runtime: h.runtime.UUID, Installation: s.installation})
		s.pass(s.Limits.Reaper)
	},
	"an extra thing of a provider that may make several is destroyed by itself": func(s *story) {
		s.Ledgers[0].Class = check.ClassListable
		h := s.acquire(lease.PolicyEphemeral, 1)
		s.ledger(check.Entry{Op: check.OpCreate, Thing: "thing-twin", Runtime: h.runtime.UUID, Installation: s.installation, Lease: h.id.UUID, Fence: s.fence(h)})
		s.pass(10 * time.Second)
		s.ledger(check.Entry{Op: check.OpDestroy, Thing: "thing-twin", Runtime: h.runtime.UUID, Lease: h.id.UUID, Fence: s.fence(h)})
	},
	"an extra thing stands on the list by its own name": func(s *story) {
		s.Ledgers[0].Class = check.ClassListable
		h := s.acquire(lease.PolicyEphemeral, 1)
		twin := "thing-twin"
		s.ledger(check.Entry{Op: check.OpCreate, Thing: twin, Runtime: h.runtime.UUID, Installation: s.installation, Lease: h.id.UUID, Fence: s.fence(h)})
		s.append(uuid.Nil, on(leak.Category, leak.OfName(uuid.Nil, provider, twin).UUID, leak.Found{
			Lease: h.id, Runtime: h.runtime, Driver: "fake", Provider: provider, ProviderLeaseID: &twin, Why: leak.WhyExtra, FirstSeen: s.now,
		}))
	},
}

// quarantined is a lease that cannot be taken down.
func (s *story) quarantined() *held {
	h := s.acquire(lease.PolicyEphemeral, 1)
	s.release(h, "")
	s.startTeardown(h, 1)
	s.append(uuid.Nil, on("lease", h.id.UUID, lease.ReleaseFailed{Attempt: 1, Code: "stuck", RetryAt: s.now}),
		on("lease", h.id.UUID, lease.Quarantined{Attempts: 1, Code: "stuck"}),
		on(leak.Category, leak.OfRuntime(h.runtime).UUID, leak.Found{
			Company: s.company, Lease: h.id, Runtime: h.runtime, Driver: "fake", Provider: provider, ProviderLeaseID: &h.thing,
			Why: leak.WhyQuarantined, FirstSeen: s.now,
		}))
	return h
}

// successor is a lease that is granted the slot of one whose runtime is kept.
func (s *story) successor() (kept, next *held) {
	kept = s.acquire(lease.PolicyReuseByEnvironment, 1)
	s.release(kept, lease.DispositionKeepRunning)
	s.keep(kept)
	return kept, s.ask(lease.PolicyReuseByEnvironment, 1, kept)
}

// gaveUp is a lease that could not resume what was kept for it, and keeps it.
func (s *story) gaveUp() *held {
	kept, next := s.successor()
	s.claim(next, kept)
	until := s.now.Add(retain)
	s.append(uuid.Nil, on("lease", next.id.UUID, lease.ProvisioningFailed{Attempt: 1, Kind: lease.FailureAmbiguous}),
		on("lease", next.id.UUID, lease.Failed{Code: "away", CleanupPending: true, KeptUntil: &until}),
		on("runtime", next.runtime.UUID, runtime.Freed{Lease: next.id}), on("admission", s.env.UUID, admission.Idled{Lease: next.id}))
	return next
}

// forked begins an epoch and adopts the log.
func (s *story) forked() {
	head := s.head()
	s.epoch++
	s.pass(time.Second)
	s.append(uuid.Nil, on(epoch.Category, epoch.ID, epoch.Forked{Findings: []epoch.Finding{epoch.FindingTimeline}, FromEpoch: s.epoch - 1, Head: head}))
	s.pass(time.Second)
	s.append(uuid.Nil, on(epoch.Category, epoch.ID, epoch.Adopted{Reason: "it is all there is"}))
}

func TestWhatIsAllowedPasses(t *testing.T) {
	t.Parallel()
	for name, happens := range allowed {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory(t)
			happens(s)
			for _, v := range check.Check(s.end()).Violations {
				t.Error(v)
			}
		})
	}
}

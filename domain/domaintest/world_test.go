package domaintest_test

import (
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/admission"
	"github.com/tenure-dev/tenure/domain/domaintest"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/runtime"
)

const (
	worldLeases   = 5
	worldRuntimes = 6
	worldWorkers  = 3
)

// step is one thing that somebody does in the world; what the numbers mean depends on op.
type step struct {
	Op, Lease, Runtime, Capacity int
	// Worker 0 is whoever holds the claim; Attempt is added to the open attempt's number.
	Worker, Attempt int
	Advance         time.Duration
	Reason          lease.Reason
	Kind            lease.FailureKind
	Flag, Nothing   bool
}

func steps() *rapid.Generator[[]step] {
	one := rapid.Custom(func(t *rapid.T) step {
		return step{
			Op:       rapid.SampledFrom(often).Draw(t, "op"),
			Lease:    rapid.IntRange(0, worldLeases-1).Draw(t, "lease"),
			Runtime:  rapid.IntRange(0, worldRuntimes-1).Draw(t, "runtime"),
			Capacity: rapid.IntRange(0, 3).Draw(t, "capacity"),
			Worker:   rapid.SampledFrom([]int{0, 0, 0, 1, 2}).Draw(t, "worker"),
			Attempt:  rapid.SampledFrom([]int{0, 0, 0, 0, -1, 1}).Draw(t, "attempt"),
			Advance:  rapid.SampledFrom([]time.Duration{0, time.Second, time.Minute, 20 * time.Minute}).Draw(t, "advance"),
			Reason: rapid.SampledFrom([]lease.Reason{
				lease.ReasonReleased, lease.ReasonFailed, lease.ReasonExpired, lease.ReasonCanceled,
			}).Draw(t, "reason"),
			Kind: rapid.SampledFrom([]lease.FailureKind{
				lease.FailureRetryable, lease.FailureDefinite, lease.FailureAmbiguous,
			}).Draw(t, "kind"),
			Flag: rapid.Bool().Draw(t, "flag"), Nothing: rapid.Bool().Draw(t, "nothing"),
		}
	})
	return rapid.SliceOfN(one, 100, 240)
}

type (
	leaseStream     = stream[lease.State, lease.Command, lease.Event]
	runtimeStream   = stream[runtime.State, runtime.Command, runtime.Event]
	admissionStream = stream[admission.State, admission.Command, admission.Event]
)

// world is one environment with its leases and runtimes. Its steps append to several streams at once, as the engine does.
type world struct {
	t         testingT
	now       time.Time
	admission *admissionStream
	leases    []*leaseStream
	runtimes  []*runtimeStream
	// leaks are the runtimes on the list of leaks.
	leaks map[domain.RuntimeID]bool
	seen  *seen

	// queue is the order in which leases came to wait, kept apart from the decider's own.
	queue []domain.LeaseID
}

// seen collects the statuses that were reached.
type seen struct {
	lease   map[lease.Status]bool
	runtime map[runtime.Status]bool
}

func newSeen() *seen {
	return &seen{lease: map[lease.Status]bool{}, runtime: map[runtime.Status]bool{}}
}

func newWorld(t testingT, seen *seen) *world {
	w := &world{t: t, now: domaintest.Noon, seen: seen, leaks: map[domain.RuntimeID]bool{}}
	w.admission = newStream(admission.Decider, func(admission.State) {})
	for range worldLeases {
		w.leases = append(w.leases, newStream(lease.Decider, func(s lease.State) { seen.lease[s.Status()] = true }))
	}
	for range worldRuntimes {
		w.runtimes = append(w.runtimes, newStream(runtime.Decider, func(s runtime.State) { seen.runtime[s.Status] = true }))
	}
	seen.lease[lease.StatusNone], seen.runtime[runtime.StatusNone] = true, true
	w.must(w.admission.do(t, admission.Open{Capacity: 2}, w.now))
	return w
}

func (w *world) must(_ []admission.Event, err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("refused: %v", err)
	}
}

func leaseID(i int) domain.LeaseID     { return domaintest.ID[domain.LeaseID](byte(i + 1)) }
func runtimeID(i int) domain.RuntimeID { return domaintest.ID[domain.RuntimeID](byte(i + 1)) }
func workerID(i int) domain.WorkerID   { return domaintest.ID[domain.WorkerID](byte(i + 1)) }

func (w *world) runtimeOf(id domain.RuntimeID) *runtimeStream {
	for i, r := range w.runtimes {
		if runtimeID(i) == id {
			return r
		}
	}
	w.t.Fatalf("there is no runtime %s", id)
	return nil
}

// holder is who the step says works on the lease.
func (s step) holder(state lease.State) domain.WorkerID {
	if s.Worker == 0 && !state.Worker.IsZero() {
		return state.Worker
	}
	return workerID(s.Worker % worldWorkers)
}

const (
	opAcquire = iota
	opCancel
	opRelease
	opStartProvisioning
	opProvision
	opFailProvisioning
	opRenew
	opExpire
	opStartRelease
	opFailRelease
	opFinishRelease
	opSteal
	opCapacity
	opRetryCleanup
	opForceCleanup
	opConfirmCleanup
)

// often has each op as often as it is drawn: what moves a lease on comes more often than what ends it early.
var often = []int{
	opAcquire, opAcquire, opCancel, opRelease, opStartProvisioning, opStartProvisioning, opStartProvisioning, opProvision,
	opProvision, opProvision, opFailProvisioning, opRenew, opExpire, opStartRelease, opStartRelease, opFailRelease,
	opFinishRelease, opFinishRelease, opSteal, opCapacity, opRetryCleanup, opForceCleanup, opConfirmCleanup,
}

// do makes one step, and looks at the whole world after it.
func (w *world) do(s step) {
	w.t.Helper()
	w.now = w.now.Add(s.Advance)
	l := w.leases[s.Lease]
	before := l.state
	switch s.Op {
	case opAcquire:
		w.acquire(s)
	case opCancel:
		_, _ = l.do(w.t, lease.Cancel{Reason: "x"}, w.now)
	case opRelease:
		_, _ = l.do(w.t, lease.Release{Reason: s.Reason, Message: "x"}, w.now)
	case opStartProvisioning:
		w.startProvisioning(s)
	case opProvision:
		w.provision(s)
	case opFailProvisioning:
		w.failProvisioning(s)
	case opRenew:
		_, _ = l.do(w.t, lease.Renew{Now: w.now, Ongoing: s.Flag}, w.now)
	case opExpire:
		_, _ = l.do(w.t, lease.Expire{Now: w.now, Renewable: w.now}, w.now)
	case opStartRelease:
		w.startRelease(s)
	case opFailRelease:
		c := lease.FailRelease{Attempt: before.Teardown + s.Attempt, Worker: s.holder(before), Code: "c", RetryAt: w.now.Add(s.Advance), Limit: s.Capacity}
		_, err := l.do(w.t, c, w.now)
		w.wantStale(err, before.TearingDown, before.Teardown, c.Attempt, before.Worker, c.Worker)
	case opFinishRelease:
		w.finishRelease(s)
	case opSteal:
		w.steal(s)
	case opCapacity:
		w.admit(admission.ChangeCapacity{Capacity: s.Capacity})
	case opRetryCleanup:
		_, _ = l.do(w.t, lease.RetryCleanup{}, w.now)
	case opForceCleanup:
		w.forceCleanup(s)
	case opConfirmCleanup:
		w.confirmCleanup(s)
	}
	w.settle(s.Lease)
	w.check(s.Lease, before)
}

func (w *world) acquire(s step) {
	w.t.Helper()
	request := domaintest.LeaseRequested()
	if _, err := w.leases[s.Lease].do(w.t, lease.Request{Requested: request}, w.now); err != nil {
		return
	}
	w.admit(admission.Enter{Lease: leaseID(s.Lease), Standing: admission.Standing{
		Class: []admission.Class{"", admission.ClassHigh, admission.ClassLow}[s.Runtime%3], Key: []string{"a", "b"}[s.Capacity%2], Weight: 1 + s.Capacity,
	}})
}

// admit asks the admission, and grants each lease that it admits.
func (w *world) admit(c admission.Command) {
	w.t.Helper()
	events, err := w.admission.decide(w.t, c)
	w.must(events, err)
	for _, e := range events {
		order := w.admission.state.Order(1, domain.LeaseID{})
		w.admission.apply(w.t, []admission.Event{e}, w.now)
		switch e := e.(type) {
		case admission.Waiting:
			w.queue = append(w.queue, e.Lease)
		case admission.Left:
			w.queue = slices.DeleteFunc(w.queue, func(id domain.LeaseID) bool { return id == e.Lease })
		case admission.Admitted:
			w.granted(c, e, order)
		default:
		}
	}
}

// granted checks a grant: in order, within the capacity, and to a lease that waits for it.
func (w *world) granted(c admission.Command, e admission.Admitted, order []admission.Place) {
	w.t.Helper()
	if enter, direct := c.(admission.Enter); direct && enter.Lease == e.Lease {
		if len(w.queue) > 0 {
			w.t.Fatalf("%s came before %d who wait", e.Lease, len(w.queue))
		}
	} else {
		if len(order) == 0 || order[0].Lease != e.Lease || order[0].Rule != e.Rule {
			w.t.Fatalf("%s was admitted by rule %s out of the order %+v", e.Lease, e.Rule, order)
		}
		w.queue = slices.DeleteFunc(w.queue, func(id domain.LeaseID) bool { return id == e.Lease })
	}
	if s := w.admission.state; s.Capacity > 0 && len(s.Holders) > s.Capacity {
		w.t.Fatalf("%d hold a slot of %d", len(s.Holders), s.Capacity)
	}
	for i, l := range w.leases {
		if leaseID(i) == e.Lease {
			if _, err := l.do(w.t, lease.Grant{Slot: e.Slot, Rule: e.Rule}, w.now); err != nil {
				w.t.Fatalf("admitted and not granted: %v", err)
			}
		}
	}
}

func (w *world) startProvisioning(s step) {
	w.t.Helper()
	l := w.leases[s.Lease]
	events, err := l.decide(w.t, lease.StartProvisioning{
		Runtime: runtimeID(s.Runtime), Worker: s.holder(l.state), Now: w.now, Deadline: w.now.Add(time.Minute), WorkerDead: s.Flag,
	})
	if err != nil {
		return
	}
	started, ok := events[0].(lease.ProvisioningStarted)
	if !ok || started.Attempt <= l.state.Attempt {
		w.t.Fatalf("attempt %d is followed by %#v", l.state.Attempt, events)
	}
	// One append: a runtime that is another lease's refuses the whole of it.
	if _, err := w.runtimeOf(started.Runtime).do(w.t, runtime.Intend{Intended: runtime.Intended{Lease: leaseID(s.Lease)}}, w.now); err != nil {
		return
	}
	l.apply(w.t, events, w.now)
}

func (w *world) provision(s step) {
	w.t.Helper()
	l := w.leases[s.Lease]
	before := l.state
	c := lease.Provision{Attempt: before.Attempt + s.Attempt, Worker: s.holder(before), Now: w.now, Acquisition: lease.AcquisitionCreated}
	events, err := l.do(w.t, c, w.now)
	w.wantStale(err, before.Attempting, before.Attempt, c.Attempt, before.Worker, c.Worker)
	for _, e := range events {
		if p, ok := e.(lease.Provisioned); ok {
			if _, err := w.runtimeOf(p.Runtime).do(w.t, runtime.Hold{Lease: leaseID(s.Lease)}, w.now); err != nil {
				w.t.Fatalf("provisioned and not held: %v", err)
			}
		}
	}
}

func (w *world) failProvisioning(s step) {
	w.t.Helper()
	l := w.leases[s.Lease]
	before := l.state
	c := lease.FailProvisioning{Attempt: before.Attempt + s.Attempt, Worker: s.holder(before), Kind: s.Kind, NothingMade: s.Nothing, Code: "c", Message: "m"}
	if s.Flag {
		retry := w.now.Add(s.Advance)
		c.RetryAt = &retry
	}
	_, err := l.do(w.t, c, w.now)
	w.wantStale(err, before.Attempting, before.Attempt, c.Attempt, before.Worker, c.Worker)
}

func (w *world) startRelease(s step) {
	w.t.Helper()
	l := w.leases[s.Lease]
	before := l.state
	_, err := l.do(w.t, lease.StartRelease{
		Worker: s.holder(before), Now: w.now, Deadline: w.now.Add(time.Minute), WorkerDead: s.Flag,
	}, w.now)
	if err != nil {
		return
	}
	if l.state.Teardown != before.Teardown+1 || l.state.Attempting {
		w.t.Fatalf("teardown %d is followed by %d, attempting %t", before.Teardown, l.state.Teardown, l.state.Attempting)
	}
	if _, err := w.runtimeOf(l.state.Runtime).do(w.t, runtime.Destroy{Lease: leaseID(s.Lease), Reason: "x"}, w.now); err != nil {
		w.t.Fatalf("torn down and not destroying: %v", err)
	}
}

func (w *world) finishRelease(s step) {
	w.t.Helper()
	l := w.leases[s.Lease]
	before := l.state
	c := lease.FinishRelease{Attempt: before.Teardown + s.Attempt, Worker: s.holder(before)}
	_, err := l.do(w.t, c, w.now)
	w.wantStale(err, before.TearingDown, before.Teardown, c.Attempt, before.Worker, c.Worker)
	if err == nil {
		w.destroyed(l.state.Runtime, runtime.ProofReleased)
	}
}

// forceCleanup ends a lease by force: its runtime goes on the list of leaks.
func (w *world) forceCleanup(s step) {
	w.t.Helper()
	l := w.leases[s.Lease]
	if _, err := l.do(w.t, lease.ForceCleanup{Reason: "x"}, w.now); err != nil || l.state.Cleaned {
		return
	}
	if _, err := w.runtimeOf(l.state.Runtime).do(w.t, runtime.Destroy{Lease: leaseID(s.Lease), Reason: "forced"}, w.now); err != nil {
		w.t.Fatalf("forced and not destroying: %v", err)
	}
	w.leaks[l.state.Runtime] = true
}

// confirmCleanup is a proof that nothing is left of a lease.
func (w *world) confirmCleanup(s step) {
	w.t.Helper()
	l := w.leases[s.Lease]
	before := l.state
	if _, err := l.do(w.t, lease.ConfirmCleanup{}, w.now); err != nil || !before.CleanupNeeded || before.Cleaned {
		return
	}
	if _, err := w.runtimeOf(l.state.Runtime).do(w.t, runtime.Destroy{Lease: leaseID(s.Lease), Reason: "absent"}, w.now); err != nil {
		w.t.Fatalf("gone and not destroying: %v", err)
	}
	w.destroyed(l.state.Runtime, runtime.ProofAbsent)
}

func (w *world) destroyed(id domain.RuntimeID, proof runtime.Proof) {
	w.t.Helper()
	delete(w.leaks, id)
	if _, err := w.runtimeOf(id).do(w.t, runtime.ConfirmDestroyed{Proof: proof}, w.now); err != nil {
		w.t.Fatalf("nothing is left and yet: %v", err)
	}
}

// steal tries to give a runtime to a lease it was not made for.
func (w *world) steal(s step) {
	w.t.Helper()
	r := w.runtimes[s.Runtime]
	if r.state.Origin.Lease == leaseID(s.Lease) {
		return
	}
	if events, err := r.decide(w.t, runtime.Hold{Lease: leaseID(s.Lease)}); err == nil {
		w.t.Fatalf("lease %d got the runtime of another: %#v", s.Lease, events)
	}
}

// wantStale wants a result accepted exactly when it is of the open attempt and its worker.
func (w *world) wantStale(err error, open bool, attempt, given int, worker, by domain.WorkerID) {
	w.t.Helper()
	if current := open && attempt == given && worker == by; current != (err == nil) {
		w.t.Fatalf("attempt %d by %s is open: %t; %d by %s was answered with %v", attempt, worker, open, given, by, err)
	}
}

// settle gives up the slot, or the place in the queue, of a lease that needs neither any more.
func (w *world) settle(i int) {
	w.t.Helper()
	s := w.leases[i].state
	if s.Status().Ended() && !s.Runtime.IsZero() && s.CleanupStatus() == lease.CleanupNone {
		w.destroyed(s.Runtime, runtime.ProofNeverMade)
	}
	if s.Status().Ended() && !s.HoldsSlot() {
		w.admit(admission.Leave{Lease: leaseID(i)})
	}
}

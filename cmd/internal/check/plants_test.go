package check_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/cmd/internal/check"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/admission"
	"github.com/tenure-dev/tenure/domain/epoch"
	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/leak"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/outage"
	"github.com/tenure-dev/tenure/domain/probe"
	"github.com/tenure-dev/tenure/domain/runtime"
	"github.com/tenure-dev/tenure/eventstore"
)

// plant breaks one promise in a history in which nothing was wrong.
type plant struct {
	rule   check.Rule
	breaks string
	by     func(*whole)
	// subject is what the violation is about, or the beginning of its name; says is a part of the detail.
	subject func(*whole) string
	says    string
}

func leaseOf(h func(*whole) *held) func(*whole) string {
	return func(w *whole) string { return "lease-" + h(w).id.String() }
}

func runtimeOf(h func(*whole) *held) func(*whole) string {
	return func(w *whole) string { return "runtime-" + h(w).runtime.String() }
}

func thingOf(h func(*whole) *held) func(*whole) string {
	return func(w *whole) string { return provider + " " + h(w).thing }
}

func released(w *whole) *held { return w.released }
func kept(w *whole) *held     { return w.kept }
func resumed(w *whole) *held  { return w.resumed }
func expired(w *whole) *held  { return w.expired }
func living(w *whole) *held   { return w.living }
func keeping(w *whole) *held  { return w.keeping }
func canceled(w *whole) *held { return w.canceled }
func timedOut(w *whole) *held { return w.timedOut }

func is(subject string) func(*whole) string { return func(*whole) string { return subject } }

func admissionOf(w *whole) string {
	for _, r := range w.Log {
		if r.Stream.Category() == admission.Category {
			return string(r.Stream)
		}
	}
	return ""
}

func ran(w *whole) string { return execution.Category + "-" + w.exec.String() }

var other = uuid.MustParse("0e0e0e0e-0000-4000-8000-00000000000e")

// plants: each place where the checker complains has one.
var plants = slices.Concat(holderPlants, commandPlants, keyPlants, orderPlants, deadlinePlants, runtimePlants, projectionPlants, endPlants, forkPlants, execPlants, claimPlants)

var holderPlants = []plant{
	{check.RuleHolders, "a runtime is held by a second lease", func(w *whole) {
		w.insert(w.runtime(w.living, "RuntimeHeld"), uuid.Nil, on("runtime", w.living.runtime.UUID, runtime.Held{Lease: w.resumed.id}))
	}, runtimeOf(living), "as well"},
	{check.RuleHolders, "a kept runtime is taken over without having been freed", func(w *whole) { w.drop(w.runtime(w.kept, "RuntimeFreed")) }, runtimeOf(kept), "as well"},
	{check.RuleHolders, "a destroyed runtime is held", func(w *whole) {
		w.insert(w.runtime(w.released, "RuntimeDestroyed"), uuid.Nil, on("runtime", w.released.runtime.UUID, runtime.Held{Lease: w.released.id}))
	}, runtimeOf(released), "holds what was given up"},
	{check.RuleHolders, "a runtime is intended twice", func(w *whole) {
		w.insert(w.runtime(w.living, "RuntimeIntended"), uuid.Nil, on("runtime", w.living.runtime.UUID, runtime.Intended{Lease: w.released.id, Provider: provider}))
	}, runtimeOf(living), "intended anew"},
	{check.RuleHolders, "a runtime is freed by a lease that does not hold it", func(w *whole) {
		edit(w, w.runtime(w.released, "RuntimeFreed"), func(e *runtime.Freed) { e.Lease = w.living.id })
	}, runtimeOf(released), "gives it up"},
	{check.RuleHolders, "a runtime is to be destroyed while it is held", func(w *whole) { w.drop(w.runtime(w.released, "RuntimeFreed")) }, runtimeOf(released), "to be destroyed while"},
	{check.RuleHolders, "an active lease loses its runtime", func(w *whole) {
		w.insert(w.lease(w.living, "LeaseRenewed"), uuid.Nil, on("runtime", w.living.runtime.UUID, runtime.Freed{Lease: w.living.id}))
	}, runtimeOf(living), "which is active"},
	{check.RuleHolders, "a lease is active with a runtime that nobody gave it", func(w *whole) {
		w.drop(w.runtime(w.living, "RuntimeHeld"))
	}, leaseOf(living), "nobody holds"},
	{check.RuleHolders, "two leases are active with one runtime", func(w *whole) {
		edit(w, w.lease(w.living, "LeaseProvisioned"), func(e *lease.Provisioned) { e.Runtime = w.resumed.runtime })
	}, runtimeOf(resumed), "active with it at once"},
	{check.RuleHolders, "a lease is granted a slot that the environment did not give", func(w *whole) {
		edit(w, w.lease(w.living, "LeaseGranted"), func(e *lease.Granted) { e.Slot = 7 })
	}, leaseOf(living), "did not give it"},
	{check.RuleHolders, "more leases are admitted than there is room for", func(w *whole) {
		edit(w, w.find(eventstore.Stream(admissionOf(w)), "AdmissionOpened", 0), func(e *admission.Opened) { e.Capacity = 1 })
	}, admissionOf, "number 2 of 1"},
	{check.RuleHolders, "a slot has two holders", func(w *whole) {
		edit(w, w.find(eventstore.Stream(admissionOf(w)), "AdmissionGranted", 1), func(e *admission.Admitted) { e.Slot = 1 })
	}, admissionOf, "slot 1 has two holders"},
	{check.RuleHolders, "a lease gets two slots", func(w *whole) {
		w.insert(w.lease(w.released, "LeaseGranted"), uuid.Nil, on("admission", w.environment(), admission.Admitted{Lease: w.released.id, Slot: 2}))
	}, admissionOf, "as well"},
	{check.RuleHolders, "a slot is freed that the lease does not have", func(w *whole) {
		edit(w, w.find(eventstore.Stream(admissionOf(w)), "AdmissionFreed", 0), func(e *admission.Freed) { e.Slot = 2 })
	}, admissionOf, "is freed by lease"},
	{check.RuleHolders, "a slot is inherited from a lease that lives", func(w *whole) {
		edit(w, w.find(eventstore.Stream(admissionOf(w)), "AdmissionGranted", 3), func(e *admission.Admitted) { e.From, e.Slot = w.expired.id, 1 })
	}, admissionOf, "which has not ended"},
	{check.RuleHolders, "a slot is inherited that the former lease does not have", func(w *whole) {
		edit(w, w.find(eventstore.Stream(admissionOf(w)), "AdmissionGranted", 3), func(e *admission.Admitted) { e.From = w.released.id })
	}, admissionOf, "inherits slot 2"},
	{check.RuleHolders, "a slot is freed under a lease that lives", func(w *whole) {
		w.insert(w.lease(w.living, "LeaseProvisioned"), uuid.Nil, on("admission", w.environment(), admission.Freed{Lease: w.living.id, Slot: 1}))
	}, admissionOf, "has not ended"},
	{check.RuleHolders, "a slot is freed while the runtime in it may exist", func(w *whole) { w.drop(w.runtime(w.released, "RuntimeDestroyed")) }, admissionOf, "may exist"},
	{check.RuleHolders, "a slot is handed back by a lease that does not have it", func(w *whole) {
		w.insert(w.lease(w.keeping, "LeaseRetained"), uuid.Nil, on("admission", w.environment(), admission.HandedBack{Lease: w.released.id, To: w.keeping.id, Slot: 2}))
	}, admissionOf, "is handed back by lease"},
	{check.RuleHolders, "a slot is handed back to a lease that lives", func(w *whole) {
		place := w.lease(w.canceled, "LeaseCanceled")
		w.drop(place + 1)
		w.insert(place, uuid.Nil, on("admission", w.environment(), admission.HandedBack{Lease: w.canceled.id, To: w.resumed.id, Slot: 1}))
	}, admissionOf, "keeps nothing in it"},
	{check.RuleHolders, "a provider makes a second thing of a runtime", func(w *whole) {
		at := w.entry(check.OpCreate, w.living.thing)
		e := w.Ledgers[0].Entries[at]
		e.Thing = "thing-twin"
		w.line(at, e)
	}, runtimeOf(living), "another thing of this runtime lives"},
	{check.RuleHolders, "a provider makes a thing that is there", func(w *whole) {
		at := w.entry(check.OpCreate, w.living.thing)
		w.line(at, w.Ledgers[0].Entries[at])
	}, thingOf(living), "was there before"},
	{check.RuleHolders, "a command runs in a thing that was never made", func(w *whole) {
		w.line(0, check.Entry{Op: check.OpExec, Thing: "thing-none", Exec: w.exec.UUID})
	}, is(provider + " thing-none"), "never made"},
	{check.RuleHolders, "a command runs in a thing that is gone", func(w *whole) {
		w.line(w.entry(check.OpDestroy, w.released.thing), check.Entry{Op: check.OpExec, Thing: w.released.thing, Exec: other})
	}, thingOf(released), "it is gone since"},
	{check.RuleHolders, "a command of the former holder runs beside the newer one", func(w *whole) {
		w.line(w.entry(check.OpHold, w.resumed.thing), check.Entry{Op: check.OpExec, Thing: w.resumed.thing, Lease: w.kept.id.UUID, Fence: w.fence(w.kept), Exec: other})
	}, thingOf(resumed), "holds it"},
	{check.RuleHolders, "a command runs for a lease that does not hold the thing", func(w *whole) {
		w.line(w.entry(check.OpHold, w.resumed.thing), check.Entry{Op: check.OpExec, Thing: w.resumed.thing, Lease: w.living.id.UUID, Exec: other})
	}, thingOf(resumed), "holds it"},
	{check.RuleHolders, "a command of a holder runs after it gave the thing back", func(w *whole) {
		w.line(w.entry(check.OpKeep, w.kept.thing), check.Entry{Op: check.OpExec, Thing: w.kept.thing, Lease: w.kept.id.UUID, Fence: w.fence(w.kept), Exec: other})
	}, thingOf(kept), "had given it back"},
	{check.RuleHolders, "an older holder takes a thing from the newer one", func(w *whole) {
		w.line(w.entry(check.OpHold, w.resumed.thing), check.Entry{Op: check.OpHold, Thing: w.resumed.thing, Lease: w.kept.id.UUID, Fence: w.fence(w.kept)})
	}, thingOf(resumed), "holds it"},
	{check.RuleHolders, "an older holder keeps what a newer one has", func(w *whole) {
		w.line(w.entry(check.OpHold, w.resumed.thing), check.Entry{Op: check.OpKeep, Thing: w.resumed.thing, Lease: w.kept.id.UUID, Fence: w.fence(w.kept)})
	}, thingOf(resumed), "holds it"},
	{check.RuleHolders, "an older holder destroys what a newer one has", func(w *whole) {
		w.line(w.entry(check.OpHold, w.resumed.thing), check.Entry{Op: check.OpDestroy, Thing: w.resumed.thing, Lease: w.kept.id.UUID, Fence: w.fence(w.kept)})
	}, thingOf(resumed), "holds it"},
	{check.RuleHolders, "two leases hold a thing with one fence", func(w *whole) {
		w.line(w.entry(check.OpHold, w.resumed.thing), check.Entry{Op: check.OpHold, Thing: w.resumed.thing, Lease: w.kept.id.UUID, Fence: w.fence(w.resumed)})
	}, thingOf(resumed), "one fence"},
	{check.RuleHolders, "a command runs twice", func(w *whole) {
		at := w.entry(check.OpExec, w.released.thing)
		w.line(at, w.Ledgers[0].Entries[at])
	}, ran, "ran twice"},
}

var commandPlants = []plant{
	{check.RuleCommands, "an acknowledged lease is not in the log", func(w *whole) {
		w.without(eventstore.StreamOf("lease", w.canceled.id.UUID))
	}, leaseOf(canceled), "is not in the log"},
	{check.RuleCommands, "a lost command was not lost by a fork", func(w *whole) { w.Lost = nil }, func(w *whole) string { return "lease-" + w.lost.id.String() }, "is not in the log"},
	{check.RuleCommands, "an acknowledged exec is not in the log", func(w *whole) { w.without(eventstore.StreamOf(execution.Category, w.exec.UUID)) }, ran, "is not in the log"},
	{check.RuleCommands, "an acknowledged lease begins with something else", func(w *whole) { w.drop(w.lease(w.canceled, "LeaseRequested")) }, leaseOf(canceled), "no request for it"},
	{check.RuleCommands, "an acknowledged command is in the log twice", func(w *whole) {
		w.insert(w.lease(w.released, "LeaseRenewed"), w.renewal(w.released), on("lease", w.released.id.UUID, lease.Renewed{ExpiresAt: w.Limits.End}))
	}, func(w *whole) string { return "request " + w.renewal(w.released).String() }, "in the log twice"},
	{check.RuleCommands, "an exec is of another lease than was asked for", func(w *whole) {
		w.call(func(c check.Call) bool { return c.Verb == check.VerbExec }).Lease = w.resumed.id.UUID
	}, ran, "asked for it in lease"},
	{check.RuleCommands, "an acknowledged release ends nothing", func(w *whole) {
		w.call(func(c check.Call) bool { return c.Verb == check.VerbRelease }).Lease = w.living.id.UUID
	}, leaseOf(living), "nothing in the log ends the lease"},
	{check.RuleCommands, "an acknowledged renewal is of a lease that never was active", func(w *whole) {
		w.call(func(c check.Call) bool { return c.Verb == check.VerbRenew }).Lease = w.canceled.id.UUID
	}, leaseOf(canceled), "never active"},
	{check.RuleCommands, "a client is told a position that the log does not have", func(w *whole) { w.Calls[0].Answer.Position = 10_000 }, is("log"), "position 10000"},
	{check.RuleCommands, "a client is told that it made what another command made", func(w *whole) {
		w.call(func(c check.Call) bool { return c.Verb == check.VerbAcquire }).Request = other
	}, leaseOf(released), "another command"},
	{check.RuleCommands, "a client is told that it made what its first try made", func(w *whole) {
		w.call(func(c check.Call) bool { return c.Replayed }).Replayed = false
	}, leaseOf(living), "was told that it made this"},
	{check.RuleCommands, "a refused command has an effect", func(w *whole) {
		w.Log[w.lease(w.living, "LeaseGranted")].By.Request = w.refused
		again(w.t, &w.History)
	}, func(w *whole) string { return "request " + w.refused.String() }, "has an effect"},
	{check.RuleCommands, "a command that was not done has an effect", func(w *whole) {
		c := w.call(func(c check.Call) bool { return c.Verb == check.VerbRenew })
		c.Status, c.Code = 503, "unavailable"
	}, func(w *whole) string { return "request " + w.renewal(w.released).String() }, "has an effect"},
	{check.RuleCommands, "a refused command had an effect that was lost", func(w *whole) { w.Lost[0].By.Request = w.refused }, func(w *whole) string { return "request " + w.refused.String() }, "lost with the fork"},
	{check.RuleCommands, "a client is told that a lease is active that never was", func(w *whole) {
		w.call(func(c check.Call) bool { return c.Answer.State == "canceled" }).Answer.State = "active"
	}, leaseOf(canceled), "it never was"},
	{check.RuleCommands, "a client is told another runtime than the log has", func(w *whole) {
		name := "thing-other"
		w.call(func(c check.Call) bool { return c.Answer.State == "active" }).Answer.ProviderLeaseID = &name
	}, leaseOf(released), "another runtime"},
	{check.RuleCommands, "a client is told an end that the log does not have", func(w *whole) {
		w.call(func(c check.Call) bool { return c.Answer.State == "released" }).Answer.State = "expired"
	}, leaseOf(released), "was told that it is expired"},
	{check.RuleCommands, "a client is told of a lease that nobody knows", func(w *whole) {
		w.call(func(c check.Call) bool { return c.Answer.State == "released" }).Answer.Lease = other
	}, is("lease-" + other.String()), "knows nothing of it"},
}

var keyPlants = []plant{
	{check.RuleKeys, "a repeated command has two leases", func(w *whole) {
		c := w.call(func(c check.Call) bool { return c.Verb == check.VerbAcquire })
		more := *c
		more.Request, more.Answer.Lease, more.Sent = other, w.resumed.id.UUID, c.Answered.Add(time.Second)
		w.Calls = append(w.Calls, more)
	}, func(w *whole) string { return "key " + w.released.key }, "was told"},
	{check.RuleKeys, "a repeated command is refused after it was acknowledged", func(w *whole) {
		c := w.call(func(c check.Call) bool { return c.Verb == check.VerbAcquire })
		w.Calls = append(w.Calls, check.Call{Verb: c.Verb, Client: c.Client, Scope: c.Scope, Key: c.Key, Request: other, Sent: c.Answered.Add(time.Second), Status: 409, Code: "no"})
	}, func(w *whole) string { return "key " + w.released.key }, "was refused"},
	{check.RuleKeys, "two tries of one command have an append each", func(w *whole) {
		w.Log[w.lease(w.expired, "LeaseGranted")].By.Request = other
		w.Calls = append(w.Calls, check.Call{Verb: check.VerbAcquire, Scope: w.Calls[0].Scope, Key: w.released.key, Request: other, Sent: w.Calls[0].Sent})
		again(w.t, &w.History)
	}, func(w *whole) string { return "key " + w.released.key }, "another append"},
}

var orderPlants = []plant{
	{check.RuleOrder, "a position is missing", func(w *whole) {
		for i := range w.Log[10:] {
			w.Log[10+i].Position++
		}
	}, is("log"), "position 12 follows 10"},
	{check.RuleOrder, "the log begins later", func(w *whole) { w.Log = w.Log[1:] }, is("log"), "begins at position 2"},
	{check.RuleOrder, "time goes back", func(w *whole) { w.Log[10].RecordedAt = w.Log[10].RecordedAt.Add(-time.Hour) }, is("log"), "time goes back"},
	{check.RuleOrder, "an epoch goes back", func(w *whole) { w.Log[len(w.Log)-1].Epoch = 1 }, is("log"), "epoch 1 follows 2"},
	{check.RuleOrder, "an epoch begins without a fork", func(w *whole) {
		for i := range w.Log[20:] {
			w.Log[20+i].Epoch++
		}
	}, is("log"), "something else than the fork"},
	{check.RuleOrder, "a fork begins no epoch", func(w *whole) {
		w.insert(5, uuid.Nil, on(epoch.Category, epoch.ID, epoch.Forked{FromEpoch: 1}))
	}, is("log"), "no new epoch"},
	{check.RuleOrder, "a version is missing", func(w *whole) { w.Log[w.lease(w.released, "LeaseGranted")].Version++ }, leaseOf(released), "version 3 follows 1"},
	{check.RuleOrder, "a stream begins later", func(w *whole) { w.Log[w.lease(w.released, "LeaseRequested")].Version = 2 }, leaseOf(released), "begins with version 2"},
	{check.RuleOrder, "a company's position is missing", func(w *whole) { w.Log[7].CompanyPosition++ }, is("company-"), "out of line"},
	{check.RuleOrder, "an event is altered", func(w *whole) { w.Log[w.lease(w.released, "LeaseGranted")].Payload = []byte(`{"slot":2}`) }, leaseOf(released), "committed to"},
	{check.RuleOrder, "an event's envelope is altered", func(w *whole) { w.Log[w.lease(w.released, "LeaseGranted")].By.Request = other }, leaseOf(released), "not that of what it says"},
	{check.RuleOrder, "an event is chained to another", func(w *whole) { w.Log[w.lease(w.released, "LeaseGranted")].PrevHash = []byte("x") }, leaseOf(released), "not chained"},
	{check.RuleOrder, "an event has no hash", func(w *whole) { w.Log[w.lease(w.released, "LeaseGranted")].Hash = nil }, leaseOf(released), "not that of what it says"},
	{check.RuleOrder, "an event cannot be read", func(w *whole) { w.Log[w.lease(w.released, "LeaseGranted")].Name = "LeaseSung" }, leaseOf(released), "nobody can read"},
	{check.RuleOrder, "an append is in the log twice", func(w *whole) {
		w.Log[len(w.Log)-1].AppendID = w.Log[0].AppendID
	}, is("lease-"), "in the log twice"},
	{check.RuleOrder, "an append does not stand together", func(w *whole) { w.Log[w.lease(w.released, "LeaseGranted")].AppendIndex = 9 }, leaseOf(released), "stand together"},
	{check.RuleOrder, "a pair of epoch and position names what was lost and what took its place", func(w *whole) {
		for i := range w.Lost {
			w.Lost[i].Epoch = 2
		}
	}, is("log"), "which was lost"},
	{check.RuleOrder, "a pair of epoch and position names two lost events", func(w *whole) {
		twin := w.Lost[0]
		twin.AppendID = other
		w.Lost = append(w.Lost, twin)
	}, is("log"), "was two events"},
	{check.RuleOrder, "a lease is granted twice", func(w *whole) {
		w.insert(w.lease(w.living, "LeaseProvisioned"), uuid.Nil, on("lease", w.living.id.UUID, lease.Granted{Slot: 1}))
	}, leaseOf(living), "its fence changes"},
	{check.RuleOrder, "a runtime goes to a holder with a smaller fence", func(w *whole) {
		w.insert(w.runtime(w.kept, "RuntimeDestroyed"), uuid.Nil, on("runtime", w.kept.runtime.UUID, runtime.Held{Lease: w.kept.id}))
	}, runtimeOf(kept), "comes after one with"},
	{check.RuleOrder, "a runtime is held by a lease that was not granted", func(w *whole) {
		w.insert(w.runtime(w.kept, "RuntimeDestroyed"), uuid.Nil, on("runtime", w.kept.runtime.UUID, runtime.Held{Lease: w.timedOut.id}))
	}, runtimeOf(kept), "was not granted"},
	{check.RuleOrder, "a client is told another fence", func(w *whole) {
		w.call(func(c check.Call) bool { return c.Answer.State == "active" }).Answer.Fence++
	}, leaseOf(released), "was told fence"},
	{check.RuleOrder, "a command with another fence is accepted", func(w *whole) {
		w.call(func(c check.Call) bool { return c.Verb == check.VerbExec }).Fence++
	}, leaseOf(released), "was accepted with fence"},
	{check.RuleOrder, "a command without a fence is accepted", func(w *whole) {
		w.call(func(c check.Call) bool { return c.Verb == check.VerbRenew }).Fence = 0
	}, leaseOf(released), "was accepted with fence 0"},
	{check.RuleOrder, "a provider is asked with another fence", func(w *whole) {
		w.Ledgers[0].Entries[w.entry(check.OpCreate, w.living.thing)].Fence++
	}, leaseOf(living), "acted with fence"},
	{check.RuleOrder, "a provider is asked with the fence of an epoch that never was", func(w *whole) {
		w.Ledgers[0].Entries[w.entry(check.OpCreate, w.living.thing)].Fence = 9 << domain.FenceBits
	}, leaseOf(living), "acted with fence"},
}

var deadlinePlants = []plant{
	{check.RuleDeadlines, "a lease lives past its idle end", func(w *whole) {
		edit(w, w.lease(w.expired, "LeaseProvisioned"), func(e *lease.Provisioned) { e.ExpiresAt = e.ExpiresAt.Add(-time.Minute) })
	}, leaseOf(expired), "lives past its deadline"},
	{check.RuleDeadlines, "a lease lives past its hard end", func(w *whole) {
		edit(w, w.lease(w.expired, "LeaseProvisioned"), func(e *lease.Provisioned) { e.HardExpiresAt = e.ExpiresAt.Add(-time.Minute) })
	}, leaseOf(expired), "lives past its deadline"},
	{check.RuleDeadlines, "a lease lives past its end at the end of the run", func(w *whole) { w.Limits.End = w.Limits.End.Add(2 * idle) }, leaseOf(living), "lives past its deadline"},
	{check.RuleDeadlines, "a lease that ran out is renewed", func(w *whole) {
		edit(w, w.find(eventstore.StreamOf(outage.Category, outage.ID), "RenewalsInterrupted", 0), func(e *outage.RenewalsInterrupted) { e.CapMs = 1000 })
	}, leaseOf(resumed), "renewed after its end"},
	{check.RuleDeadlines, "a lease expires too early", func(w *whole) {
		edit(w, w.lease(w.expired, "LeaseProvisioned"), func(e *lease.Provisioned) {
			e.ExpiresAt = e.ExpiresAt.Add(time.Minute)
		})
	}, leaseOf(expired), "expires before its end"},
	{check.RuleDeadlines, "a lease waits for a slot past its time", func(w *whole) {
		edit(w, w.lease(w.timedOut, "LeaseRequested"), func(e *lease.Requested) { e.Queue.TimeoutMs = 1 })
		for i := range w.Log[w.lease(w.timedOut, "LeaseFailed"):] {
			r := &w.Log[w.lease(w.timedOut, "LeaseFailed")+i]
			r.RecordedAt = r.RecordedAt.Add(time.Minute)
		}
		w.Limits.End = w.Limits.End.Add(time.Minute)
	}, leaseOf(timedOut), "waits for a slot past"},
	{check.RuleDeadlines, "a lease gives up waiting too early", func(w *whole) {
		edit(w, w.lease(w.timedOut, "LeaseRequested"), func(e *lease.Requested) { e.Queue.TimeoutMs = 60_000 })
	}, leaseOf(timedOut), "before its time"},
	{check.RuleDeadlines, "a runtime is kept past its time", func(w *whole) {
		edit(w, w.lease(w.keeping, "LeaseRetained"), func(e *lease.Retained) { e.KeptUntil = e.KeptUntil.Add(-time.Hour) })
	}, leaseOf(keeping), "keeps its runtime past"},
	{check.RuleDeadlines, "what is kept expires too early", func(w *whole) {
		w.insert(w.lease(w.keeping, "LeaseRetained"), uuid.Nil, on("lease", w.keeping.id.UUID, lease.RetentionEnded{Reason: lease.RetentionExpired}))
	}, leaseOf(keeping), "expires before its time"},
	{check.RuleDeadlines, "an attempt is open past its deadline", func(w *whole) {
		edit(w, w.lease(w.living, "LeaseProvisioningStarted"), func(e *lease.ProvisioningStarted) { e.Deadline = e.Deadline.Add(-time.Hour) })
	}, leaseOf(living), "a claim is open"},
	{check.RuleDeadlines, "a teardown is open past its deadline", func(w *whole) {
		edit(w, w.lease(w.resumed, "LeaseReleaseStarted"), func(e *lease.ReleaseStarted) { e.Deadline = e.Deadline.Add(-time.Hour) })
	}, leaseOf(resumed), "a claim is open"},
	{check.RuleDeadlines, "a lease ends before the end that a client was told", func(w *whole) {
		r := w.Log[w.lease(w.expired, "LeaseProvisioned")]
		w.Calls = append(w.Calls, check.Call{
			Verb: check.VerbRenew, Request: other, Lease: w.expired.id.UUID, Fence: w.fence(w.expired), Sent: r.RecordedAt, Answered: r.RecordedAt, Status: 200,
			Answer: check.Answer{Lease: w.expired.id.UUID, ExpiresAt: r.RecordedAt.Add(idle + time.Minute)},
		})
	}, leaseOf(expired), "was told that it lives until"},
}

var runtimePlants = []plant{
	{check.RuleRuntimes, "what is left of a lease is on no list", func(w *whole) {
		w.drop(w.runtime(w.released, "RuntimeDestroyed"))
	}, runtimeOf(released), "on no list"},
	{check.RuleRuntimes, "a lost runtime is on no list", func(w *whole) {
		w.insert(w.runtime(w.keeping, "RuntimeFreed"), uuid.Nil, on("runtime", w.keeping.runtime.UUID, runtime.Lost{Reason: "identity_mismatch"}))
	}, runtimeOf(keeping), "is lost"},
	{check.RuleRuntimes, "a runtime was never intended", func(w *whole) { w.drop(w.runtime(w.living, "RuntimeIntended")) }, runtimeOf(living), "nobody intended"},
	{check.RuleRuntimes, "a runtime is of a lease that does not exist", func(w *whole) {
		w.insert(w.runtime(w.living, "RuntimeHeld"), uuid.Nil, on("runtime", other, runtime.Intended{Lease: domain.LeaseID{UUID: other}, Provider: provider}))
	}, is("runtime-" + other.String()), "does not exist"},
	{check.RuleRuntimes, "a provider made what nobody had announced", func(w *whole) {
		w.line(0, check.Entry{Op: check.OpCreate, Thing: "thing-late", Runtime: other, Installation: "here"})
	}, is(provider + " thing-late"), "the log does not know"},
	{check.RuleRuntimes, "a thing is made before it is announced", func(w *whole) {
		e := &w.Ledgers[0].Entries[w.entry(check.OpCreate, w.living.thing)]
		e.At = e.At.Add(-time.Minute)
	}, thingOf(living), "made before it was intended"},
	{check.RuleRuntimes, "a thing is destroyed under its lease", func(w *whole) {
		e := &w.Ledgers[0].Entries[w.entry(check.OpDestroy, w.released.thing)]
		e.At = w.Log[w.lease(w.released, "LeaseRenewed")].RecordedAt
	}, thingOf(released), "has it"},
	{check.RuleRuntimes, "what is kept is destroyed", func(w *whole) {
		w.line(w.entry(check.OpKeep, w.keeping.thing), check.Entry{Op: check.OpDestroy, Thing: w.keeping.thing, At: w.Limits.End.Add(-time.Second)})
	}, thingOf(keeping), "has it"},
	{check.RuleRuntimes, "a thing lives that the log says is destroyed", func(w *whole) {
		w.cut(w.entry(check.OpDestroy, w.released.thing))
	}, thingOf(released), "says that it is destroyed"},
	{check.RuleRuntimes, "a thing lives that the log does not know", func(w *whole) {
		w.line(0, check.Entry{Op: check.OpAppear, Thing: "thing-late", Runtime: other, Installation: "here"})
	}, is(provider + " thing-late"), "the log does not know it"},
	{check.RuleRuntimes, "a thing lives beside that of its lease", func(w *whole) {
		w.Ledgers[0].Class = check.ClassListable
		at := w.entry(check.OpCreate, w.living.thing)
		e := w.Ledgers[0].Entries[at]
		e.Thing = "thing-twin"
		w.line(at, e)
	}, is(provider + " thing-twin"), "its lease has"},
	{check.RuleRuntimes, "what a lease holds is not there", func(w *whole) {
		w.cut(w.entry(check.OpCreate, w.living.thing))
	}, leaseOf(living), "which is not there"},
	{check.RuleRuntimes, "what a lease keeps is not there", func(w *whole) {
		w.cut(w.entry(check.OpCreate, w.keeping.thing))
	}, leaseOf(keeping), "which is not there"},
	{check.RuleRuntimes, "a leak is cleared and lives", func(w *whole) {
		w.cut(w.entry(check.OpDestroy, w.leaked))
	}, func(w *whole) string { return provider + " " + w.leaked }, "on no list"},
}

var projectionPlants = []plant{
	{check.RuleProjections, "a row says something else", func(w *whole) {
		row := &w.table("leases").Rows[0]
		row.Data = []byte(strings.Replace(string(row.Data), `"run"`, `"ran"`, 1))
	}, func(w *whole) string { return "leases lease-" + w.released.id.String() }, "its fold is"},
	{check.RuleProjections, "a row is behind", func(w *whole) { w.table("leases").Rows[0].Version-- }, is("leases lease-"), "its fold at"},
	{check.RuleProjections, "a row is missing", func(w *whole) { m := w.table("leases"); m.Rows = m.Rows[1:] }, is("leases lease-"), "it has no row"},
	{check.RuleProjections, "a row is too many", func(w *whole) {
		m := w.table("active_leases")
		row := m.Rows[0]
		row.Stream = eventstore.StreamOf("lease", w.released.id.UUID)
		m.Rows = append(m.Rows, row)
	}, func(w *whole) string { return "active_leases lease-" + w.released.id.String() }, "the log has none"},
	{check.RuleProjections, "a row is there twice", func(w *whole) { m := w.table("leases"); m.Rows = append(m.Rows, m.Rows[0]) }, is("leases lease-"), "two rows"},
	{check.RuleProjections, "a row cannot be read", func(w *whole) { w.table("leases").Rows[0].Data = []byte(`[]`) }, is("leases lease-"), "cannot be read"},
	{check.RuleProjections, "a read model has more than the log", func(w *whole) { w.table("leases").Position += 10 }, is("leases"), "the log ends at"},
	{check.RuleProjections, "a read model has a revision that nobody knows", func(w *whole) { w.table("leases").Revision = 99 }, is("leases v99"), "no such read model"},
	{check.RuleProjections, "an event of a read model cannot be folded", func(w *whole) { w.Log[w.lease(w.released, "LeaseGranted")].Payload = []byte(`[]`) }, is("leases lease-"), "cannot be folded"},
}

var endPlants = []plant{
	{check.RuleEnds, "a lease ends twice", func(w *whole) {
		w.insert(w.lease(w.released, "LeaseReleased"), uuid.Nil, on("lease", w.released.id.UUID, lease.Expired{}))
	}, leaseOf(released), "ends twice"},
	{check.RuleEnds, "a lease is renewed after its end", func(w *whole) {
		w.insert(w.lease(w.timedOut, "LeaseFailed"), uuid.Nil, on("lease", w.timedOut.id.UUID, lease.Renewed{}))
	}, leaseOf(timedOut), "lives on after its end"},
	{check.RuleEnds, "a lease is renewed while it is taken down", func(w *whole) {
		w.insert(w.lease(w.released, "LeaseReleaseRequested"), uuid.Nil, on("lease", w.released.id.UUID, lease.Renewed{ExpiresAt: w.Limits.End}))
	}, leaseOf(released), "after it was to be released"},
	{check.RuleEnds, "a lease begins with its grant", func(w *whole) { w.drop(w.lease(w.released, "LeaseRequested")) }, leaseOf(released), "does not begin with a request"},
	{check.RuleEnds, "a lease that was released never ends", func(w *whole) {
		w.drop(w.lease(w.resumed, "LeaseReleased"))
		w.insert(w.runtime(w.resumed, "RuntimeDestroyed"), uuid.Nil, on("lease", w.resumed.id.UUID, lease.ReleaseFailed{Attempt: 1}))
	}, leaseOf(resumed), "has not ended"},
	{check.RuleEnds, "a teardown is still open", func(w *whole) { w.drop(w.lease(w.resumed, "LeaseReleased")) }, leaseOf(resumed), "a teardown is still open"},
	{check.RuleEnds, "an attempt is still open", func(w *whole) { w.drop(w.lease(w.living, "LeaseProvisioned")) }, leaseOf(living), "an attempt is still open"},
	{check.RuleEnds, "a granted lease comes to nothing", func(w *whole) {
		w.drop(w.lease(w.living, "LeaseProvisioned"), w.lease(w.living, "LeaseProvisioningStarted"))
	}, leaseOf(living), "come to nothing"},
	{check.RuleEnds, "what an ended lease left is not taken down", func(w *whole) {
		w.insert(w.lease(w.keeping, "LeaseRetained"), uuid.Nil, on("lease", w.keeping.id.UUID, lease.RetentionEnded{Reason: lease.RetentionReleased}))
	}, leaseOf(keeping), "is not taken down"},
	{check.RuleEnds, "a command never ends", func(w *whole) {
		w.drop(w.execution("ExecEnded"))
	}, ran, "has not ended"},
	{check.RuleEnds, "a probe is still open", func(w *whole) {
		w.insert(3, uuid.Nil, on(probe.Category, other, probe.Claimed{}))
	}, is("probe-" + other.String()), "still open"},
}

var forkPlants = []plant{
	{check.RuleForks, "a lease is provisioned while the log is forked", func(w *whole) {
		w.insert(w.find(eventstore.StreamOf(epoch.Category, epoch.ID), "LogForked", 0), uuid.Nil, on("lease", w.resumed.id.UUID, lease.ReleaseStarted{Attempt: 1}))
	}, leaseOf(resumed), "while the log is forked"},
	{check.RuleForks, "a leak is destroyed while the log is forked", func(w *whole) {
		w.insert(w.find(eventstore.StreamOf(epoch.Category, epoch.ID), "LogForked", 0), uuid.Nil, on(leak.Category, other, leak.DestroyIntended{}))
	}, is("leak-" + other.String()), "while the log is forked"},
	{check.RuleForks, "the log is never adopted and driven", func(w *whole) { w.drop(w.find(eventstore.StreamOf(epoch.Category, epoch.ID), "LogAdopted", 0)) }, leaseOf(keeping), "while the log is forked"},
	{check.RuleForks, "a thing is destroyed while the log is forked", func(w *whole) {
		e := &w.Ledgers[0].Entries[w.entry(check.OpDestroy, w.resumed.thing)]
		e.At = w.Log[w.find(eventstore.StreamOf(epoch.Category, epoch.ID), "LogForked", 0)].RecordedAt.Add(30 * time.Second)
	}, thingOf(resumed), "while the log is forked"},
	{check.RuleForks, "a command is started while the log is forked", func(w *whole) {
		at := w.entry(check.OpHold, w.resumed.thing)
		w.line(at, check.Entry{Op: check.OpExec, Thing: w.resumed.thing, Exec: other, At: w.Log[w.find(eventstore.StreamOf(epoch.Category, epoch.ID), "LogForked", 0)].RecordedAt.Add(30 * time.Second)})
	}, thingOf(resumed), "while the log is forked"},
	{check.RuleForks, "a clone drives", func(w *whole) {
		c := &w.Clones[0]
		r := w.Log[w.lease(w.living, "LeaseProvisioningStarted")]
		r.AppendID = other
		c.Log = append(slices.Clone(c.Log), r)
	}, func(w *whole) string { return "copy lease-" + w.living.id.String() }, "a clone drives"},
	{check.RuleForks, "a clone acts outside", func(w *whole) {
		w.Clones[0].Entries = []check.Entry{w.Ledgers[0].Entries[0]}
	}, func(w *whole) string { return "copy " + w.released.thing }, "a clone acts outside"},
}

var execPlants = []plant{
	{check.RuleExecs, "a command ends twice", func(w *whole) {
		w.insert(w.execution("ExecEnded"), uuid.Nil, on(execution.Category, w.exec.UUID, execution.Ended{End: execution.EndUnknown}))
	}, ran, "ExecEnded is in its stream twice"},
	{check.RuleExecs, "a command is claimed twice", func(w *whole) {
		w.insert(w.execution("ExecStarted"), uuid.Nil, on(execution.Category, w.exec.UUID, execution.Claimed{}))
	}, ran, "ExecClaimed is in its stream twice"},
	{check.RuleExecs, "a command is claimed that nobody asked for", func(w *whole) {
		w.drop(w.execution("ExecRequested"))
	}, ran, "nobody asked"},
	{check.RuleExecs, "a command starts without a claim", func(w *whole) {
		w.drop(w.execution("ExecClaimed"))
	}, ran, "was not claimed"},
	{check.RuleExecs, "a command ran to an end without a claim", func(w *whole) {
		w.drop(w.execution("ExecClaimed"))
		w.drop(w.execution("ExecStarted"))
	}, ran, "ran to an end"},
	{check.RuleExecs, "a command is claimed after its end", func(w *whole) {
		w.drop(w.execution("ExecClaimed"), w.execution("ExecStarted"))
		w.insert(w.execution("ExecEnded"), uuid.Nil, on(execution.Category, w.exec.UUID, execution.Claimed{}))
	}, ran, "claimed after its end"},
	{check.RuleExecs, "a command starts after its end", func(w *whole) {
		w.drop(w.execution("ExecStarted"))
		w.insert(w.execution("ExecEnded"), uuid.Nil, on(execution.Category, w.exec.UUID, execution.Started{PID: 1}))
	}, ran, "started after its end"},
	{check.RuleExecs, "a command that exited has no code", func(w *whole) {
		edit(w, w.execution("ExecEnded"), func(e *execution.Ended) { e.ExitCode = nil })
	}, ran, "exit code belongs"},
	{check.RuleExecs, "a command is of a lease that does not exist", func(w *whole) {
		edit(w, w.execution("ExecRequested"), func(e *execution.Requested) { e.Lease.UUID = other })
	}, ran, "does not exist"},
	{check.RuleExecs, "a command is asked for in a lease that is not active", func(w *whole) {
		edit(w, w.execution("ExecRequested"), func(e *execution.Requested) { e.Lease = w.living.id })
	}, ran, "was not active"},
	{check.RuleExecs, "a command is claimed after its lease was to be released", func(w *whole) {
		place := w.lease(w.released, "LeaseReleaseRequested")
		w.insert(place, uuid.Nil, on(execution.Category, other, execution.Requested{Lease: w.released.id}), on(execution.Category, other, execution.Claimed{}))
	}, is(execution.Category + "-" + other.String()), "its lease was over"},
	{check.RuleExecs, "a client is told another exit code", func(w *whole) {
		code := 4
		w.call(func(c check.Call) bool { return c.Answer.End != "" }).Answer.ExitCode = &code
	}, ran, "was told exited 4"},
	{check.RuleExecs, "a client is told an end that the log does not have", func(w *whole) {
		w.drop(w.execution("ExecEnded"))
	}, ran, "the log has no end"},
	{check.RuleExecs, "a provider ran a command that the log does not know", func(w *whole) {
		w.line(w.entry(check.OpExec, w.released.thing), check.Entry{Op: check.OpExec, Thing: w.released.thing, Exec: other})
	}, is(execution.Category + "-" + other.String()), "knows nothing of it"},
	{check.RuleExecs, "a provider ran a command that nobody had claimed", func(w *whole) {
		w.drop(w.execution("ExecClaimed"))
	}, ran, "nobody had claimed it"},
	{check.RuleExecs, "a provider ran a command for another lease", func(w *whole) {
		w.Ledgers[0].Entries[w.entry(check.OpExec, w.released.thing)].Lease = w.resumed.id.UUID
	}, ran, "it is of lease"},
	{check.RuleExecs, "a provider ran a command that was refused", func(w *whole) {
		edit(w, w.execution("ExecEnded"), func(e *execution.Ended) {
			*e = execution.Ended{End: execution.EndStartFailed, Stage: "lease", Code: "lease_ended"}
		})
	}, ran, "refused since its lease was over"},
}

// environment is the one of the story.
func (w *whole) environment() uuid.UUID {
	id, err := eventstore.Stream(admissionOf(w)).ID()
	require.NoError(w.t, err)
	return id
}

// renewal is the request of a lease's first renewal.
func (w *whole) renewal(h *held) uuid.UUID {
	return w.Log[w.lease(h, "LeaseRenewed")].By.Request
}

func (w *whole) fence(h *held) int64 {
	r := w.Log[w.lease(h, "LeaseGranted")]
	return r.Epoch<<40 + r.Position
}

// without takes a stream out of the log.
func (w *whole) without(stream eventstore.Stream) {
	var places []int
	for i, r := range w.Log {
		if r.Stream == stream {
			places = append(places, i)
		}
	}
	w.drop(places...)
}

// cut takes a line out of the ledger.
func (w *whole) cut(at int) {
	l := &w.Ledgers[0]
	l.Entries = slices.Delete(l.Entries, at, at+1)
}

func TestEveryPlantedViolationIsFound(t *testing.T) {
	t.Parallel()
	for _, p := range plants {
		t.Run(fmt.Sprintf("%s/%s", p.rule, p.breaks), func(t *testing.T) {
			t.Parallel()
			w := newWhole(t)
			p.by(w)
			found := check.Check(w.History)
			matches := func(v check.Violation) bool {
				return v.Rule == p.rule && strings.HasPrefix(v.Subject, p.subject(w)) && strings.Contains(v.Detail, p.says)
			}
			if !slices.ContainsFunc(found.Violations, matches) {
				t.Errorf("not found: %s about %s that says %q", p.rule, p.subject(w), p.says)
				for _, v := range found.Violations {
					t.Log(v)
				}
			}
		})
	}
}

// What could not be resumed is kept, and held to be there like what was used before.
func TestWhatIsKeptForWantOfAResumeIsLookedAfter(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	h := s.gaveUp()
	s.pass(time.Second)
	s.ledger(check.Entry{Op: check.OpDestroy, Thing: h.thing, Runtime: h.runtime.UUID})
	s.pass(time.Second)
	var details []string
	for _, v := range check.Check(s.end()).Violations {
		require.Equal(t, check.RuleRuntimes, v.Rule)
		details = append(details, v.Detail)
	}
	require.Len(t, details, 2)
	require.Contains(t, details[0], "while lease-"+h.id.String()+" has it")
	require.Contains(t, details[1], "which is not there")
}

func TestNoRuleLacksAPlant(t *testing.T) {
	t.Parallel()
	have := map[check.Rule]int{}
	for _, p := range plants {
		have[p.rule]++
	}
	for _, r := range check.Rules() {
		t.Logf("%-20s %d plants", r, have[r])
		require.GreaterOrEqual(t, have[r], 3, "rule %s", r)
	}
	require.Len(t, have, len(check.Rules()), "a plant is of no rule")
}

var claimPlants = []plant{
	{check.RuleClaims, "the result of an older attempt counts", func(w *whole) {
		edit(w, w.lease(w.living, "LeaseProvisioned"), func(e *lease.Provisioned) { e.Attempt-- })
	}, leaseOf(living), "while attempt"},
	{check.RuleClaims, "a result comes from another worker", func(w *whole) {
		w.Log[w.lease(w.living, "LeaseProvisioned")].By.Actor = domain.PrincipalID{UUID: other}
		again(w.t, &w.History)
	}, leaseOf(living), "has it"},
	{check.RuleClaims, "a result of what nobody claimed", func(w *whole) { w.drop(w.lease(w.living, "LeaseProvisioningStarted")) }, leaseOf(living), "nobody claimed"},
}

package supervisor_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/leak"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/runtime"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/fake"
	"github.com/tenure-dev/tenure/drivers/supervisor"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/eventstore/memory"
)

// appears makes a thing at the provider that no call of an engine makes, such as a create that the network delayed.
func (w *world) appears(req drivers.AcquireRequest) {
	w.Helper()
	_, err := w.driver.Acquire(w.Context(), req)
	require.NoError(w, err)
}

// ended is the runtime of a lease that was given back.
func (w *world) ended() domain.RuntimeID {
	w.Helper()
	id := w.acquire()
	w.isLease(lease.StatusActive, id)
	w.release(id)
	return w.isLease(lease.StatusReleased, id).Runtime
}

// label is what an engine of this log writes on a runtime.
func (w *world) label(id domain.RuntimeID) drivers.AcquireRequest {
	return drivers.AcquireRequest{RuntimeID: id.String(), Installation: w.installation.String(), Epoch: memory.Epoch}
}

// everything lets two processes look at the same place.
func everything(drivers.Target) bool { return true }

func TestWhatIsMadeAfterItsLeaseIsOverIsALeakAtOnceAndDestroyedAfterTwoLooks(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{ReapInterval: time.Minute})
		id := w.ended()
		w.appears(w.label(id))
		w.pass(70 * time.Second)
		require.Len(t, w.driver.Live(), 1, "one look is not enough")
		l := w.leak(id)
		require.Equal(t, leak.StatusOpen, l.Status)
		require.Equal(t, leak.WhyLate, l.Found.Why)
		require.Equal(t, w.company, l.Found.Company)
		w.pass(70 * time.Second)
		require.Empty(t, w.driver.Live())
		l = w.leak(id)
		require.Equal(t, leak.StatusCleared, l.Status)
		require.Equal(t, leak.ProofDestroyed, l.Cleared.Proof)
		require.Equal(t, []string{"LeakFound", "LeakDestroyIntended", "LeakCleared"}, w.names(commands.Leaks.Stream(leak.OfRuntime(id).UUID)))

		w.appears(w.label(id))
		w.pass(4 * time.Minute)
		require.Empty(t, w.driver.Live(), "also if it comes back")
	})
}

func TestWhatTheLogKnowsNothingOfIsALeakOfNobody(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{})
		unknown := domain.RuntimeID{UUID: uuid.New()}
		w.appears(w.label(unknown))
		odd := w.label(unknown)
		odd.RuntimeID = "no-id-at-all"
		w.appears(odd)
		w.pass(70 * time.Second)
		require.Equal(t, leak.WhyUnknown, w.leak(unknown).Found.Why)
		require.True(t, w.leak(unknown).Found.Company.IsZero())
		require.Len(t, w.driver.Live(), 2)
		w.pass(70 * time.Second)
		require.Empty(t, w.driver.Live())
		require.Equal(t, leak.StatusCleared, w.leak(unknown).Status)
	})
}

func TestWhatIsAnothersOrOfALaterEpochIsLeftAlone(t *testing.T) {
	looks := make(chan supervisor.Look, 100)
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		w.looked = func(l supervisor.Look) { looks <- l }
		w.start(supervisor.Options{})
		foreign, later := w.label(domain.RuntimeID{UUID: uuid.New()}), w.label(domain.RuntimeID{UUID: uuid.New()})
		foreign.Installation, later.Epoch = uuid.NewString(), memory.Epoch+1
		w.appears(foreign)
		w.appears(later)
		w.pass(10 * time.Minute)
		require.Len(t, w.driver.Live(), 2)
		require.Equal(t, supervisor.Look{Driver: "fake", Provider: "fake", Listed: 1, Later: 1}, <-looks)
		require.Zero(t, w.events("LeakFound"))
	})
}

func TestAfterAForkOfTheLogTheReaperOnlyReports(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		w.forked.Store(true)
		w.start(supervisor.Options{})
		unknown := domain.RuntimeID{UUID: uuid.New()}
		w.appears(w.label(unknown))
		w.pass(10 * time.Minute)
		require.Len(t, w.driver.Live(), 1)
		require.Equal(t, leak.StatusOpen, w.leak(unknown).Status)
		w.forked.Store(false)
		w.pass(2 * time.Minute)
		require.Empty(t, w.driver.Live())
	})
}

func TestTheReaperLeavesAloneWhatALeaseGetsBetweenTheListAndTheLog(t *testing.T) {
	var before, after atomic.Pointer[func()]
	run := func(f *atomic.Pointer[func()]) {
		if do := f.Swap(nil); do != nil {
			(*do)()
		}
	}
	inWorld(t, fake.Options{Hooks: fake.Hooks{
		BeforeList: func(context.Context) error { run(&before); return nil },
		AfterList:  func(context.Context) { run(&after) },
	}}, func(t *testing.T, w *world) {
		w.reaps = everything
		first := w.start(supervisor.Options{ReapInterval: time.Minute})
		other := w.start(supervisor.Options{ReapInterval: 24 * time.Hour})
		other.deaf.Store(true)
		var made, given domain.LeaseID
		// Whatever the reaper knew before, it is told by the list of a runtime that is a lease's by now, or was.
		makeOne := func() { made = w.acquire(); <-time.After(time.Second) }
		before.Store(&makeOne)
		w.pass(70 * time.Second)
		w.isLease(lease.StatusActive, made)
		given = w.acquire(ownedBy(first)) // the other one, which hears nothing, would come to it by its sweep only
		w.isLease(lease.StatusActive, given)
		giveBack := func() { w.release(given); <-time.After(time.Second) }
		after.Store(&giveBack)
		w.pass(70 * time.Second)
		w.isLease(lease.StatusReleased, given)
		w.pass(10 * time.Minute)
		w.isLease(lease.StatusActive, made)
		require.Len(t, w.driver.Live(), 1)
		require.Zero(t, w.events("LeakFound"), "not for a moment")
	})
}

func TestNothingThatALeaseHasIsEverDestroyedByManyLooksOfTwoProcesses(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		opts := supervisor.Options{ReapInterval: time.Second}
		w.reaps = everything
		w.start(opts)
		w.start(opts)
		held := []domain.LeaseID{w.acquire(), w.acquire(), w.acquire()}
		late := w.ended()
		unknown := domain.RuntimeID{UUID: uuid.New()}
		for range 20 {
			w.appears(w.label(late))
			w.appears(w.label(unknown))
			w.release(w.acquire())
			w.pass(3 * time.Second)
		}
		w.pass(5 * time.Second)
		for _, id := range held {
			w.isLease(lease.StatusActive, id)
		}
		require.Len(t, w.driver.Live(), len(held))
		require.Equal(t, leak.StatusCleared, w.leak(late).Status)
		require.Equal(t, leak.StatusCleared, w.leak(unknown).Status)
	})
}

func TestAForcedLeaseIsProvenCleanOnceItsRuntimeIsDestroyed(t *testing.T) {
	var p stuckRelease
	inWorld(t, fake.Options{Hooks: p.hooks()}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{})
		id, _ := w.pending(0)
		w.force(id)
		w.pass(5 * time.Minute)
		l := w.isLease(lease.StatusReleased, id)
		require.Len(t, w.driver.Live(), 1)
		require.Equal(t, "busy", w.leak(l.Runtime).FailureCode, "a person reads why it is still there")
		require.Equal(t, 1, w.count(commands.Leaks.Stream(leak.OfRuntime(l.Runtime).UUID), "LeakDestroyFailed"), "once")
		p.mended.Store(true)
		w.pass(2 * time.Minute)
		require.Empty(t, w.driver.Live())
		require.Equal(t, leak.StatusCleared, w.leak(l.Runtime).Status)
		require.Equal(t, lease.CleanupSuccess, w.isLease(lease.StatusReleased, id).CleanupStatus())
		require.Equal(t, runtime.StatusDestroyed, w.runtime(l.Runtime).Status)
	})
}

func TestAStuckLeaseEndsOnceTwoListsDoNotHaveItsRuntime(t *testing.T) {
	var p stuckRelease
	inWorld(t, fake.Options{Hooks: p.hooks()}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{CleanupAttempts: 2})
		id, l := w.pending(5 * time.Minute)
		require.True(t, l.Quarantined)
		require.Len(t, w.driver.Live(), 1)

		w.driver.Lose(l.Runtime.String()) // somebody removes it at the provider
		w.pass(3 * time.Minute)
		require.Equal(t, lease.CleanupSuccess, w.isLease(lease.StatusReleased, id).CleanupStatus())
		require.Equal(t, runtime.ProofAbsent, w.runtime(l.Runtime).Proof)
		require.Equal(t, leak.ProofAbsent, w.leak(l.Runtime).Cleared.Proof)
	})
}

// A13: what waits for a provider that was away goes on as soon as it answers, without a person.
func TestAProviderThatIsBackIsAskedAtOnceForWhatIsInQuarantine(t *testing.T) {
	var p stuckRelease
	hooks := p.hooks()
	hooks.BeforeList = func(context.Context) error {
		if p.mended.Load() {
			return nil
		}
		return errors.New("away")
	}
	inWorld(t, fake.Options{Hooks: hooks}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{CleanupAttempts: 2})
		id, l := w.pending(5 * time.Minute)
		require.True(t, l.Quarantined)
		p.mended.Store(true)
		w.pass(2 * time.Minute)
		w.isLease(lease.StatusReleased, id)
		require.Empty(t, w.driver.Live())
	})
}

func TestALeakThatIsGoneByItselfIsClearedByTwoLists(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		w.forked.Store(true)
		w.start(supervisor.Options{})
		unknown := domain.RuntimeID{UUID: uuid.New()}
		w.appears(w.label(unknown))
		w.pass(70 * time.Second)
		require.Equal(t, leak.StatusOpen, w.leak(unknown).Status)
		w.driver.Lose(unknown.String())
		w.pass(70 * time.Second)
		require.Equal(t, leak.StatusOpen, w.leak(unknown).Status)
		w.pass(70 * time.Second)
		require.Equal(t, leak.ProofAbsent, w.leak(unknown).Cleared.Proof)
	})
}

func TestThePlaceOfAnEnvironmentThatWasEditedIsLookedAtForADay(t *testing.T) {
	var looks atomic.Int64
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		w.looked = func(supervisor.Look) { looks.Add(1) }
		w.start(supervisor.Options{ReapInterval: time.Minute})
		w.pass(70 * time.Second)
		require.Equal(t, int64(1), looks.Load())
		w.image(w.environment, "other")
		w.pass(70 * time.Second)
		require.Equal(t, int64(3), looks.Load(), "both places")
		w.pass(25 * time.Hour)
		before := looks.Load()
		w.pass(10 * time.Minute)
		require.LessOrEqual(t, looks.Load()-before, int64(11), "one place, once a minute")
	})
}

func TestAProcessLooksOnlyAtWhatIsItsOwn(t *testing.T) {
	var looks atomic.Int64
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		w.looked = func(supervisor.Look) { looks.Add(1) }
		w.reaps = func(target drivers.Target) bool { return target.Driver != "fake" }
		w.start(supervisor.Options{})
		id := w.ended()
		w.appears(w.label(id))
		w.pass(10 * time.Minute)
		require.Zero(t, looks.Load())
		require.Len(t, w.driver.Live(), 1)
	})
}

// What is left at a provider that cannot list is for its leases, and for people.
func TestAProviderThatCannotListIsLeftToItsLeases(t *testing.T) {
	var looks atomic.Int64
	inWorld(t, fake.Options{NoList: true}, func(t *testing.T, w *world) {
		w.looked = func(supervisor.Look) { looks.Add(1) }
		w.start(supervisor.Options{})
		w.ended()
		w.pass(10 * time.Minute)
		require.Zero(t, looks.Load())
	})
}

// pruner is a provider that may have more than one thing under an id.
type pruner struct{ *fake.Driver }

func (p pruner) Prune(_ context.Context, req drivers.PruneRequest) error {
	for _, i := range p.Live() {
		if i.Request.RuntimeID == req.RuntimeID && i.ProviderLeaseID != req.Keep {
			p.LoseOne(i.ProviderLeaseID)
		}
	}
	return nil
}

func TestWhatIsBesideALeasesRuntimeIsDestroyedAndTheRuntimeKept(t *testing.T) {
	inWorld(t, fake.Options{Class: drivers.ClassListable}, func(t *testing.T, w *world) {
		registry, err := drivers.NewRegistry(pruner{w.driver})
		require.NoError(t, err)
		require.NoError(t, w.prepareWith(registry, supervisor.Options{}).Start(t.Context()))
		id := w.acquire()
		l := w.isLease(lease.StatusActive, id)
		w.appears(w.label(l.Runtime))
		require.Len(t, w.driver.Live(), 2)
		w.pass(70 * time.Second)
		require.Len(t, w.driver.Live(), 2)
		require.Equal(t, 1, w.events("LeakFound"))
		w.pass(70 * time.Second)
		live := w.driver.Live()
		require.Len(t, live, 1)
		require.Equal(t, *l.ProviderLeaseID, live[0].ProviderLeaseID)
		w.isLease(lease.StatusActive, id)
		require.Equal(t, 1, w.events("LeakCleared"))
		require.Equal(t, runtime.StatusHeld, w.runtime(l.Runtime).Status)
	})
}

func TestWhatALeaseHoldsIsNeitherListedNorClaimedAsALeak(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{})
		id := w.acquire()
		l := w.isLease(lease.StatusActive, id)
		sighting := commands.Sighting{
			Installation: w.installation, Driver: "fake", Provider: "fake", RuntimeID: l.Runtime.String(), ProviderLeaseID: l.ProviderLeaseID, ListedAt: time.Now(),
		}
		inUse := func(err error) {
			t.Helper()
			var refusal *domain.Refusal
			require.ErrorAs(t, err, &refusal)
			require.Equal(t, "runtime_in_use", refusal.Code)
		}
		_, err := w.client.ListLeak(t.Context(), commands.Caller{}, sighting)
		inUse(err)
		_, err = w.client.ClaimLeak(t.Context(), commands.Caller{}, sighting, domain.WorkerID{UUID: uuid.New()})
		inUse(err)
		_, err = w.client.SettleRuntime(t.Context(), commands.Caller{}, l.Runtime, leak.ProofAbsent)
		inUse(err)
		w.isLease(lease.StatusActive, id)
	})
}

// events counts the events of a name in the whole log.
func (w *world) events(name string) (n int) {
	w.Helper()
	all, err := w.store.ReadAll(w.Context(), 0, 0)
	require.NoError(w, err)
	for _, e := range all {
		if e.Name == name {
			n++
		}
	}
	return n
}

// Each reading of a secret is on record, so a place that needs one is asked seldom.
func TestAPlaceThatNeedsASecretIsAskedEachHalfHour(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		ref := w.secret(hidden)
		w.withSecrets(ref)
		w.start(supervisor.Options{})
		w.pass(10 * time.Minute)
		require.Len(t, w.purposes(ref), 1)
		w.pass(25 * time.Minute)
		require.Len(t, w.purposes(ref), 2)
	})
}

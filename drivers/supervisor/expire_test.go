package supervisor_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/outage"
	"github.com/tenure-dev/tenure/drivers/fake"
	"github.com/tenure-dev/tenure/drivers/supervisor"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
)

// gaps are the events of gaps, in the log.
func (w *world) gaps() (found []outage.RenewalsInterrupted) {
	w.Helper()
	events, err := w.store.ReadStream(w.Context(), commands.Outages.Stream(outage.ID), 0, 0)
	require.NoError(w, err)
	for _, r := range events {
		var e outage.RenewalsInterrupted
		if r.Name == e.EventName() {
			require.NoError(w, json.Unmarshal(r.Payload, &e))
			found = append(found, e)
		}
	}
	return found
}

func (n *node) renew(id domain.LeaseID) error {
	_, err := n.client.RenewLease(n.w.Context(), commands.Caller{}, id, commands.Renewal{})
	return err
}

// expiresIn is how long a lease has, as this process says.
func (n *node) expiresIn(id domain.LeaseID) time.Duration {
	n.w.Helper()
	return time.Until(n.client.EndOf(n.w.lease(id))).Round(time.Second)
}

func TestALeaseIsWarnedOnceBeforeItEndsAndAgainAfterARenewal(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		n := w.start(supervisor.Options{})
		id := w.acquire(lasting(24*time.Hour, time.Hour))
		warned := func() int { return w.count(streamOf(id), "LeaseExpiryWarned") }
		w.pass(55*time.Minute - time.Second)
		require.Zero(t, warned())
		w.pass(3 * time.Second)
		require.Equal(t, 1, warned())
		w.pass(4 * time.Minute)
		require.Equal(t, 1, warned(), "once per deadline")
		require.NoError(t, n.renew(id))
		w.pass(54 * time.Minute)
		require.Equal(t, 1, warned())
		w.pass(2 * time.Minute)
		require.Equal(t, 2, warned())
		w.pass(5 * time.Minute)
		w.isLease(lease.StatusExpired, id)
		require.Equal(t, 2, warned())
	})
}

func TestALeaseThatIsRenewedInTimeIsNeverWarnedUntilItsHardEnd(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		n := w.start(supervisor.Options{})
		id := w.acquire(lasting(3*time.Hour, 10*time.Minute))
		began := time.Now()
		for time.Since(began) < 174*time.Minute {
			w.pass(10 * time.Second)
			require.NoError(t, n.renew(id))
		}
		require.Zero(t, w.count(streamOf(id), "LeaseExpiryWarned"))
		require.LessOrEqual(t, w.count(streamOf(id), "LeaseRenewed"), 175, "one a window of a minute, of a thousand renewals")
		for time.Since(began) < 179*time.Minute {
			w.pass(10 * time.Second)
			require.NoError(t, n.renew(id))
		}
		require.Equal(t, 1, w.count(streamOf(id), "LeaseExpiryWarned"), "the hard end comes however much it is used")
		w.pass(time.Minute + 3*time.Second)
		w.isLease(lease.StatusExpired, id)
	})
}

func TestARunningCommandIsUseAndAProbeIsNot(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{})
		used, probed := w.acquire(lasting(24*time.Hour, time.Hour)), w.acquire(lasting(24*time.Hour, time.Hour))
		w.isLease(lease.StatusActive, used)
		w.exec(used, "sleep")
		for range 6 {
			w.pass(10 * time.Minute)
			l := w.lease(probed)
			_, err := w.client.RequestProbe(t.Context(), commands.Caller{}, commands.Probe{
				Probe: domain.ProbeID{UUID: uuid.New()}, Company: w.company, Environment: w.environment,
				Provider: func(driver string, _ json.RawMessage) string { return driver }, Fields: commands.NoSecretFields,
			})
			require.NoError(t, err)
			require.Equal(t, l.LastUsedAt, w.lease(probed).LastUsedAt)
		}
		w.pass(3 * time.Second)
		w.isLease(lease.StatusExpired, probed)
		w.isLease(lease.StatusActive, used)
		require.Zero(t, w.count(streamOf(used), "LeaseExpiryWarned"))
	})
}

func TestIdleLeasesLiveOnAfterARestartOfEverything(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		n := w.start(supervisor.Options{})
		idle, hard := w.acquire(lasting(24*time.Hour, 10*time.Minute)), w.acquire(lasting(12*time.Minute, time.Hour))
		w.pass(8 * time.Minute)
		n.stop()
		w.pass(5 * time.Minute)
		n = w.start(supervisor.Options{}, n.process.Node)
		w.pass(2 * time.Second)
		w.isLease(lease.StatusActive, idle)
		w.isLease(lease.StatusExpired, hard)
		require.Len(t, w.gaps(), 1)
		require.InDelta(t, (5 * time.Minute).Milliseconds(), w.gaps()[0].ShiftMs, 1500)
		require.InDelta(t, 118*time.Second, n.expiresIn(idle), float64(2*time.Second))
		w.pass(115 * time.Second)
		w.isLease(lease.StatusActive, idle)
		w.pass(6 * time.Second)
		w.isLease(lease.StatusExpired, idle)
		require.Len(t, w.gaps(), 1)
	})
}

func TestIdleLeasesLiveOnAfterAnOutageOfTheDatabaseAndEveryProcessSaysTheSame(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		nodes := []*node{w.start(supervisor.Options{}), w.start(supervisor.Options{}), w.start(supervisor.Options{})}
		before, within := w.acquire(lasting(24*time.Hour, 10*time.Minute)), w.acquire(lasting(24*time.Hour, 90*time.Second))
		w.pass(time.Minute)
		for _, n := range nodes {
			n.link.down.Store(true)
		}
		w.pass(5 * time.Minute)
		for _, n := range nodes {
			n.link.down.Store(false)
		}
		// The first that reaches the log again is a renewal, before anybody had the time to look at the row.
		require.NoError(t, nodes[2].renew(within), "it had half a minute left when the database went away")
		w.pass(3 * time.Second)
		require.Len(t, w.gaps(), 1, "one event, whoever finds it")
		for _, n := range nodes {
			require.Equal(t, nodes[0].expiresIn(before), n.expiresIn(before))
			require.InDelta(t, 9*time.Minute, n.expiresIn(before), float64(5*time.Second))
		}
		w.pass(80 * time.Second)
		w.isLease(lease.StatusActive, within)
		w.pass(10 * time.Second)
		w.isLease(lease.StatusExpired, within)
	})
}

func TestAShortOutageIsNoGapAndALongOneIsCapped(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		n := w.start(supervisor.Options{GapCap: 30 * time.Minute})
		id := w.acquire(lasting(24*time.Hour, 10*time.Minute))
		w.pass(time.Minute)
		away := func(d time.Duration) {
			n.link.down.Store(true)
			w.pass(d)
			n.link.down.Store(false)
			w.pass(2 * time.Second)
		}
		away(8 * time.Second)
		require.Empty(t, w.gaps())
		away(3 * time.Hour)
		require.Len(t, w.gaps(), 1)
		require.Equal(t, (30 * time.Minute).Milliseconds(), w.gaps()[0].ShiftMs)
		w.pass(2 * time.Second)
		w.isLease(lease.StatusExpired, id)
	})
}

// A process that drives but serves nobody ends no idle lease while nobody could renew it, up to the cap.
func TestAWorkerAloneEndsNoIdleLeaseBeforeTheCap(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		serving := w.start(supervisor.Options{})
		w.silent = true
		w.start(supervisor.Options{})
		id, hard := w.acquire(lasting(24*time.Hour, 10*time.Minute)), w.acquire(lasting(20*time.Minute, time.Hour))
		w.isLease(lease.StatusActive, id)
		serving.stop()
		w.pass(30 * time.Minute)
		w.isLease(lease.StatusActive, id)
		w.isLease(lease.StatusExpired, hard)
		w.pass(39 * time.Minute)
		w.isLease(lease.StatusActive, id)
		w.pass(2 * time.Minute)
		w.isLease(lease.StatusExpired, id)
		require.Empty(t, w.gaps(), "it goes on, and so has no end to record")
	})
}

func TestOneWhoWasAwayAloneEndsNobodysLease(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		n, other := w.start(supervisor.Options{}), w.start(supervisor.Options{})
		id := w.acquire(lasting(24*time.Hour, 10*time.Minute))
		w.isLease(lease.StatusActive, id)
		n.link.down.Store(true)
		for range 30 {
			w.pass(time.Minute)
			require.NoError(t, other.renew(id))
		}
		n.link.down.Store(false)
		w.pass(5 * time.Second)
		w.isLease(lease.StatusActive, id)
		require.Empty(t, w.gaps(), "others could renew")
	})
}

// The database's clock is set an hour ahead, and is in doubt until it has agreed with itself for half a minute.
func TestNothingEndsWhileTheDatabasesClockIsInDoubt(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		n := w.start(supervisor.Options{})
		id := w.acquire(lasting(30*time.Minute, 30*time.Minute))
		w.isLease(lease.StatusActive, id)
		w.pass(time.Minute)
		w.store.Clock().Observe(time.Now().Add(time.Hour))
		w.pass(20 * time.Second)
		w.isLease(lease.StatusActive, id)
		require.ErrorIs(t, n.renew(id), commands.ErrTimeUnsure, "its hard end has come by a clock that may be wrong")
		o, err := n.client.ExpireLease(t.Context(), commands.Caller{}, id)
		require.NoError(t, err)
		require.False(t, o.Changed, "whoever asks")
		require.Contains(t, n.logs.String(), "the database's clock jumped")
		// It was a mistake.
		w.store.Clock().Observe(time.Now())
		w.pass(3 * time.Second)
		w.isLease(lease.StatusActive, id)
		require.NoError(t, n.renew(id))
		// Or it was none.
		w.store.Clock().Observe(time.Now().Add(time.Hour))
		w.pass(29 * time.Second)
		w.isLease(lease.StatusActive, id)
		w.pass(5 * time.Second)
		w.isLease(lease.StatusExpired, id)
	})
}

// Idle deadlines skip what the clock skipped: to the pulse it is a time in which nobody could renew.
func TestAClockThatIsSetAheadTakesNoIdleTimeAway(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		n := w.start(supervisor.Options{})
		id := w.acquire(lasting(24*time.Hour, 30*time.Minute))
		w.isLease(lease.StatusActive, id)
		w.pass(10 * time.Minute)
		w.store.Clock().Observe(time.Now().Add(time.Hour))
		w.pass(time.Minute)
		w.isLease(lease.StatusActive, id)
		require.False(t, n.client.Clock().Unsure)
		w.pass(18 * time.Minute)
		w.isLease(lease.StatusActive, id)
		w.pass(2 * time.Minute)
		w.isLease(lease.StatusExpired, id)
	})
}

func TestAnOperatorsWordOnTheClockReachesEveryProcess(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		n, other := w.start(supervisor.Options{}), w.start(supervisor.Options{})
		id := w.acquire(lasting(30*time.Minute, 30*time.Minute))
		w.isLease(lease.StatusActive, id)
		w.pass(time.Minute)
		w.store.Clock().Observe(time.Now().Add(time.Hour))
		w.pass(3 * time.Second)
		w.isLease(lease.StatusActive, id)
		_, err := n.client.ConfirmClock(t.Context(), commands.Caller{}, "it was set")
		require.NoError(t, err)
		require.False(t, n.client.Clock().Unsure)
		w.pass(time.Second)
		require.False(t, other.client.Clock().Unsure)
		w.pass(2 * time.Second)
		w.isLease(lease.StatusExpired, id)
		// One that starts later heeds its own eyes, not a word from before.
		third := w.start(supervisor.Options{})
		w.pass(time.Second)
		w.store.Clock().Observe(time.Now().Add(3 * time.Hour))
		w.pass(3 * time.Second)
		require.True(t, third.client.Clock().Unsure)
	})
}

// The clock is set back by an hour: the log's time stands still, nothing ends early, and what was to end does so once the
// clock has come there again.
func TestAClockThatIsSetBackEndsNothingEarly(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		n := w.start(supervisor.Options{})
		id := w.acquire(lasting(24*time.Hour, 30*time.Minute))
		w.isLease(lease.StatusActive, id)
		w.pass(10 * time.Minute)
		w.store.Clock().Observe(time.Now().Add(-time.Hour))
		w.pass(40 * time.Minute)
		w.isLease(lease.StatusActive, id)
		require.False(t, n.client.Clock().Unsure)
		require.NoError(t, n.renew(id))
		w.pass(38 * time.Minute)
		w.isLease(lease.StatusActive, id)
		w.pass(4 * time.Minute)
		w.isLease(lease.StatusExpired, id)
		events, err := w.store.ReadAll(t.Context(), 0, 0)
		require.NoError(t, err)
		for i := 1; i < len(events); i++ {
			require.False(t, events[i].RecordedAt.Before(events[i-1].RecordedAt))
		}
		require.Empty(t, w.gaps())
	})
}

func TestEndsAreHandedOutAtARate(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		n := w.start(supervisor.Options{ExpiryRate: 20, SweepInterval: 100 * time.Millisecond})
		const leases = 200
		var ids []domain.LeaseID
		for range leases {
			ids = append(ids, w.acquire(lasting(24*time.Hour, time.Hour)))
		}
		w.settled()
		w.pass(54 * time.Minute)
		asked := func(name string) (n int) {
			for _, id := range ids {
				n += w.count(streamOf(id), name)
			}
			return n
		}
		w.pass(time.Minute) // the first of the warnings
		for range 4 {
			before := asked("LeaseExpiryWarned")
			w.pass(time.Second)
			require.LessOrEqual(t, asked("LeaseExpiryWarned")-before, 20)
		}
		w.pass(20 * time.Second)
		require.Equal(t, leases, asked("LeaseExpiryWarned"))
		w.pass(5*time.Minute - 25*time.Second)
		before := asked("LeaseReleaseRequested")
		require.LessOrEqual(t, before, 40)
		w.pass(time.Second)
		require.LessOrEqual(t, asked("LeaseReleaseRequested")-before, 20)
		for _, id := range ids[:3] {
			_ = n.renew(id)
		}
		w.pass(20 * time.Second)
		require.Equal(t, leases, asked("LeaseReleaseRequested"))
	})
}

func TestEndsGoBehindRenewals(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		n := w.start(supervisor.Options{})
		id := w.acquire(lasting(24*time.Hour, time.Hour))
		w.isLease(lease.StatusActive, id)
		lanes := map[string]eventstore.Lane{}
		note := func(a eventstore.Append) { lanes[a.Events[0].Name] = a.Lane }
		n.link.after.Store(&note)
		w.pass(2 * time.Minute)
		require.NoError(t, n.renew(id))
		w.pass(2 * time.Hour)
		w.isLease(lease.StatusExpired, id)
		require.Equal(t, eventstore.LaneControl, lanes["LeaseRenewed"])
		require.Equal(t, eventstore.LaneExpiry, lanes["LeaseExpiryWarned"])
		require.Equal(t, eventstore.LaneExpiry, lanes["LeaseReleaseRequested"])
	})
}

// A renewal that was on its way when the lease ended is refused, and says that the lease has ended.
func TestARenewalThatLosesTheRaceToTheEndIsRefused(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		n := w.start(supervisor.Options{SweepInterval: 24 * time.Hour})
		id := w.acquire(lasting(24*time.Hour, time.Hour))
		w.isLease(lease.StatusActive, id)
		w.pass(time.Hour - time.Second)
		slow := slowly{n.link.Store, 2 * time.Second}
		other := commands.New(eventstore.NewLedger(slow), w.vault)
		_, err := other.RenewLease(t.Context(), commands.Caller{}, id, commands.Renewal{})
		var r *domain.Refusal
		require.ErrorAs(t, err, &r)
		require.Equal(t, "lease_ended", r.Code)
		require.Equal(t, domain.KindGone, r.Kind)
		require.Zero(t, w.count(streamOf(id), "LeaseRenewed"))
		_, err = other.RequestExec(t.Context(), commands.Caller{}, commands.StartExec{Exec: domain.ExecID{UUID: uuid.New()}, Lease: id, Argv: []string{"true"}})
		require.ErrorAs(t, err, &r)
		require.Equal(t, "lease_ended", r.Code)
	})
}

// A command that was asked for just before the end and reaches the log after it is refused, though it comes so soon after
// the last use that it renews nothing.
func TestACommandThatLosesTheRaceToTheEndIsRefused(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		n := w.start(supervisor.Options{SweepInterval: 24 * time.Hour})
		id := w.acquire(lasting(40*time.Second, time.Hour))
		l := w.isLease(lease.StatusActive, id)
		w.pass(39 * time.Second)
		other := commands.New(eventstore.NewLedger(slowly{n.link.Store, 2 * time.Second}), w.vault)
		x := domain.ExecID{UUID: uuid.New()}
		_, err := other.RequestExec(t.Context(), commands.Caller{}, commands.StartExec{Exec: x, Lease: id, Fence: l.Fence, Argv: []string{"true"}})
		var r *domain.Refusal
		require.ErrorAs(t, err, &r)
		require.Equal(t, "lease_ended", r.Code)
		require.Zero(t, w.count(commands.Executions.Stream(x.UUID), "ExecRequested"))
	})
}

// slowly is a log that an append takes a while to reach.
type slowly struct {
	eventstore.Store
	way time.Duration
}

func (s slowly) Submit(a eventstore.Append) eventstore.Pending {
	<-time.After(s.way)
	return s.Store.Submit(a)
}

// Others see at once what a process takes the clock for, before its next beat would be due.
func TestAProcessSaysThatItDoubtsTheClock(t *testing.T) {
	inWorld(t, fake.Options{}, func(t *testing.T, w *world) {
		n, other := w.start(supervisor.Options{}), w.start(supervisor.Options{})
		row := func(of *node) eventstore.Process {
			t.Helper()
			w.pass(10 * time.Millisecond)
			list, err := w.processes.List(t.Context())
			require.NoError(t, err)
			i := slices.IndexFunc(list, func(p eventstore.Process) bool { return p.ID == of.process.ID })
			return list[i]
		}
		n.link.clock.Observe(time.Now())
		require.False(t, row(n).Doubts)
		n.link.clock.Observe(time.Now().Add(time.Hour))
		require.True(t, row(n).Doubts)
		require.Equal(t, time.Hour, row(n).ClockJump)
		require.False(t, row(other).Doubts)
		n.link.clock.Confirm()
		require.False(t, row(n).Doubts)
	})
}

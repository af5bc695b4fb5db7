package apptest_test

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/catalog"
	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/runtime"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/eventstore/pg"
	readmodels "github.com/tenure-dev/tenure/projections/catalog"
	"github.com/tenure-dev/tenure/projections/runner"
)

// check holds the log, the disk and the read models to what was promised, and returns how the command ended.
func (v *victim) check(l life) (end string) {
	v.t.Helper()
	store, err := pg.Open(v.t.Context(), v.pool, pg.Options{})
	require.NoError(v.t, err)
	defer store.Close()
	events, err := store.ReadAll(v.t.Context(), v.began, eventstore.PageSize)
	require.NoError(v.t, err)
	require.Less(v.t, len(events), eventstore.PageSize)

	v.checkRuntimes(l, events)
	v.checkLease(l, events)
	end = v.checkExec(l, events)
	v.checkDisk()
	return end
}

// checkRuntimes follows who held what.
func (v *victim) checkRuntimes(l life, events []eventstore.Recorded) {
	v.t.Helper()
	holder := map[eventstore.Stream]domain.LeaseID{}
	runtimes := map[domain.LeaseID]map[eventstore.Stream]bool{}
	destroyed := 0
	for _, r := range events {
		switch e := decoded(v, r).(type) {
		case runtime.Intended:
			if runtimes[e.Lease] == nil {
				runtimes[e.Lease] = map[eventstore.Stream]bool{}
			}
			runtimes[e.Lease][r.Stream] = true
		case runtime.Held:
			require.True(v.t, holder[r.Stream].IsZero(), "two holders of %s", r.Stream)
			holder[r.Stream] = e.Lease
		case runtime.Freed:
			require.Equal(v.t, e.Lease, holder[r.Stream])
			delete(holder, r.Stream)
		case runtime.Destroyed:
			require.True(v.t, holder[r.Stream].IsZero(), "%s was destroyed while it was held", r.Stream)
			destroyed++
		}
	}
	require.Empty(v.t, holder, "a runtime is still held")
	require.Len(v.t, runtimes, 1, "leases with a runtime")
	require.Len(v.t, runtimes[domain.LeaseID{UUID: l.lease}], 1, "runtimes of the lease")
	require.Equal(v.t, 1, destroyed)
	require.Equal(v.t, 1, count(events, "RuntimeMade"))
	require.LessOrEqual(v.t, v.passed()["local.acquire.placed"], 1, "directories ever made")
}

func (v *victim) checkLease(l life, events []eventstore.Recorded) {
	v.t.Helper()
	stream := commands.Leases.Stream(l.lease)
	for _, name := range []string{
		"CompanyAdded", "EnvironmentRegistered", "LeaseRequested", "LeaseGranted", "LeaseProvisioned",
		"LeaseReleaseRequested", "LeaseReleased", "AdmissionGranted", "AdmissionFreed",
	} {
		require.Equal(v.t, 1, count(events, name), name)
	}
	if v.began == 0 {
		require.Equal(v.t, 1, count(events, "KeyAdded"))
	}
	state, err := commands.Leases.Fold(commands.Leases.Decider.Initial(), of(events, stream))
	require.NoError(v.t, err)
	require.Equal(v.t, lease.StatusReleased, state.Status())
	require.False(v.t, state.Attempting || state.TearingDown, "an attempt is open")
	require.False(v.t, state.HoldsSlot())
}

// checkExec holds the command to at most one run, and to "unknown" only where nobody can know.
func (v *victim) checkExec(l life, events []eventstore.Recorded) string {
	v.t.Helper()
	var claimedBy, endedBy uuid.UUID
	var end execution.Ended
	for _, r := range of(events, commands.Executions.Stream(l.exec)) {
		switch e := decoded(v, r).(type) {
		case execution.Claimed:
			require.Zero(v.t, claimedBy, "it was claimed twice")
			claimedBy = e.Worker.UUID
		case execution.Ended:
			require.Zero(v.t, endedBy, "it ended twice")
			end, endedBy = e, r.By.Actor.UUID
		}
	}
	ran := 0
	raw, err := os.ReadFile(l.outside)
	if err == nil {
		ran = strings.Count(string(raw), "ran\n")
	}
	if end.End == wire.EndUnknown {
		require.NotEqual(v.t, claimedBy, endedBy, "its own worker does not know how it ended")
		require.Nil(v.t, end.ExitCode)
		require.LessOrEqual(v.t, ran, 1)
		return string(end.End)
	}
	require.Equal(v.t, execution.EndExited, end.End)
	require.Equal(v.t, 0, *end.ExitCode)
	require.Equal(v.t, 1, ran)
	return string(end.End)
}

func (v *victim) checkDisk() {
	v.t.Helper()
	entries, err := os.ReadDir(filepath.Join(v.DataDir, "runtimes"))
	require.NoError(v.t, err)
	require.Empty(v.t, entries, "what is left of runtimes")
	var inputs int
	require.NoError(v.t, v.pool.QueryRow(v.t.Context(), `SELECT count(*) FROM inputs`).Scan(&inputs))
	require.Zero(v.t, inputs, "values that nobody needs any more")
}

// checkReadModels folds the log beside each read model and compares.
func (v *victim) checkReadModels() {
	v.t.Helper()
	store, err := pg.Open(v.t.Context(), v.pool, pg.Options{})
	require.NoError(v.t, err)
	defer store.Close()
	r := runner.New(v.pool, store, readmodels.All(), runner.Options{})
	for _, name := range r.Names() {
		report, err := r.Verify(v.t.Context(), name, func(runner.Progress) {})
		require.NoError(v.t, err)
		require.True(v.t, report.Compared, name)
		require.Nil(v.t, report.First, name)
		require.Zero(v.t, report.Parked, name)
	}
}

func decoded(v *victim, r eventstore.Recorded) domain.Event {
	v.t.Helper()
	e, err := catalog.Decode(r.Name, r.Revision, r.Payload)
	require.NoError(v.t, err)
	return e
}

func of(events []eventstore.Recorded, stream eventstore.Stream) []eventstore.Recorded {
	var out []eventstore.Recorded
	for _, r := range events {
		if r.Stream == stream {
			out = append(out, r)
		}
	}
	return out
}

func count(events []eventstore.Recorded, name string) (n int) {
	for _, r := range events {
		if r.Name == name {
			n++
		}
	}
	return n
}

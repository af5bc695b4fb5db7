package enginetest

import (
	"encoding/json"
	"os/exec"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/apptest"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/plugins/fake"
)

// often makes the reaper look each second.
func often(more ...string) apptest.Option {
	return apptest.WithArgs(append([]string{"--reap-interval", "1s"}, more...)...)
}

// appears makes the runtime of a lease again, as a create does that the network delayed; id is another one than the lease's if
// it is not zero.
func (s *site) appears(class drivers.Class, lease, id uuid.UUID) {
	s.t.Helper()
	var made fake.Entry
	for _, e := range s.ledger().Entries {
		if e.Op == fake.OpCreate && e.LeaseID == lease.String() {
			made = e
		}
	}
	require.NotEmpty(s.t, made.RuntimeID)
	if id != uuid.Nil {
		made.RuntimeID = id.String()
	}
	outside, err := fake.Open(fake.Options{Dir: s.state()})
	require.NoError(s.t, err)
	_, err = outside.Driver(class).Acquire(s.t.Context(), drivers.AcquireRequest{
		RuntimeID: made.RuntimeID, Installation: made.Installation, Epoch: made.Epoch, Fence: made.Fence, Attempt: 1,
		LeaseID: made.LeaseID, CompanyID: made.CompanyID, EnvironmentID: made.EnvironmentID, RunID: made.RunID, Config: []byte(`{}`),
	})
	require.NoError(s.t, err)
	require.NoError(s.t, outside.Close())
}

func (s *site) leaks(status string) (byWhy map[string]wire.Leak) {
	s.t.Helper()
	list, err := s.Client.Leaks(s.t.Context(), client.LeakFilter{Status: status})
	require.NoError(s.t, err)
	byWhy = map[string]wire.Leak{}
	for _, l := range list.Items {
		byWhy[l.Why] = l
	}
	return byWhy
}

// balanced wants every runtime there ever was to be accounted for, as anybody can ask.
func (s *site) balanced() {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), apptest.Binary(s.t), "doctor", "-o", "json")
	cmd.Env = []string{"HOME=" + s.t.TempDir(), "TENURE_SERVER=" + s.Client.BaseURL(), "TENURE_API_KEY=" + s.Key}
	out, err := cmd.CombinedOutput()
	require.NoError(s.t, err, "%s", out)
	require.Contains(s.t, string(out), `{"check":"balance","status":"ok"`)
}

// A create that is delayed beyond the release of its lease, a runtime that the log knows nothing of, and a provider that has
// something that a dead engine left.
func TestWhatNobodyLooksAfterIsFoundAndDestroyed(t *testing.T) {
	t.Parallel()
	for _, class := range []drivers.Class{drivers.ClassIdempotent, drivers.ClassListable} {
		t.Run(string(class), func(t *testing.T) {
			t.Parallel()
			s := start(t, often())
			env := s.environment(fake.KeyOf(class))
			kept, over := s.acquire(env), s.acquire(env)
			s.release(over.ID)
			s.until(over.ID, "is released", cleaned)
			s.Kill()
			s.appears(class, over.ID, uuid.Nil)
			s.appears(class, over.ID, uuid.New())
			require.Len(t, s.lives(over.ID), 2)
			s.Start()
			s.eventually("what is left over is gone", func() bool { return len(s.lives(over.ID)) == 0 }, nil)
			s.eventually("both leaks are cleared", func() bool { return len(s.leaks("cleared")) == 2 && len(s.leaks("open")) == 0 }, nil)
			late := s.leaks("cleared")["made_too_late"]
			require.Equal(t, over.ID, *late.LeaseID)
			require.Equal(t, s.company, *late.CompanyID)
			require.Equal(t, "destroyed", *late.Proof)
			require.Nil(t, s.leaks("cleared")["unknown_runtime"].CompanyID)
			l, err := s.Client.Lease(t.Context(), kept.ID)
			require.NoError(t, err)
			require.Equal(t, wire.LeaseActive, l.Status)
			require.Len(t, s.lives(kept.ID), 1)
			s.balanced()
		})
	}
}

// A13 and A17: a lease whose runtime the provider never takes down is quarantined in sight, and a person can end it; what is
// left is on the list, and destroyed once the provider can.
func TestALeaseThatCannotBeTakenDownEndsByHand(t *testing.T) {
	t.Parallel()
	s := start(t, often("--cleanup-attempts", "2"))
	stuck := s.acquire(s.environment("fake", fake.Step{Verb: fake.VerbRelease, Times: 6, Action: fake.ActionFail, Code: "no_route"}))
	require.Equal(t, wire.LeaseActive, stuck.Status)
	s.release(stuck.ID)
	stuck = s.until(stuck.ID, "is in quarantine", func(l wire.Lease) bool { return l.Cleanup != nil && l.Cleanup.Quarantined })
	require.Equal(t, wire.LeasePendingCleanup, stuck.Status)
	require.Equal(t, 2, stuck.Cleanup.Attempts)
	require.NotNil(t, stuck.Cleanup.NextTryAt)
	contains(t, *stuck.Cleanup.LastError, "no_route")
	s.eventually("it is on the list of leaks", func() bool { return s.leaks("open")["quarantined"].LeaseID != nil }, nil)

	forced, err := s.Client.ForceCleanup(t.Context(), stuck.ID, wire.ForceCleanup{Reason: "it is stuck"})
	require.NoError(t, err)
	require.Equal(t, wire.LeaseReleased, forced.Status)
	require.Len(t, s.lives(stuck.ID), 1, "nobody claims that it is gone")
	s.balanced()
	s.eventually("the reaper ends it", func() bool { return len(s.lives(stuck.ID)) == 0 }, nil)
	stuck = s.until(stuck.ID, "is proven clean", cleaned)
	s.eventually("it is off the list", func() bool { return len(s.leaks("open")) == 0 }, nil)
}

// A18: what a cleanup needs is on the lease, whatever became of its environment.
func TestALeaseOfAnEnvironmentThatWasChangedIsTakenDown(t *testing.T) {
	t.Parallel()
	s := start(t)
	env := s.environment("fake")
	l := s.acquire(env)
	require.Equal(t, wire.LeaseActive, l.Status)
	other, err := json.Marshal(map[string]any{"provider": "fake-blind", "script": []fake.Step{{Verb: fake.VerbRelease, Action: fake.ActionFail}}})
	require.NoError(t, err)
	_, err = s.Client.PatchEnvironment(t.Context(), env, map[string]any{"config": json.RawMessage(other)})
	require.NoError(t, err)
	s.release(l.ID)
	l = s.until(l.ID, "is released", cleaned)
	require.Equal(t, wire.LeaseReleased, l.Status)
	require.Empty(t, s.lives(l.ID))
}

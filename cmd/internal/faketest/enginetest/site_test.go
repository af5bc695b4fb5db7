package enginetest

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/apptest"
	"github.com/tenure-dev/tenure/domain/plugin"
	"github.com/tenure-dev/tenure/plugins/fake"
)

// site is an engine with one company.
type site struct {
	*apptest.Engine
	t       *testing.T
	company uuid.UUID
}

func start(t *testing.T, opts ...apptest.Option) *site {
	t.Helper()
	e := apptest.Start(t, append([]apptest.Option{apptest.OnServer(t)}, opts...)...)
	company, err := e.Client.AddCompany(t.Context(), wire.AddCompany{Name: "acme"})
	require.NoError(t, err)
	return &site{Engine: e, t: t, company: company.ID}
}

// startShort starts an engine whose attempts have a few seconds, with the worker of fake up: a busy machine starts none in that
// time, and an attempt that fails of it is none that a script counts.
func startShort(t *testing.T, opts ...apptest.Option) *site {
	t.Helper()
	s := start(t, append(opts, apptest.WithArgs("--provision-timeout", "5s", "--release-timeout", "5s"))...)
	first := s.acquire(s.environment("fake"))
	require.Equal(t, wire.LeaseActive, first.Status, reason(first))
	s.release(first.ID)
	s.until(first.ID, "is released", cleaned)
	return s
}

// environment adds one whose provider fails as the script says.
func (s *site) environment(provider string, script ...fake.Step) uuid.UUID {
	s.t.Helper()
	config, err := json.Marshal(map[string]any{"provider": provider, "script": append([]fake.Step{}, script...)})
	require.NoError(s.t, err)
	env, err := s.Client.AddEnvironment(s.t.Context(), s.company, wire.AddEnvironment{Name: uuid.NewString(), Driver: "sandbox", Config: config})
	require.NoError(s.t, err)
	return env.ID
}

// acquire waits until the lease is active or has ended.
func (s *site) acquire(env uuid.UUID) wire.Lease {
	s.t.Helper()
	l := s.ask(env)
	return s.until(l.ID, "is active or over", func(l wire.Lease) bool { return l.Status == wire.LeaseActive || l.Ended() })
}

func (s *site) ask(env uuid.UUID) wire.Lease {
	s.t.Helper()
	got, _, err := s.Client.AcquireLease(s.t.Context(), s.company, wire.AcquireLease{EnvironmentID: env, HeartbeatRunID: uuid.NewString()})
	require.NoError(s.t, err)
	return got.Lease
}

// patience bounds what has to happen in the end.
const patience = 3 * time.Minute

func (s *site) until(id uuid.UUID, what string, is func(wire.Lease) bool) wire.Lease {
	s.t.Helper()
	var last wire.Lease
	s.eventually(what, func() bool {
		l, err := s.Client.Lease(s.t.Context(), id)
		last = l
		return err == nil && is(l)
	}, &last)
	return last
}

func (s *site) eventually(what string, is func() bool, last any) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !is() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			said, _ := json.Marshal(last)
			s.t.Fatalf("it never came to this: %s; last %s\n%s", what, said, s.Log())
		}
	}
}

func (s *site) release(id uuid.UUID) wire.Lease {
	s.t.Helper()
	l, err := s.Client.ReleaseLease(s.t.Context(), id, wire.Release{})
	require.NoError(s.t, err)
	return l
}

func cleaned(l wire.Lease) bool {
	return l.Ended() && (l.CleanupStatus == nil || *l.CleanupStatus == "success")
}

func pending(l wire.Lease) bool { return l.CleanupStatus != nil && *l.CleanupStatus == "pending" }

// reason is why a lease failed.
func reason(l wire.Lease) string { return orNone(l.FailureReason) }

// left is why something of a lease is left.
func left(l wire.Lease) string { return orNone(l.CleanupError) }

func orNone(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}

// fact is an event of a lease as far as these tests read it.
type fact struct {
	Name        string
	At          time.Time
	Attempt     int       `json:"attempt"`
	Kind        string    `json:"kind"`
	Code        string    `json:"code"`
	Step        string    `json:"step"`
	Message     string    `json:"message"`
	Acquisition string    `json:"acquisition"`
	Deadline    time.Time `json:"deadline"`
	Runtime     string    `json:"runtimeId"`
	Plugin      *struct {
		Version string `json:"version"`
	} `json:"plugin"`
}

// facts are the lease's events of a name.
func (s *site) facts(id uuid.UUID, name string) (found []fact) {
	s.t.Helper()
	events, err := s.Client.LeaseEvents(s.t.Context(), id)
	require.NoError(s.t, err)
	for _, e := range events.Items {
		if e.Name != name {
			continue
		}
		var f fact
		require.NoError(s.t, json.Unmarshal(e.Data, &f))
		f.Name, f.At = e.Name, e.RecordedAt
		found = append(found, f)
	}
	return found
}

// state is where the worker of fake keeps its ledger.
func (s *site) state() string { return filepath.Join(s.DataDir, "plugins", "state", "fake") }

func (s *site) ledger() *fake.Ledger {
	s.t.Helper()
	led, err := fake.ReadLedger(fake.LedgerPath(s.state()))
	require.NoError(s.t, err)
	return led
}

// lives are the provider's ids of what lives for a lease, created how many it ever made.
func (s *site) lives(lease uuid.UUID) (ids []string) {
	s.t.Helper()
	for _, e := range s.ledger().Live() {
		if e.LeaseID == lease.String() {
			ids = append(ids, e.ID)
		}
	}
	return ids
}

func (s *site) created(lease uuid.UUID) (n int) {
	s.t.Helper()
	for _, e := range s.ledger().Entries {
		if e.Op == fake.OpCreate && e.LeaseID == lease.String() {
			n++
		}
	}
	return n
}

// script puts steps where every environment and the start of the worker see them; none takes them away.
func (s *site) script(steps ...fake.Step) {
	s.t.Helper()
	path := fake.ScriptPath(s.state())
	if len(steps) == 0 {
		if err := os.Remove(path); !errors.Is(err, os.ErrNotExist) {
			require.NoError(s.t, err)
		}
		return
	}
	raw, err := json.Marshal(steps)
	require.NoError(s.t, err)
	require.NoError(s.t, os.WriteFile(path+".new", raw, 0o644))
	require.NoError(s.t, os.Rename(path+".new", path))
}

// plugin is the plugin of a key.
func (s *site) plugin(key string) wire.Plugin {
	s.t.Helper()
	// The id of a plugin follows from its key; a list may lag behind the start of the engine.
	p, err := s.Client.Plugin(s.t.Context(), plugin.IDOf(key).UUID)
	require.NoError(s.t, err)
	return p
}

// refused is the problem that a lease ended with before it was active.
func (s *site) refused(env uuid.UUID) *client.Problem {
	s.t.Helper()
	_, _, err := s.Client.AcquireLease(s.t.Context(), s.company, wire.AcquireLease{EnvironmentID: env, HeartbeatRunID: uuid.NewString()}, client.Wait(2*time.Minute))
	p, ok := errors.AsType[*client.Problem](err)
	require.True(s.t, ok, "%v", err)
	return p
}

func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		require.Contains(t, text, p)
	}
}

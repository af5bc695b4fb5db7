package apptest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/apptest"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

// starts is how often they start.
const starts = 3

// Case A41 across processes: API servers, workers and whole engines start at once on an empty database, directly and through
// a pooler, and work together.
func TestFiveProcessesOfAllKindsStartAtOnceOnAnEmptyDatabase(t *testing.T) {
	t.Parallel()
	for name, database := range map[string]func(t *testing.T) string{
		"directly": func(t *testing.T) string { return pgtest.URL(t) },
		"through a pooler": func(t *testing.T) string {
			pooled, _ := pgtest.NewPooler(t).Database(t)
			return pooled
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kinds := []string{"api", "worker", "serve", "worker", "api"}
			// One that fails to start now and then is found by starting often; what works is looked at once.
			for range starts - 1 {
				apptest.StartFleet(t, database(t), kinds).Kill()
			}
			f := apptest.StartFleet(t, database(t), kinds)
			tenant := f[0].Tenant(wire.AddEnvironment{})
			for _, e := range append(f.Of("api"), f.Of("serve")...) {
				for range 3 {
					useOnce(t, e, tenant)
				}
			}
			list, err := f[4].Client.Workers(t.Context())
			require.NoError(t, err)
			roles := map[string]int{}
			for _, w := range list.Items {
				require.True(t, w.Alive)
				roles[w.Role]++
			}
			require.Equal(t, map[string]int{"api": 2, "worker": 2, "serve": 1}, roles)
			clock, err := f[0].Client.Clock(t.Context())
			require.NoError(t, err)
			require.True(t, clock.Sure)
			require.Len(t, clock.Processes, len(f), "what is said of the clock is said for all")
			for _, e := range f {
				for _, bad := range []string{"deadlock", "panic", "DATA RACE", "prepared statement"} {
					require.NotContains(t, e.Log(), bad)
				}
				if name == "through a pooler" {
					require.Contains(t, e.Log(), "--database-direct-url", "tenure %s says what it cannot do there, and what would mend it", e.Verb)
				}
				if e.Verb == "api" {
					require.NoDirExists(t, e.DataDir+"/journals", "an API server drives nothing")
				}
			}
		})
	}
}

// sandboxes is an environment whose runtimes any worker can drive.
func sandboxes(t *testing.T, e *apptest.Engine) apptest.Tenant {
	t.Helper()
	return e.Tenant(wire.AddEnvironment{Name: "fake", Driver: "sandbox", Config: json.RawMessage(`{"provider": "fake"}`)})
}

// Case A14 across processes: a worker is killed. What it had is driven by others, and what they have goes on.
func TestTheLeasesOfAKilledWorkerAreDrivenByOthers(t *testing.T) {
	t.Parallel()
	f := apptest.StartFleet(t, pgtest.URL(t), []string{"api", "worker", "worker", "worker"})
	api, workers := f[0], f.Of("worker")
	tenant := sandboxes(t, api)
	// Who started last keeps the read models, by which others find what it had.
	workers[1].Kill()
	workers[1].Start()
	var held []uuid.UUID
	for range 30 {
		held = append(held, api.Acquire(tenant, wire.AcquireLease{}).Lease.ID)
	}
	workers[1].Kill()
	// The machine that runs this may be busy; how long it takes, the benchmark takeover says.
	const within = 30 * time.Second
	var calls sync.WaitGroup
	for i, id := range held {
		calls.Go(func() {
			var err error
			if i%2 == 0 {
				var ready bool
				_, ready, err = api.Client.AcquireLease(t.Context(), tenant.Company.ID,
					wire.AcquireLease{EnvironmentID: tenant.Environment.ID, HeartbeatRunID: uuid.NewString()}, client.Wait(within))
				if err == nil && !ready {
					err = errors.New("nobody makes the runtime")
				}
			} else {
				var l wire.Lease
				l, err = api.Client.ReleaseLease(t.Context(), id, wire.Release{}, client.Wait(within))
				if err == nil && l.Status != wire.LeaseReleased {
					err = errors.New("the lease is " + l.Status)
				}
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	calls.Wait()
}

// A worker that is drained gives away its part before it begins nothing new any more: clients notice nothing, and a command
// that runs on it goes on to its end.
func TestAWorkerIsDrainedWithoutAGap(t *testing.T) {
	t.Parallel()
	f := apptest.StartFleet(t, pgtest.URL(t), []string{"api", "worker", "worker"}, apptest.WithEnv("TENURE_DRAIN_TIMEOUT=30s"))
	api, leaves := f[0], f[1]
	tenant := sandboxes(t, api)
	local := api.Tenant(wire.AddEnvironment{Name: "local"})
	var running []wire.Exec
	for workspaces(t, leaves) == 0 {
		lease := api.Acquire(local, wire.AcquireLease{}).Lease
		x, err := api.Client.StartExec(t.Context(), lease.ID, lease.Fence, wire.StartExec{Argv: []string{"sleep", "10"}})
		require.NoError(t, err)
		running = append(running, x)
	}
	for _, x := range running {
		require.Eventually(t, func() bool {
			now, err := api.Client.Exec(t.Context(), x.ID)
			return err == nil && now.Status == "running"
		}, 20*time.Second, 20*time.Millisecond)
	}

	var calls sync.WaitGroup
	defer calls.Wait()
	drained := make(chan struct{})
	slowest := make(chan time.Duration, 1)
	calls.Go(func() {
		longest := time.Duration(0)
		defer func() { slowest <- longest }()
		for {
			began := time.Now()
			if err := wholeLife(t, api.Client, tenant); err != nil {
				t.Error(err)
			}
			longest = max(longest, time.Since(began))
			select {
			case <-drained:
				return
			default:
			}
		}
	})
	out, err := exec.CommandContext(t.Context(), apptest.Binary(t), "worker", "drain", "--data-dir", leaves.DataDir).CombinedOutput()
	close(drained)
	require.NoError(t, err, "%s", out)
	require.Zero(t, leaves.Wait())
	require.Less(t, <-slowest, 5*time.Second, "nobody waits for what still runs on it")
	for _, x := range running {
		require.Equal(t, wire.EndExited, api.Ended(x.ID).Result.End)
	}
	out, err = exec.CommandContext(t.Context(), apptest.Binary(t), "worker", "drain", "--data-dir", leaves.DataDir).CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "no process runs on")
}

// An output is on the machine of the worker that ran the command. API servers pass it on, while it grows too; while that
// worker is away they say so, and when it is back they have it again.
func TestOutputsComeFromTheWorkerThatHasThem(t *testing.T) {
	t.Parallel()
	f := apptest.StartFleet(t, pgtest.URL(t), []string{"api", "worker", "worker"})
	api, workers := f[0], f.Of("worker")
	tenant := api.Tenant(wire.AddEnvironment{})
	seen := map[int]bool{}
	var last wire.Exec
	for range 20 {
		lease := api.Acquire(tenant, wire.AcquireLease{}).Lease
		x, stdout, stderr := api.Run(lease.ID, wire.StartExec{Argv: []string{"sh", "-c", `echo one; sleep 0.3; echo two; echo three >&2`}})
		require.Equal(t, "one\ntwo\n", string(stdout))
		require.Equal(t, "three\n", string(stderr))
		for i, w := range workers {
			if workspaces(t, w) > 0 && !seen[i] {
				seen[i], last = true, x
			}
		}
		if len(seen) == 2 {
			break
		}
	}
	require.Len(t, seen, 2, "both made workspaces")

	for _, w := range workers {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.Client.BaseURL()+"/internal/v1/execs/"+last.ID.String()+"/output", http.NoBody)
		require.NoError(t, err)
		request.Header.Set("Tenure-Internal", fmt.Sprintf("%d.AAAA", time.Now().Unix()))
		refused, err := (&http.Client{Timeout: 30 * time.Second}).Do(request)
		require.NoError(t, err)
		body, err := io.ReadAll(refused.Body)
		require.NoError(t, err)
		require.NoError(t, refused.Body.Close())
		require.Equal(t, http.StatusForbidden, refused.StatusCode, "%s", body)
		_, err = w.Client.Companies(t.Context())
		require.Error(t, err, "a worker serves no client")
		healthy, err := w.Client.Health(t.Context())
		require.NoError(t, err)
		require.NotEmpty(t, healthy.Version)
		w.Kill()
	}
	// The two streams come in the order in which they were read, which may be either.
	read := func() (map[string]string, error) {
		out := map[string]string{}
		for line, err := range impatient(t, api).ExecOutput(t.Context(), last.ID, client.OutputOptions{}) {
			if err != nil {
				return nil, err
			}
			out[line.Stream] += string(line.Data)
		}
		delete(out, "") // the seal
		return out, nil
	}
	require.Eventually(t, func() bool {
		_, err := read()
		p, ok := errors.AsType[*client.Problem](err)
		return ok && p.Code == "node_away" && p.Status == http.StatusServiceUnavailable && p.RetryAfter > 0 && p.Remediation != ""
	}, 15*time.Second, 50*time.Millisecond)
	for _, w := range workers {
		w.Start()
	}
	out, err := read()
	require.NoError(t, err)
	require.Equal(t, map[string]string{"stdout": "one\ntwo\n", "stderr": "three\n"}, out)
}

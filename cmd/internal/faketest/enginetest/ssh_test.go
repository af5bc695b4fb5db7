package enginetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/apptest"
	"github.com/tenure-dev/tenure/drivers/process"
	"github.com/tenure-dev/tenure/drivers/ssh/sshtest"
)

const (
	sshLeases = 20
	sshActs   = 40
	seedVar   = "ENGINETEST_SEED"
)

// remote is an SSH host with leases on it, of which the engine and the sessions are killed.
type remote struct {
	*site
	rand   *rand.Rand
	root   string
	env    uuid.UUID
	leases []uuid.UUID
}

// After random kills of the engine and of the sessions of a real sshd, the markers on the host are those of the leases that
// are held, and nothing runs there for one that has ended.
func TestWhatLivesOnAnSSHHostIsWhatTheLogSays(t *testing.T) {
	t.Parallel()
	seed, err := strconv.ParseUint(os.Getenv(seedVar), 10, 64)
	if err != nil {
		seed = rand.Uint64()
	}
	t.Logf("%s=%d", seedVar, seed)
	host := sshtest.Start(t, sshtest.Options{Lines: []string{"MaxStartups 100", "MaxSessions 50"}})
	r := &remote{
		site: start(t, apptest.WithArgs("--provision-timeout", "10s", "--release-timeout", "10s")),
		rand: rand.New(rand.NewPCG(seed, 0)), root: filepath.Join(apptest.Dir(t), "work"),
	}
	fields := host.Fields(r.root)
	fields["privateKey"], fields["workspaceMode"] = fields["privateKeySecretRef"], "per_lease"
	delete(fields, "privateKeySecretRef")
	config, err := json.Marshal(fields)
	require.NoError(t, err)
	env, err := r.Client.AddEnvironment(t.Context(), r.company, wire.AddEnvironment{Name: "host", Driver: "ssh", Config: config})
	require.NoError(t, err)
	r.env = env.ID

	engines, sessions := 0, 0
	for range sshActs {
		switch n := r.rand.IntN(20); {
		case n < 9 && len(r.leases) < sshLeases || len(r.leases) == 0:
			r.acquireOne()
		case n < 13:
			r.try(func(ctx context.Context) error {
				_, err := r.Client.StartExec(ctx, r.one(), wire.StartExec{Argv: []string{"sh", "-c", "sleep 600 & sleep 600"}})
				return err
			})
		case n < 16:
			r.try(func(ctx context.Context) error {
				_, err := r.Client.ReleaseLease(ctx, r.one(), wire.Release{})
				return err
			})
		case n < 19:
			sessions += r.killSessions()
		case engines < 4:
			engines++
			r.Kill()
			r.Start()
		}
		r.rest(time.Duration(r.rand.IntN(150)) * time.Millisecond)
	}
	for len(r.leases) < sshLeases {
		r.acquireOne()
	}
	sessions += r.killSessions()
	engines++
	r.Kill()
	r.Start()
	t.Logf("%d leases, the engine was killed %d times, %d processes of sshd", len(r.leases), engines, sessions)
	r.agree()
	for _, id := range r.leases {
		_, err := r.Client.ReleaseLease(t.Context(), id, wire.Release{})
		require.NoError(t, err)
	}
	r.agree()
	require.Empty(t, r.markers())
}

func (r *remote) one() uuid.UUID { return r.leases[r.rand.IntN(len(r.leases))] }

func (r *remote) acquireOne() {
	got, _, err := r.Client.AcquireLease(r.t.Context(), r.company, wire.AcquireLease{EnvironmentID: r.env, HeartbeatRunID: uuid.NewString()})
	require.NoError(r.t, err)
	r.leases = append(r.leases, got.Lease.ID)
}

// try makes a call that the state of its lease may refuse.
func (r *remote) try(call func(ctx context.Context) error) {
	r.t.Helper()
	err := call(r.t.Context())
	if _, refused := errors.AsType[*client.Problem](err); !refused {
		require.NoError(r.t, err)
	}
}

func (r *remote) rest(d time.Duration) {
	select {
	case <-time.After(d):
	case <-r.t.Context().Done():
	}
}

// killSessions ends every process of sshd that serves a connection; what runs in a session loses its parent.
func (r *remote) killSessions() (killed int) {
	r.t.Helper()
	below, err := process.Descendants(os.Getpid())
	require.NoError(r.t, err)
	for _, p := range below {
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p.PID))
		if err == nil && strings.HasPrefix(string(name), "sshd") && process.Signal(p, syscall.SIGKILL) == nil {
			killed++
		}
	}
	return killed
}

// agree waits until every lease is active or cleaned up after, and holds the host against the log then.
func (r *remote) agree() {
	r.t.Helper()
	held := map[string]bool{}
	ended := map[string]bool{}
	for _, id := range r.leases {
		l := r.until(id, "is active or cleaned up", func(l wire.Lease) bool { return l.Status == wire.LeaseActive || cleaned(l) })
		for _, f := range r.facts(id, "LeaseProvisioningStarted") {
			held[f.Runtime] = l.Status == wire.LeaseActive
			ended[f.Runtime] = l.Status != wire.LeaseActive
		}
	}
	want := map[string]bool{}
	for id, is := range held {
		if is {
			want[id] = true
		}
	}
	got := map[string]bool{}
	for _, name := range r.markers() {
		got[name] = true
	}
	require.Equal(r.t, want, got, "the markers on the host are those of the leases that are held")
	environs, err := filepath.Glob("/proc/[0-9]*/environ")
	require.NoError(r.t, err)
	for _, path := range environs {
		raw, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended, or is another user's
		}
		for _, v := range bytes.Split(raw, []byte{0}) {
			if id, ok := strings.CutPrefix(string(v), "TENURE_RUNTIME_ID="); ok {
				require.False(r.t, ended[id], "%s runs for a lease that has ended", path)
			}
		}
	}
}

// markers are the runtimes that the host knows, those that are half gone included.
func (r *remote) markers() (ids []string) {
	r.t.Helper()
	entries, err := os.ReadDir(filepath.Join(r.root, ".tenure", "leases"))
	if !errors.Is(err, os.ErrNotExist) {
		require.NoError(r.t, err)
	}
	for _, e := range entries {
		ids = append(ids, e.Name())
	}
	return ids
}

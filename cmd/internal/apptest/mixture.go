package apptest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/drivers/driverstest"
)

// MixtureSeed is the variable with the seed of a mixture that shall happen again, as a failed one has printed it.
const MixtureSeed = "TENURE_TEST_SEED"

// Mixture is a random life of leases on a real host: clients who come and go, an engine that is killed, and what else goes
// wrong. Its seed draws what happens and in which order; how fast the machine is has a part in what comes of it.
type Mixture struct {
	// Environments are those that leases are asked for, one as often as the other. The first one works if nothing goes wrong.
	Environments []wire.AddEnvironment
	// Leases is how many are asked for, Acts how many things happen meanwhile. Pause is the longest time between two.
	Leases, Acts int
	Pause        time.Duration
	// Kills is how often the engine is killed at most before the end, when it always is.
	Kills int
	// Faults are what else goes wrong. Each happens at least twice.
	Faults []Fault
	// Over ends what still goes wrong, at the end; nil if nothing lasts.
	Over func()
	// Things are what a runtime that is held has on the host, exactly one of each: by what it is, the runtimes that have one.
	// What is half gone, or nobody's, is named as well, in whatever way it has a name.
	Things map[string]func() []string
	// Traces are runtimes that anything else on the host belongs to; nil is none. Processes of this machine are looked for anyway.
	Traces func() []string
}

// Fault is something that goes wrong.
type Fault struct {
	Name string
	Do   func(l *Life)
}

// Life is a mixture while it is lived.
type Life struct {
	*Engine
	// Rand draws how a fault goes.
	Rand *rand.Rand
	// Done counts the faults that had an effect, by name.
	Done map[string]int

	mixture Mixture
	company uuid.UUID
	envs    []uuid.UUID
	leases  []uuid.UUID
	taken   map[string]bool
	kills   int
}

// settles bounds what has to happen in the end.
const settles = 5 * time.Minute

// Live lets the leases of an engine live through a mixture. At its end the runtimes on the host are those of the leases that
// the log says are held, each once, and no more; nothing else on the host belongs to one that is not; and when the last
// lease is released there is nothing.
func (m Mixture) Live(e *Engine) {
	t := e.t
	t.Helper()
	seed, err := strconv.ParseUint(os.Getenv(MixtureSeed), 10, 64)
	if err != nil {
		seed = rand.Uint64() //nolint:gosec // it is to be repeated
	}
	t.Logf("%s=%d", MixtureSeed, seed)
	l := &Life{
		Engine: e, Rand: rand.New(rand.NewPCG(seed, 0)), Done: map[string]int{}, //nolint:gosec // it is to be repeated
		mixture: m, taken: map[string]bool{},
	}
	company, err := l.Client.AddCompany(t.Context(), wire.AddCompany{Name: "acme"})
	require.NoError(t, err)
	l.company = company.ID
	for _, add := range m.Environments {
		env, err := l.Client.AddEnvironment(t.Context(), company.ID, add)
		require.NoError(t, err)
		l.envs = append(l.envs, env.ID)
	}
	for range m.Acts {
		l.act()
		l.rest(time.Duration(l.Rand.Int64N(int64(m.Pause))))
	}
	for len(l.leases) < m.Leases {
		l.acquire()
	}
	for _, f := range m.Faults {
		f.Do(l)
	}
	l.kill()
	l.over()
	began := time.Now()
	held := l.agree()
	t.Logf("%d leases are held; it took %s until every lease was active or over", held, time.Since(began).Round(time.Millisecond))
	// Nothing that went wrong stays wrong; and each fault meets a command that runs.
	for _, f := range m.Faults {
		l.work()
		f.Do(l)
		l.over()
	}
	l.work()
	l.kill()
	require.NotZero(t, l.agree())
	for _, id := range l.leases {
		_, err := l.Client.ReleaseLease(t.Context(), id, wire.Release{})
		require.NoError(t, err)
	}
	require.Zero(t, l.agree(), "all are released")
	t.Logf("%d leases, the engine was killed %d times, and %v", len(l.leases), l.kills, l.Done)
}

// act lets one thing happen.
func (l *Life) act() {
	l.t.Helper()
	switch n := l.Rand.IntN(20); {
	case n < 8 && len(l.leases) < l.mixture.Leases || len(l.leases) == 0:
		l.acquire()
	case n < 12:
		l.try(func(ctx context.Context) error {
			lease, err := l.Client.Lease(ctx, l.one())
			if err == nil {
				_, err = l.Client.StartExec(ctx, lease.ID, lease.Fence, command)
			}
			return err
		})
	case n < 15:
		l.try(func(ctx context.Context) error {
			_, err := l.Client.ReleaseLease(ctx, l.one(), wire.Release{})
			return err
		})
	case n < 19:
		l.mixture.Faults[l.Rand.IntN(len(l.mixture.Faults))].Do(l)
	case l.kills < l.mixture.Kills:
		l.kill()
	}
}

func (l *Life) over() {
	if l.mixture.Over != nil {
		l.mixture.Over()
	}
}

// command leaves a process behind when the one that was started ends.
var command = wire.StartExec{Argv: []string{"sh", "-c", "sleep 600 & sleep 600"}}

// work takes a lease and lets a command run in it.
func (l *Life) work() {
	l.t.Helper()
	var lease wire.Lease
	for range 3 { // the first may still meet a worker that is about to be missed
		l.acquireFrom(l.envs[0])
		if lease = l.settled(l.leases[len(l.leases)-1]); lease.Status == wire.LeaseActive {
			break
		}
	}
	require.Equal(l.t, wire.LeaseActive, lease.Status, "%+v\n%s", lease, l.story(lease.ID))
	x, err := l.Client.StartExec(l.t.Context(), lease.ID, lease.Fence, command)
	require.NoError(l.t, err)
	require.Eventually(l.t, func() bool {
		x, err = l.Client.Exec(l.t.Context(), x.ID)
		return err == nil && x.Status == "running"
	}, waitLong, 10*time.Millisecond)
}

func (l *Life) one() uuid.UUID { return l.leases[l.Rand.IntN(len(l.leases))] }

func (l *Life) acquire() {
	l.t.Helper()
	l.acquireFrom(l.envs[l.Rand.IntN(len(l.envs))])
}

func (l *Life) acquireFrom(env uuid.UUID) {
	l.t.Helper()
	got, _, err := l.Client.AcquireLease(l.t.Context(), l.company, wire.AcquireLease{
		EnvironmentID: env, HeartbeatRunID: uuid.NewString(),
	})
	require.NoError(l.t, err)
	l.leases = append(l.leases, got.Lease.ID)
}

func (l *Life) kill() {
	l.t.Helper()
	l.KillUnseen(func() {})
}

// KillUnseen kills the engine, and does something before that it does not see any more.
func (l *Life) KillUnseen(do func()) {
	l.t.Helper()
	l.kills++
	l.Signal(syscall.SIGSTOP)
	do()
	l.Kill()
	l.Start()
}

// try makes a call that the state of its lease may refuse.
func (l *Life) try(call func(ctx context.Context) error) {
	l.t.Helper()
	err := call(l.t.Context())
	if _, refused := errors.AsType[*client.Problem](err); !refused {
		require.NoError(l.t, err)
	}
}

func (l *Life) rest(d time.Duration) {
	select {
	case <-time.After(d):
	case <-l.t.Context().Done():
	}
}

// RuntimesFromOne are the runtimes that were begun, from that of a lease that is drawn on.
func (l *Life) RuntimesFromOne() (ids []string) {
	l.t.Helper()
	first := l.Rand.IntN(len(l.leases))
	for i := range l.leases {
		ids = append(ids, l.runtimesOf(l.leases[(first+i)%len(l.leases)])...)
	}
	return ids
}

// Taken says that a fault took a runtime away. It may be missing from then on, though its lease is held.
func (l *Life) Taken(runtime string) { l.taken[runtime] = true }

// runtimesOf are the runtimes that were begun for a lease; only the last one can be held.
func (l *Life) runtimesOf(lease uuid.UUID) (ids []string) {
	l.t.Helper()
	events, err := l.Client.LeaseEvents(l.t.Context(), lease)
	require.NoError(l.t, err)
	for _, event := range events.Items {
		if event.Name != "LeaseProvisioningStarted" {
			continue
		}
		var started struct {
			Runtime string `json:"runtimeId"`
		}
		require.NoError(l.t, json.Unmarshal(event.Data, &started))
		require.NotEmpty(l.t, started.Runtime)
		ids = append(ids, started.Runtime)
	}
	return ids
}

// agree waits until every lease is active or cleaned up after, and holds the host against the log then. It returns how many
// leases are held.
func (l *Life) agree() (n int) {
	l.t.Helper()
	held, known := map[string]int{}, map[string]uuid.UUID{}
	for _, id := range l.leases {
		lease := l.settled(id)
		runtimes := l.runtimesOf(id)
		for _, runtime := range runtimes {
			known[runtime], held[runtime] = id, 0
		}
		if lease.Status == wire.LeaseActive {
			held[runtimes[len(runtimes)-1]] = 1
			n++
		}
	}
	for what, of := range l.mixture.Things {
		there := map[string]int{}
		for _, runtime := range of() {
			there[runtime]++
			require.Contains(l.t, known, runtime, "there is a %s of it", what)
		}
		for runtime, want := range held {
			if n := there[runtime]; n != want && (n > 0 || !l.taken[runtime]) {
				l.t.Fatalf("runtime %s is held by %d leases, and its %s is there %d times\n%s", runtime, want, what, n, l.story(known[runtime]))
			}
		}
	}
	mustBeHeld := processes(l.t)
	if l.mixture.Traces != nil {
		mustBeHeld = append(mustBeHeld, l.mixture.Traces()...)
	}
	for _, runtime := range mustBeHeld {
		if id, ours := known[runtime]; ours && held[runtime] == 0 {
			l.t.Fatalf("there is something of runtime %s, which is not held\n%s", runtime, l.story(id))
		}
	}
	return n
}

// story is what the log says of a lease.
func (l *Life) story(lease uuid.UUID) string {
	l.t.Helper()
	events, err := l.Client.LeaseEvents(l.t.Context(), lease)
	require.NoError(l.t, err)
	var b strings.Builder
	for _, event := range events.Items {
		fmt.Fprintf(&b, "%s %s %s\n", event.RecordedAt.Format(time.StampMilli), event.Name, event.Data)
	}
	return b.String()
}

// settled waits until a lease is active or nothing of it is left as far as the log says.
func (l *Life) settled(id uuid.UUID) (lease wire.Lease) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), settles)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		got, err := l.Client.Lease(ctx, id)
		if err == nil {
			lease = got
			if lease.Status == wire.LeaseActive || lease.Ended() && (lease.CleanupStatus == nil || *lease.CleanupStatus == "success") {
				return lease
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			said, _ := json.Marshal(lease)
			l.t.Fatalf("a lease never came to be active or cleaned up after; last %s\n%s", said, l.Log())
		}
	}
}

// processes names the runtimes that processes of this machine have in their environment.
func processes(t testing.TB) (runtimes []string) {
	t.Helper()
	for _, raw := range driverstest.Processes("environ") {
		for variable := range bytes.SplitSeq(raw, []byte{0}) {
			if id, ok := strings.CutPrefix(string(variable), "TENURE_RUNTIME_ID="); ok {
				runtimes = append(runtimes, id)
			}
		}
	}
	return runtimes
}

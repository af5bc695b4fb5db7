package ssh

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/drivers/ssh/sshtest"
)

// A03. It counts goroutines and sockets, so it does not share the process with another test.
func TestEveryPhaseOfAConnectionEndsInTimeAndLeavesNothing(t *testing.T) { //nolint:paralleltest // see above
	// Each phase has the limit for itself. Those that go well have to be through by then, so it is long where they compute.
	const short, long, busy = 700 * time.Millisecond, 3 * time.Second, 30 * time.Second
	for name, row := range map[string]struct {
		o           sshtest.FakeOptions
		limit       time.Duration
		phase, code string
	}{
		"silent after the accept":   {sshtest.FakeOptions{Stall: "banner"}, short, "banner", "no_ssh_banner"},
		"another service":           {sshtest.FakeOptions{Say: "-ERR unknown command 'SSH-2.0-Tenure'\r\n"}, busy, "banner", "no_ssh_banner"},
		"silent in the exchange":    {sshtest.FakeOptions{Stall: "key_exchange"}, short, "key_exchange", "key_exchange_failed"},
		"silent after the request":  {sshtest.FakeOptions{Stall: "auth"}, long, "auth", "auth_interrupted"},
		"silent about the session":  {sshtest.FakeOptions{Stall: "session"}, long, "session", "session_timeout"},
		"silent about the command":  {sshtest.FakeOptions{Stall: "command_start"}, long, "command_start", "command_timeout"},
		"hangs up after the log-in": {sshtest.FakeOptions{DropAfterAuth: true}, busy, "session", "session_lost"},
	} {
		t.Run(name, func(t *testing.T) {
			s := sshtest.StartFake(t, row.o)
			config := encode(t, s.Fields(t.TempDir()), map[string]any{"connectTimeoutMs": row.limit.Milliseconds()})
			before, sockets := runtime.NumGoroutine(), openSockets(t)
			d, err := New(Options{SessionWait: row.limit})
			require.NoError(t, err)
			began := time.Now()
			probed, err := d.Probe(t.Context(), drivers.ProbeRequest{Config: config})
			require.NoError(t, err)
			require.Less(t, time.Since(began), row.limit+busy)
			require.False(t, probed.OK)
			require.Equal(t, row.phase, probed.Phase, "%+v", probed)
			require.Equal(t, row.code, probed.Diagnostics[0].Code)
			require.NotEmpty(t, probed.Diagnostics[0].Remediation)
			_, _, err = acquire(t, d, config)
			require.True(t, requireFailure(t, err, drivers.OutcomeRetryable, row.phase, row.code).NothingMade, "no word of the script was sent")
			if row.o.Say != "" {
				require.Contains(t, probed.Summary, "-ERR unknown command", "what it is")
			}
			d.Close()
			s.Stop()
			await(t, func() bool { return runtime.NumGoroutine() <= before && openSockets(t) <= sockets },
				func() string {
					return fmt.Sprintf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, stacks())
				})
		})
	}
}

// await looks until done.
func await(t *testing.T, done func() bool, why func() string) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-limit.C:
			require.Fail(t, "it does not come about", why())
		}
	}
}

func stacks() string {
	buf := make([]byte, 1<<20)
	return string(buf[:runtime.Stack(buf, true)])
}

func openSockets(t *testing.T) (n int) {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, fd := range fds {
		if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

func TestADialThatFailsSaysSo(t *testing.T) {
	t.Parallel()
	s := sshtest.StartFake(t, sshtest.FakeOptions{})
	fields := s.Fields(t.TempDir())
	fields["port"] = driverstest.ClosedPort(t)
	_, _, err := acquire(t, newDriver(t, Options{}), encode(t, fields, nil))
	f := requireFailure(t, err, drivers.OutcomeRetryable, "dial", "unreachable")
	require.Contains(t, f.Err.Error(), "connection refused")
	require.True(t, f.NothingMade, "there is nothing to take down on a host that was never reached")
}

func TestAKeyThatTheServerDoesNotKnowIsDefinite(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t, sshtest.Options{})
	other, _ := sshtest.NewKey(t)
	_, _, err := acquire(t, newDriver(t, Options{}), encode(t, s.Fields(t.TempDir()), map[string]any{"privateKeySecretRef": other}))
	f := requireFailure(t, err, drivers.OutcomeDefinite, "auth", "auth_failed")
	require.NotContains(t, f.Error(), other)
}

func TestACanceledAcquireReturnsAtOnce(t *testing.T) {
	t.Parallel()
	s := sshtest.StartFake(t, sshtest.FakeOptions{Stall: "banner"})
	d := newDriver(t, Options{})
	ctx, cancel := withCause(t, 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := d.Acquire(ctx, requestFor(encode(t, s.Fields(filepath.Join(t.TempDir(), "w")), nil)))
	require.ErrorIs(t, err, errGaveUp)
	require.Less(t, time.Since(began), 30*time.Second, "the phase has a minute")
}

func TestAScriptIsGivenUpInTimeOverALinkThatFellSilent(t *testing.T) {
	t.Parallel()
	s := sshtest.StartFake(t, sshtest.FakeOptions{Hang: true})
	proxy := sshtest.StartProxy(t, fmt.Sprintf("%s:%d", s.Host, s.Port))
	config := encode(t, s.Fields(t.TempDir()), map[string]any{
		"port": proxy.Port, "knownHosts": strings.ReplaceAll(s.KnownHosts(), fmt.Sprint(s.Port), fmt.Sprint(proxy.Port)),
	})
	d := newDriver(t, Options{ScriptLimit: time.Second})
	var freezing sync.WaitGroup
	over := make(chan struct{})
	freezing.Go(func() {
		select {
		case <-s.Hung: // the script runs
			proxy.Freeze()
		case <-over:
		}
	})
	began := time.Now()
	_, _, err := acquire(t, d, config)
	close(over)
	freezing.Wait()
	f := requireFailure(t, err, drivers.OutcomeRetryable, "run_script", "host_timeout")
	require.False(t, f.NothingMade, "the host has the script")
	require.Less(t, time.Since(began), time.Minute)
}

func TestAnAgentThatSaysNothingIsGivenUp(t *testing.T) {
	t.Parallel()
	s := sshtest.StartFake(t, sshtest.FakeOptions{})
	socket := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", socket)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, ln.Close()) }) // it takes the connection and no more
	config := encode(t, s.Fields(t.TempDir()), map[string]any{"privateKeySecretRef": nil, "useAgent": true, "connectTimeoutMs": 500})
	d := newDriver(t, Options{AgentSocket: socket})
	began := time.Now()
	_, _, err = acquire(t, d, config)
	requireFailure(t, err, drivers.OutcomeRetryable, "credentials", "agent_silent")
	require.Less(t, time.Since(began), time.Minute)
}

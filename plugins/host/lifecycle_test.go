package host_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/process"
	"github.com/tenure-dev/tenure/drivers/provider"
	"github.com/tenure-dev/tenure/plugins/host"
)

// starts are the pids of a worker with the flag "starts=PATH", oldest first.
func starts(t *testing.T, path string) []string {
	t.Helper()
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	require.NoError(t, err)
	return strings.Fields(string(b))
}

// until waits until the plugin is as asked. What it waits for is noted in the log.
func (w *world) until(what string, is func(host.Status) bool) host.Status {
	w.t.Helper()
	deadline := time.After(time.Minute)
	for {
		w.logs.mu.Lock()
		wake := w.logs.wake
		w.logs.mu.Unlock()
		if s := w.status(); is(s) {
			return s
		}
		select {
		case <-wake:
		case <-deadline:
			w.t.Fatalf("never %s: %+v\n%s", what, w.status(), w.logs.text())
		}
	}
}

func TestAWorkerThatCrashesIsStartedAgainByItself(t *testing.T) {
	t.Parallel()
	w := scriptedWorld(t)
	_, err := w.worker().Acquire(t.Context(), acquire(`{"do":"die"}`))
	failure(t, err, drivers.OutcomeAmbiguous, "worker_died")
	s := w.until("running again", func(s host.Status) bool { return s.State == host.StateRunning && s.Restarts == 1 })
	require.Contains(t, s.LastError, "exit status 3")
	require.Contains(t, w.logs.text(), "going down")
}

// What a worker prints may be about any company that it serves, so no other is told of it.
func TestLastWordsAreNotToldToAnotherCompany(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *host.Options) { o.Restart.First, o.Restart.Longest = time.Hour, time.Hour }, installed(boxed()))
	die := func(company string) error {
		req := acquire(`{"do":"die"}`)
		req.CompanyID = company
		wk, err := w.offer().Worker(t.Context())
		if err == nil {
			_, err = wk.Acquire(t.Context(), req)
		}
		return err
	}
	require.ErrorContains(t, die("c-1"), "exit status 3; stderr ends with: going down", "it served this one only")
	err := die("c-2")
	require.ErrorContains(t, err, "the next try is in")
	require.ErrorContains(t, err, "exit status 3")
	require.NotContains(t, err.Error(), "going down")
	require.Contains(t, w.status().LastError, "stderr ends with: going down")

	w = scriptedWorld(t)
	_, err = w.worker().Acquire(t.Context(), acquire(`{}`)) // c-1
	require.NoError(t, err)
	err = die("c-2")
	require.ErrorContains(t, err, "exit status 3")
	require.NotContains(t, err.Error(), "going down")
}

// A crash soon after a good start counts, so a worker that does nothing else is given up.
func TestAWorkerThatKeepsCrashingIsGivenUpUntilACallAsks(t *testing.T) {
	t.Parallel()
	for name, flags := range map[string][]string{"after good starts": nil, "in its start": {"init-die"}, "with an error of initialize": {"init-error"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "starts")
			w := newWorld(t, func(o *host.Options) {
				o.Restart = host.Restart{First: 700 * time.Millisecond, Longest: time.Minute, GiveUp: 4, Patience: time.Minute}
			}, installed(boxed(), append(flags, "starts="+path)...))
			crash := func() {
				if wk, err := w.offer().Worker(t.Context()); err == nil {
					_, err = wk.Acquire(t.Context(), acquire(`{"do":"die"}`))
					require.Error(t, err)
				}
			}
			for w.status().State != host.StateFailed {
				crash()
			}
			given := w.until("failed", func(s host.Status) bool { return s.State == host.StateFailed })
			require.Len(t, starts(t, path), 4)
			require.False(t, given.NextTry.IsZero())
			_, err := w.offer().Worker(t.Context())
			f, ok := errors.AsType[*drivers.Failure](err)
			require.True(t, ok)
			require.Equal(t, drivers.OutcomeRetryable, f.Outcome)
			require.ErrorContains(t, err, "given up after 4 failures")
			require.Len(t, starts(t, path), 4, "not before the rest is over")

			timer := time.NewTimer(time.Until(given.NextTry))
			<-timer.C
			require.Len(t, starts(t, path), 4, "not by itself")
			crash()
			require.Len(t, starts(t, path), 5, "a call asks")

			w.until("failed again", func(s host.Status) bool { return s.State == host.StateFailed && s.NextTry.After(given.NextTry) })

			// Who enables it again begins anew.
			off := installed(boxed(), append(flags, "starts="+path)...)
			off.Enabled = false
			require.NoError(t, w.host.Set([]host.Installed{off}))
			off.Enabled = true
			require.NoError(t, w.host.Set([]host.Installed{off}))
			require.Equal(t, host.StateStopped, w.status().State)
			crash()
			require.GreaterOrEqual(t, len(starts(t, path)), 6)
		})
	}
}

func TestALongLifeForgivesTheFailuresBefore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *host.Options) {
		o.Restart = host.Restart{First: time.Millisecond, Longest: time.Millisecond, GiveUp: 2, Stable: time.Nanosecond}
	}, installed(boxed()))
	for i := range 6 {
		_, err := w.worker().Acquire(t.Context(), acquire(`{"do":"die"}`))
		failure(t, err, drivers.OutcomeAmbiguous, "worker_died")
		w.until("noticed", func(s host.Status) bool { return s.Restarts == i+1 })
	}
	_, err := w.worker().Acquire(t.Context(), acquire(`{}`))
	require.NoError(t, err)
}

func TestACallDoesNotWaitForALongRest(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *host.Options) { o.Restart.First, o.Restart.Longest = time.Hour, time.Hour }, installed(boxed()))
	_, err := w.worker().Acquire(t.Context(), acquire(`{"do":"die"}`))
	require.Error(t, err)
	_, err = w.offer().Worker(t.Context())
	f, ok := errors.AsType[*drivers.Failure](err)
	require.True(t, ok)
	require.Equal(t, drivers.OutcomeRetryable, f.Outcome)
	require.ErrorContains(t, err, "the next try is in")
}

func TestAWorkerThatIsStuckIsNoticedAndStartedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *host.Options) { o.Timeouts.Health, o.Timeouts.HealthReply = 50*time.Millisecond, 5*time.Second }, installed(boxed()))
	_, err := w.worker().Acquire(t.Context(), acquire(`{"do":"stuck"}`))
	f := failure(t, err, drivers.OutcomeAmbiguous, "worker_died")
	require.ErrorContains(t, &f, "did not answer health within 5s")
	_, err = w.worker().Acquire(t.Context(), acquire(`{}`))
	require.NoError(t, err)
}

// gone waits until a process has ended.
func gone(t *testing.T, p drivers.Process) {
	t.Helper()
	fd, err := pidfd(p.PID)
	if err != nil || !process.Alive(p) {
		return
	}
	defer fd.Close() //nolint:errcheck // it only names a process
	if process.Alive(p) {
		waitReadable(t, fd)
	}
}

func identify(t *testing.T, pid int) drivers.Process {
	t.Helper()
	p, err := process.Identify(pid)
	require.NoError(t, err)
	return p
}

func stop(t *testing.T, h *host.Host, within time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	return h.Stop(ctx)
}

func TestAStopWaitsForCallsInFlightAndTakesNoMore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *host.Options) { o.Timeouts.Verb = 6 * time.Second }, installed(boxed()))
	wk := w.worker()
	worker := identify(t, w.status().PID)
	done := make(chan error, 1)
	go func() {
		_, err := wk.Acquire(t.Context(), acquire(`{"do":"reason-when-cancelled"}`)) // it takes most of those six seconds
		done <- err
	}()
	_, err := wk.Acquire(t.Context(), acquire(`{"do":"after-another"}`)) // the first has been read
	require.NoError(t, err)
	stopped := make(chan error, 1)
	go func() { stopped <- stop(t, w.host, time.Minute) }()
	for {
		if _, err := wk.Acquire(t.Context(), acquire(`{}`)); err != nil {
			failure(t, err, drivers.OutcomeRetryable, "plugin_stopping")
			break
		}
	}
	failure(t, <-done, drivers.OutcomeDefinite, "image_pull_failed")
	require.NoError(t, <-stopped)
	require.False(t, process.Alive(worker))
	require.Error(t, w.host.Set(nil))
	_, err = w.host.Offer(theBox)
	failure(t, err, drivers.OutcomeDefinite, "provider_not_installed")
}

func TestAWorkerThatDoesNotEndWhenAskedIsKilledWithItsChildren(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *host.Options) {
		o.Timeouts.Drain, o.Timeouts.Shutdown, o.Timeouts.Term = 50*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond
	}, installed(boxed(), "deaf"))
	got, err := w.worker().Acquire(t.Context(), acquire(`{"do":"children"}`))
	require.NoError(t, err)
	var m struct{ PIDs []int }
	require.NoError(t, json.Unmarshal(got.Metadata, &m))
	all := []drivers.Process{identify(t, w.status().PID), identify(t, m.PIDs[0]), identify(t, m.PIDs[1])}
	require.NoError(t, stop(t, w.host, time.Minute))
	for _, p := range all {
		gone(t, p)
	}
	entries, err := os.ReadDir(filepath.Join(w.dir, "running"))
	require.NoError(t, err)
	require.Empty(t, entries)
}

// What a worker has to do after its last word, such as to remove its files, takes its time.
func TestAWorkerThatEndsInOrderIsGivenItsTime(t *testing.T) {
	t.Parallel()
	done := filepath.Join(t.TempDir(), "done")
	w := scriptedWorld(t, "tidies="+done)
	_, err := w.worker().Acquire(t.Context(), acquire(`{}`))
	require.NoError(t, err)
	require.NoError(t, stop(t, w.host, time.Minute))
	require.FileExists(t, done)
}

func TestAStopWithoutTimeKills(t *testing.T) {
	t.Parallel()
	w := scriptedWorld(t, "deaf")
	_, err := w.worker().Acquire(t.Context(), acquire(`{}`))
	require.NoError(t, err)
	worker := identify(t, w.status().PID)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("no time"))
	require.ErrorContains(t, w.host.Stop(ctx), "no time")
	require.False(t, process.Alive(worker))
}

func TestAWorkerThatOutlivedItsEngineIsEndedAtTheNextStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	running := filepath.Join(dir, "running")
	require.NoError(t, os.Mkdir(running, 0o700))
	sleep := func() drivers.Process {
		cmd := exec.Command("sleep", "600")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		require.NoError(t, cmd.Start())
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		return identify(t, cmd.Process.Pid)
	}
	survivor, stranger := sleep(), sleep()
	record := func(name string, p drivers.Process) {
		b, err := json.Marshal(map[string]any{"plugin": "p-1", "version": "1", "process": p})
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(running, name), b, 0o600))
	}
	record("1.json", survivor)
	reused := stranger
	reused.StartTime--
	record("2.json", reused)
	reused = stranger
	reused.BootID = "before"
	record("3.json", reused)
	require.NoError(t, os.WriteFile(filepath.Join(running, "4.json.new"), []byte(`{"pl`), 0o600))

	_, err := host.New(options(dir, &logs{wake: make(chan struct{})}))
	require.NoError(t, err)
	gone(t, survivor)
	require.True(t, process.Alive(stranger), "a process that has its pid now is a stranger")
	entries, err := os.ReadDir(running)
	require.NoError(t, err)
	require.Empty(t, entries)
}

// engine starts the test binary as an engine and returns it with the identity of its worker.
func engine(t *testing.T, dir string) (*exec.Cmd, drivers.Process) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", engineArg, dir)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	t.Cleanup(func() { _ = stdin.Close() })
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	text, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(text))
	require.NoError(t, err)
	return cmd, identify(t, pid)
}

func TestAWorkerEndsWithItsEngine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd, worker := engine(t, dir)
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	gone(t, worker)
	entries, err := os.ReadDir(filepath.Join(dir, "running"))
	require.NoError(t, err)
	require.Len(t, entries, 1, "the record of a worker that has ended is left")
	_, err = host.New(options(dir, &logs{wake: make(chan struct{})}))
	require.NoError(t, err)
	entries, err = os.ReadDir(filepath.Join(dir, "running"))
	require.NoError(t, err)
	require.Empty(t, entries)
}

func TestAPluginThatIsDisabledEndsAndStartsAgain(t *testing.T) {
	t.Parallel()
	in := installed(boxed())
	w := newWorld(t, nil, in)
	wk := w.worker()
	worker := identify(t, w.status().PID)
	in.Enabled = false
	require.NoError(t, w.host.Set([]host.Installed{in}))
	gone(t, worker)
	_, err := w.host.Offer(theBox)
	f := failure(t, err, drivers.OutcomeDefinite, "plugin_disabled")
	require.Contains(t, f.Remediation, "tenure plugin enable acme.box")
	pinned := theBox
	pinned.Plugin = in.Plugin
	_, err = w.host.Offer(pinned)
	failure(t, err, drivers.OutcomeRetryable, "plugin_disabled")
	_, err = wk.Acquire(t.Context(), acquire(`{}`))
	require.Equal(t, drivers.OutcomeRetryable, drivers.OutcomeOf(err))
	in.Enabled = true
	require.NoError(t, w.host.Set([]host.Installed{in}))
	again, err := w.offer().Worker(t.Context())
	require.NoError(t, err)
	_, err = again.Acquire(t.Context(), acquire(`{}`))
	require.NoError(t, err)
	require.NotEqual(t, worker.PID, w.status().PID)

	// Who heard of both only when they were over ends the worker all the same, and has one at a time.
	worker = identify(t, w.status().PID)
	in.Disabled++
	require.NoError(t, w.host.Set([]host.Installed{in}))
	_, err = w.offer().Worker(t.Context())
	require.NoError(t, err)
	require.False(t, process.Alive(worker), "it has ended before the next one starts")

	// Off and on again at once: whichever process it is, a call that gets one is served.
	for range 20 {
		in.Enabled = false
		require.NoError(t, w.host.Set([]host.Installed{in}))
		in.Enabled = true
		require.NoError(t, w.host.Set([]host.Installed{in}))
		again, err := w.offer().Worker(t.Context())
		require.NoError(t, err)
		if _, err = again.Acquire(t.Context(), acquire(`{}`)); err != nil {
			require.Equal(t, drivers.OutcomeRetryable, drivers.OutcomeOf(err), "%v", err)
		}
	}
}

func version(v string) host.Installed {
	in := installed(boxed(func(s string) string {
		return strings.Replace(s, `"version": "1.0.0"`, fmt.Sprintf(`"version": %q`, v), 1)
	}))
	return in
}

func TestALeaseStaysWithTheVersionThatMadeIt(t *testing.T) {
	t.Parallel()
	older, newer := version("1.0.0"), version("2.0.0")
	w := newWorld(t, nil, older)
	first := w.worker()
	older.Enabled = false
	require.NoError(t, w.host.Set([]host.Installed{older, newer}))
	_, err := first.Acquire(t.Context(), acquire(`{}`))
	require.NoError(t, err, "its worker stays")
	about := func(p drivers.Plugin) string {
		q := theBox
		q.Plugin = p
		o, err := w.host.Offer(q)
		require.NoError(t, err)
		return o.Describe().Plugin.Version
	}
	require.Equal(t, "2.0.0", about(drivers.Plugin{}))
	require.Equal(t, "1.0.0", about(older.Plugin))

	require.NoError(t, w.host.Set([]host.Installed{newer}))
	q := theBox
	q.Plugin = older.Plugin
	_, err = w.host.Offer(q)
	f := failure(t, err, drivers.OutcomeRetryable, "plugin_version_missing")
	require.Contains(t, f.Remediation, "1.0.0")
	newer.AcceptsOlder = true
	require.NoError(t, w.host.Set([]host.Installed{newer}))
	require.Equal(t, "2.0.0", about(older.Plugin))
}

func TestWhoOffersANameIsChosenAlwaysAlike(t *testing.T) {
	t.Parallel()
	b, a := installed(boxed()), installed(boxed())
	a.Plugin.ID, a.Plugin.Key, b.Plugin.ID, b.Plugin.Key = "p-9", "alpha", "p-1", "beta"
	w := newWorld(t, nil, b, a)
	for range 20 {
		require.Equal(t, "alpha", w.offer().Describe().Plugin.Key)
	}
	q := theBox
	q.PluginKey = "beta"
	o, err := w.host.Offer(q)
	require.NoError(t, err)
	require.Equal(t, "beta", o.Describe().Plugin.Key)
	for _, q := range []provider.Query{
		{Kind: provider.KindDriver, Key: "box"}, {Kind: provider.KindSandbox, Key: "crate"}, {Kind: provider.KindSandbox, Key: "box", PluginKey: "gamma"},
	} {
		_, err := w.host.Offer(q)
		failure(t, err, drivers.OutcomeDefinite, "provider_not_installed")
	}
	require.Error(t, w.host.Set([]host.Installed{a, a}), "the same twice")
}

func TestAChangedPluginIsStartedAnew(t *testing.T) {
	t.Parallel()
	in := installed(boxed())
	w := newWorld(t, nil, in)
	w.worker()
	before := identify(t, w.status().PID)
	require.NoError(t, w.host.Set([]host.Installed{in}))
	require.Equal(t, before.PID, w.status().PID, "nothing has changed")
	in.Env = map[string]string{"NEW": "1"}
	require.NoError(t, w.host.Set([]host.Installed{in}))
	require.Equal(t, host.StateStopped, w.status().State)
	w.worker()
	require.NotEqual(t, before.PID, w.status().PID)
	gone(t, before)
}

func TestOptionsThatCannotWorkAreNamed(t *testing.T) {
	t.Parallel()
	_, err := host.New(host.Options{Dir: "relative", Credential: &host.Credential{}})
	for _, text := range []string{"option Dir", "option HostVersion", "option Credential: names root"} {
		require.ErrorContains(t, err, text)
	}
}

package host_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/provider"
	"github.com/tenure-dev/tenure/plugins/host"
	"github.com/tenure-dev/tenure/plugins/manifest"
)

const boxManifest = `{
	"id": "acme.box", "apiVersion": 1, "version": "1.0.0", "displayName": "Box", "description": "Boxes.", "author": "A",
	"categories": ["connector"], "capabilities": ["environment.drivers.register", "metrics.write"], "entrypoints": {"worker": "worker"},
	"environmentDrivers": [{
		"driverKey": "box", "kind": "sandbox_provider", "displayName": "Box", "supportsReusableLeases": true,
		"configSchema": {"type": "object", "properties": {"apiKey": {"type": "string", "format": "secret-ref"}}}
	}],
	"tenure": {"drivers": {"box": {"class": "idempotent", "isolation": "none", "exec": true, "list": true}}}
}`

func boxed(edit ...func(string) string) manifest.Manifest {
	text := boxManifest
	for _, e := range edit {
		text = e(text)
	}
	m, err := manifest.Parse([]byte(text))
	if err != nil {
		panic(err)
	}
	return m
}

// legacy is the manifest of a plugin that knows nothing of this engine.
func legacy() manifest.Manifest {
	return boxed(func(s string) string {
		return strings.Replace(s, `"tenure": {"drivers": {"box": {"class": "idempotent", "isolation": "none", "exec": true, "list": true}}}`, `"x": 1`, 1)
	})
}

// logs are the lines of a host's log.
type logs struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	wake chan struct{}
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.wake)
	l.wake = make(chan struct{})
	return l.buf.Write(p)
}

func (l *logs) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// wait waits until the log holds text.
func (l *logs) wait(t *testing.T, text string) {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		l.mu.Lock()
		found, wake := strings.Contains(l.buf.String(), text), l.wake
		l.mu.Unlock()
		if found {
			return
		}
		select {
		case <-wake:
		case <-deadline:
			t.Fatalf("the log never held %q:\n%s", text, l.text())
		}
	}
}

// world is a host with one scripted plugin.
type world struct {
	t    *testing.T
	dir  string
	host *host.Host
	logs *logs
}

func options(dir string, log *logs) host.Options {
	return host.Options{
		Dir: dir, HostVersion: "1.0.0", InstanceID: "i", DeploymentMode: "local", Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Restart:  host.Restart{First: 20 * time.Millisecond, Longest: 100 * time.Millisecond},
		Timeouts: host.Timeouts{Initialize: time.Minute, HealthReply: 5 * time.Minute}, // of this binary on a busy machine
	}
}

func installed(m manifest.Manifest, flags ...string) host.Installed {
	return host.Installed{
		Plugin: drivers.Plugin{ID: "p-1", Key: "acme.box", Version: m.Version}, Manifest: m, Enabled: true, AsRoot: true,
		Command: append([]string{"/proc/self/exe", workerArg}, flags...),
	}
}

func newWorld(t *testing.T, opts func(*host.Options), in ...host.Installed) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), logs: &logs{wake: make(chan struct{})}}
	o := options(w.dir, w.logs)
	if opts != nil {
		opts(&o)
	}
	h, err := host.New(o)
	require.NoError(t, err)
	w.host = h
	require.NoError(t, h.Set(in))
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // at once
		_ = h.Stop(ctx)
	})
	return w
}

// scriptedWorld is a host whose plugin has these flags.
func scriptedWorld(t *testing.T, flags ...string) *world {
	t.Helper()
	return newWorld(t, nil, installed(boxed(), flags...))
}

var theBox = provider.Query{Kind: provider.KindSandbox, Key: "box"}

func (w *world) offer() provider.Offer {
	w.t.Helper()
	o, err := w.host.Offer(theBox)
	require.NoError(w.t, err)
	return o
}

func (w *world) worker() provider.Worker {
	w.t.Helper()
	wk, err := w.offer().Worker(w.t.Context())
	require.NoError(w.t, err)
	return wk
}

func (w *world) status() host.Status {
	w.t.Helper()
	all := w.host.Status()
	require.Len(w.t, all, 1)
	return all[0]
}

// scope is a call's with this configuration.
func scope(config string) provider.Scope {
	return provider.Scope{CompanyID: "c-1", EnvironmentID: "e-1", Config: json.RawMessage(config)}
}

var token = provider.Token{RuntimeID: "r-1", Installation: "inst", LeaseID: "l-1", Fence: 7}

func acquire(config string) provider.AcquireRequest {
	return provider.AcquireRequest{Scope: scope(config), Token: token, Attempt: 2, Epoch: 3, RunID: "run-1"}
}

func lease(config string) provider.LeaseRequest {
	box := "box-1"
	return provider.LeaseRequest{Scope: scope(config), Token: token, Lease: provider.Lease{ProviderLeaseID: &box, Metadata: json.RawMessage(`{"k":"v"}`)}}
}

// resume asks for the runtime of [lease], for another holder.
func resume(config string) provider.ResumeRequest {
	return provider.ResumeRequest{LeaseRequest: lease(config), Attempt: 2, Epoch: 5, RunID: "run-2", AgentID: "a-2", AdapterType: "codex"}
}

// failure is err as what it must be.
func failure(t *testing.T, err error, outcome drivers.Outcome, code string) drivers.Failure {
	t.Helper()
	f, ok := errors.AsType[*drivers.Failure](err)
	require.True(t, ok, "%T: %v", err, err)
	require.Equal(t, outcome, f.Outcome, "%v", err)
	require.Equal(t, code, f.Code, "%v", err)
	require.NotEmpty(t, f.Step)
	require.NotEmpty(t, f.Remediation)
	return *f
}

func TestAWorkerMakesARuntime(t *testing.T) {
	t.Parallel()
	w := scriptedWorld(t)
	require.Equal(t, host.StateStopped, w.status().State, "nothing starts before it is needed")
	about := w.offer().Describe()
	require.Equal(t, provider.Description{
		Plugin: drivers.Plugin{ID: "p-1", Key: "acme.box", Version: "1.0.0"}, Kind: provider.KindSandbox, Key: "box", Class: drivers.ClassIdempotent,
		Isolation: "none", Exec: true, Streams: true, Probe: true, List: true, ReusableLeases: true,
	}, about)
	got, err := w.worker().Acquire(t.Context(), acquire(`{}`))
	require.NoError(t, err)
	require.Equal(t, "box-1", *got.ProviderLeaseID)
	require.JSONEq(t, `{"k":"v"}`, string(got.Metadata))
	s := w.status()
	require.Equal(t, host.StateRunning, s.State)
	require.NotZero(t, s.PID)
	require.True(t, w.offer().Describe().Destroy, "learnt from the worker")
}

// seenBy asks a worker what it sees.
func seenBy(t *testing.T, w *world) (seen struct {
	Env, FDs                      []string
	Status, Environ, Cmdline, Cwd string
	PID, PGID, SID                int
	Parent                        struct{ Environ, Cmdline string }
},
) {
	t.Helper()
	got, err := w.worker().Acquire(t.Context(), acquire(`{"do":"look"}`))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(got.Metadata, &seen))
	return seen
}

func TestAWorkerHasNothingOfTheEngine(t *testing.T) {
	t.Parallel()
	in := installed(boxed())
	in.Env, in.SecretEnv = map[string]string{"OPERATOR": "named"}, map[string]string{"OPERATOR_TOKEN": "t0p"}
	in.Prepare = func(context.Context) (map[string]string, error) { return map[string]string{"PREPARED": "yes"}, nil }
	// Whoever started the engine may have left files open that a child would inherit.
	left := filepath.Join(t.TempDir(), "left")
	fd, err := unix.Open(left, unix.O_CREAT|unix.O_RDWR, 0o600)
	require.NoError(t, err)
	defer unix.Close(fd) //nolint:errcheck // it is a test's own
	w := newWorld(t, func(o *host.Options) { o.Path, o.NodePath, o.DeploymentExposure = "/usr/bin:/bin", "/mods", "private" }, in)
	seen := seenBy(t, w)
	require.ElementsMatch(t, []string{
		"PATH=/usr/bin:/bin", "NODE_PATH=/mods", "PAPERCLIP_PLUGIN_ID=p-1", "NODE_ENV=production", "TZ=UTC",
		"PAPERCLIP_DEPLOYMENT_MODE=local", "PAPERCLIP_DEPLOYMENT_EXPOSURE=private", "OPERATOR=named", "OPERATOR_TOKEN=t0p", "PREPARED=yes",
	}, seen.Env)
	require.NotContains(t, seen.Environ, "TENURE_TEST") // the marker of package driverstest
	for _, fd := range seen.FDs {
		require.Regexp(t, `^[0-9]+=(pipe:|/proc/|/sys/fs/cgroup/)`, fd)
	}
	require.Equal(t, "/", seen.Cwd)
	require.Equal(t, seen.PID, seen.PGID)
	require.Equal(t, seen.PID, seen.SID)
	require.Contains(t, seen.Status, "NoNewPrivs:\t1")
}

// A11: whatever a worker prints, calls that it answers succeed.
func TestWhatIsPrintedBetweenMessagesIsLoggedAndSkipped(t *testing.T) {
	t.Parallel()
	w := scriptedWorld(t, "banner")
	wk := w.worker()
	_, err := wk.Acquire(t.Context(), acquire(`{"do":"junk","apiKey":"s3cret-key"}`))
	require.NoError(t, err)
	w.logs.wait(t, "started v1.2")
	w.logs.wait(t, `plain [secret]`)
	require.NotContains(t, w.logs.text(), "s3cret-key")
	require.Contains(t, w.logs.text(), "plugin=acme.box")
	require.Zero(t, w.status().Restarts)
}

func TestHalfALineFailsTheCallsInFlightOnly(t *testing.T) {
	t.Parallel()
	w := scriptedWorld(t)
	_, err := w.worker().Acquire(t.Context(), acquire(`{"do":"half"}`))
	failure(t, err, drivers.OutcomeAmbiguous, "worker_died")
	got, err := w.worker().Acquire(t.Context(), acquire(`{}`))
	require.NoError(t, err)
	require.Equal(t, "box-1", *got.ProviderLeaseID)
	require.Equal(t, 1, w.status().Restarts)
}

func TestAReplyOfFiveMegabytesOnOneLineArrives(t *testing.T) {
	t.Parallel()
	got, err := scriptedWorld(t).worker().Acquire(t.Context(), acquire(`{"do":"big"}`))
	require.NoError(t, err)
	require.Greater(t, len(got.Metadata), 5<<20)
}

func TestALineWithoutEndKillsThatPluginOnly(t *testing.T) {
	t.Parallel()
	other := installed(boxed())
	other.Plugin.ID, other.Plugin.Key = "p-2", "other"
	w := newWorld(t, func(o *host.Options) { o.MaxLine = 1 << 20 }, installed(boxed()), other)
	q := theBox
	q.PluginKey = "other"
	o, err := w.host.Offer(q)
	require.NoError(t, err)
	bystander, err := o.Worker(t.Context())
	require.NoError(t, err)
	_, err = w.worker().Acquire(t.Context(), acquire(`{"do":"endless"}`))
	f := failure(t, err, drivers.OutcomeAmbiguous, "worker_died")
	require.ErrorContains(t, &f, "a line is longer than 1048576 bytes")
	require.Less(t, peakMemory(t), 700<<20, "a gigabyte went by")
	_, err = bystander.Acquire(t.Context(), acquire(`{}`))
	require.NoError(t, err)
	_, err = w.worker().Acquire(t.Context(), acquire(`{}`))
	require.NoError(t, err, "it is started again")
}

// peakMemory is the most that this process ever had.
func peakMemory(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(b), "VmHWM:")
	require.True(t, found)
	var kb int
	_, err = fmt.Sscan(rest, &kb)
	require.NoError(t, err)
	return kb << 10
}

func TestSeparatorsOfJavaScriptPassBothWays(t *testing.T) {
	t.Parallel()
	w := scriptedWorld(t)
	got, err := w.worker().Acquire(t.Context(), acquire(`{"do":"separators"}`))
	require.NoError(t, err)
	require.Equal(t, "a\u2028b", *got.ProviderLeaseID)
	_, err = w.worker().Acquire(t.Context(), acquire("{\"x\":\"a\u2028b\u2029c\"}"))
	require.NoError(t, err, "the worker would have died of a raw one")
}

func TestAFloodOnStderrBlocksNobodyAndItsEndIsKept(t *testing.T) {
	t.Parallel()
	w := scriptedWorld(t)
	_, err := w.worker().Acquire(t.Context(), acquire(`{"do":"flood"}`))
	require.NoError(t, err)
	require.LessOrEqual(t, len(w.status().Stderr), 8000)
}

// A start that fails says how, and each way counts.
func TestAStartThatFailsSaysHow(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		flags []string
		in    func(*host.Installed)
		code  string
		says  []string
	}{
		"silence":           {flags: []string{"init-silent"}, code: "plugin_start_failed", says: []string{"did not answer initialize within 300ms"}},
		"an error":          {flags: []string{"init-error"}, code: "plugin_start_failed", says: []string{"setup failed", "[secret]"}},
		"not ok":            {flags: []string{"init-not-ok"}, code: "plugin_start_failed", says: []string{"not ok"}},
		"death":             {flags: []string{"init-die"}, code: "plugin_start_failed", says: []string{"exit status 4", "out of luck"}},
		"an early death":    {flags: []string{"die-at-once"}, code: "plugin_start_failed", says: []string{"exit status 7", "cannot find the module"}},
		"a missing verb":    {flags: []string{"without=tenureExecKill"}, code: "plugin_manifest_lies", says: []string{"tenureExecKill"}},
		"a missing resume":  {flags: []string{"without=environmentResumeLease"}, code: "plugin_manifest_lies", says: []string{"declares reusable leases", "environmentResumeLease"}},
		"a missing acquire": {flags: []string{"without=environmentAcquireLease"}, code: "plugin_manifest_lies", says: []string{"environmentAcquireLease"}},
		"another class":     {flags: []string{"lie-class"}, code: "plugin_manifest_lies", says: []string{"class idempotent", "says blind"}},
		"no extension":      {flags: []string{"legacy"}, code: "plugin_manifest_lies", says: []string{"declared under tenure"}},
		"no such program":   {in: func(in *host.Installed) { in.Command = []string{"/no/such/worker"} }, code: "plugin_starting", says: []string{"its program is not there"}},
		"a preparation": {in: func(in *host.Installed) {
			in.Prepare = func(context.Context) (map[string]string, error) { return nil, errors.New("no cgroup") }
		}, code: "plugin_starting", says: []string{"prepare its start: no cgroup"}},
		"a driver undeclared": {in: func(in *host.Installed) {
			in.Manifest = boxed(func(s string) string { return strings.ReplaceAll(s, `"box"`, `"crate"`) })
		}, code: "plugin_manifest_lies", says: []string{`driver "crate"`, `driver "box"`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := installed(boxed(), tc.flags...)
			in.SecretEnv = map[string]string{"TOKEN": "t0ken-value"}
			if tc.in != nil {
				tc.in(&in)
			}
			w := newWorld(t, func(o *host.Options) {
				if name == "silence" {
					o.Timeouts.Initialize = 300 * time.Millisecond
				}
				o.Restart.First, o.Restart.Longest = time.Hour, time.Hour
			}, in)
			key := "box"
			if _, ok := in.Manifest.Driver(key); !ok {
				key = "crate"
			}
			o, err := w.host.Offer(provider.Query{Kind: provider.KindSandbox, Key: key})
			require.NoError(t, err)
			_, err = o.Worker(t.Context())
			f, ok := errors.AsType[*drivers.Failure](err)
			require.True(t, ok)
			require.Equal(t, drivers.OutcomeRetryable, f.Outcome)
			if tc.code != "plugin_starting" {
				require.Equal(t, tc.code, f.Code, "%v", err)
			}
			for _, text := range tc.says {
				require.ErrorContains(t, err, text)
			}
			require.NotContains(t, err.Error(), "t0ken-value")
			s := w.status()
			require.Equal(t, host.StateResting, s.State)
			require.False(t, s.NextTry.IsZero())
			require.NotEmpty(t, s.LastError)
			entries, err := os.ReadDir(filepath.Join(w.dir, "running"))
			require.NoError(t, err)
			require.Empty(t, entries, "nothing is left running")
		})
	}
}

func TestTheHostAnswersWhileAWorkerStarts(t *testing.T) {
	t.Parallel()
	_, err := scriptedWorld(t, "init-asks").worker().Acquire(t.Context(), acquire(`{}`))
	require.NoError(t, err)
}

func TestAWorkerThatDiesOverACallLeavesItAmbiguous(t *testing.T) {
	t.Parallel()
	w := scriptedWorld(t)
	wk := w.worker()
	_, err := wk.Acquire(t.Context(), acquire(`{"do":"die"}`))
	f := failure(t, err, drivers.OutcomeAmbiguous, "worker_died")
	require.ErrorContains(t, &f, "exit status 3")
	require.ErrorContains(t, &f, "going down")
	_, err = wk.Acquire(t.Context(), acquire(`{}`))
	failure(t, err, drivers.OutcomeRetryable, "worker_unavailable")
	_, err = w.worker().Acquire(t.Context(), acquire(`{}`))
	require.NoError(t, err)
}

func TestAWorkerThatClosesItsOutputIsEnded(t *testing.T) {
	t.Parallel()
	w := scriptedWorld(t)
	_, err := w.worker().Acquire(t.Context(), acquire(`{"do":"close-stdout"}`))
	failure(t, err, drivers.OutcomeAmbiguous, "worker_died")
	_, err = w.worker().Acquire(t.Context(), acquire(`{}`))
	require.NoError(t, err)
}

func TestALateReplyIsNotForgotten(t *testing.T) {
	t.Parallel()
	w := scriptedWorld(t)
	late := make(chan provider.Lease, 1)
	req := acquire(`{"do":"when-cancelled"}`)
	req.Late = func(l provider.Lease) { late <- l }
	ctx, cancel := context.WithCancelCause(t.Context())
	wk := w.worker()
	done := make(chan error, 1)
	go func() {
		_, err := wk.Acquire(ctx, req)
		done <- err
	}()
	// This one is answered once the first has been read.
	_, err := wk.Acquire(t.Context(), acquire(`{"do":"after-another"}`))
	require.NoError(t, err)
	cancel(errors.New("the run was stopped"))
	f := failure(t, <-done, drivers.OutcomeAmbiguous, "worker_no_reply")
	require.ErrorContains(t, &f, "the run was stopped")
	got := <-late
	require.Equal(t, "box-1", *got.ProviderLeaseID)
	require.JSONEq(t, `{"k":"v"}`, string(got.Metadata))
}

// A blind driver is not asked again: a reply that comes after the verb's limit, but while the attempt is open, is its runtime.
func TestABlindDriversReplyIsWaitedForAsLongAsTheAttemptIsOpen(t *testing.T) {
	t.Parallel()
	short := func(o *host.Options) { o.Timeouts.Verb = time.Second }
	w := newWorld(t, short, installed(legacy(), "legacy"))
	wk := w.worker()
	type answer struct {
		lease provider.Lease
		err   error
	}
	first := make(chan answer, 1)
	go func() {
		lease, err := wk.Acquire(t.Context(), acquire(`{"do":"after-another"}`))
		first <- answer{lease, err}
	}()
	// The limit of a verb that begins later is over, so that the first one's would be.
	_, err := wk.Resume(t.Context(), provider.ResumeRequest{LeaseRequest: provider.LeaseRequest{Scope: scope(`{"answers":{"environmentResumeLease":"silent"}}`)}})
	failure(t, err, drivers.OutcomeAmbiguous, "worker_timeout")
	_, err = wk.Acquire(t.Context(), acquire(`{"do":"another"}`))
	require.NoError(t, err)
	got := <-first
	require.NoError(t, got.err)
	require.Equal(t, "box-1", *got.lease.ProviderLeaseID)
}

// A09: the inner limit comes before the outer one, and the provider's own reason is what the caller gets.
func TestTheProvidersOwnReasonWinsOverTheLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *host.Options) { o.Timeouts.Verb = 6 * time.Second }, installed(boxed()))
	_, err := w.worker().Acquire(t.Context(), acquire(`{"do":"reason-when-cancelled"}`))
	f := failure(t, err, drivers.OutcomeDefinite, "image_pull_failed")
	require.Equal(t, "pull", f.Step)
	require.Equal(t, "name an image that exists", f.Remediation)

	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err = w.worker().Acquire(ctx, acquire(`{"do":"reason-when-cancelled"}`))
	failure(t, err, drivers.OutcomeDefinite, "image_pull_failed")
	require.NoError(t, ctx.Err(), "before the caller's own time was over")
	ctx, cancel = context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err = w.worker().Acquire(ctx, acquire(`{"do":"silent"}`))
	f = failure(t, err, drivers.OutcomeAmbiguous, "worker_timeout")
	require.Regexp(t, `limit is over after (4\.[0-7]|[1-3])`, f.Error(), "nor is a worker waited for that says nothing")

	_, err = w.worker().Acquire(t.Context(), acquire(`{"do":"silent"}`))
	f = failure(t, err, drivers.OutcomeAmbiguous, "worker_timeout")
	require.ErrorContains(t, &f, "limit is over after 6s")
}

func TestErrorsKeepTheirMeaning(t *testing.T) {
	t.Parallel()
	w := scriptedWorld(t)
	refuse := func(e string) error {
		_, err := w.worker().Acquire(t.Context(), acquire(`{"do":"refuse","error":`+e+`}`))
		return err
	}
	ours := func(fields string) string {
		return `{"code":-32002,"message":"why","data":{"schema":"tenure/error/v1",` + fields + `}}`
	}
	for _, outcome := range []drivers.Outcome{drivers.OutcomeRetryable, drivers.OutcomeDefinite, drivers.OutcomeAmbiguous} {
		f := failure(t, refuse(ours(fmt.Sprintf(`"outcome":%q,"code":"c","step":"s","remediation":"r"`, outcome))), outcome, "c")
		require.Equal(t, "s", f.Step)
		require.Equal(t, "r", f.Remediation)
		require.EqualError(t, f.Err, "why")
		require.False(t, f.NothingMade)
	}
	nothing := failure(t, refuse(ours(`"outcome":"retryable","code":"c","remediation":"r","nothingMade":true`)), drivers.OutcomeRetryable, "c")
	require.True(t, nothing.NothingMade)
	_, ok := errors.AsType[*drivers.Failure](refuse(ours(`"outcome":"whatever","code":"c","remediation":"r"`)))
	require.True(t, ok)
	failure(t, refuse(ours(`"outcome":"whatever","code":"c","remediation":"r"`)), drivers.OutcomeAmbiguous, "c")
	require.ErrorIs(t, refuse(ours(`"gone":true`)), drivers.ErrGone)
	require.ErrorIs(t, refuse(ours(`"gone":true,"outcome":"definite"`)), drivers.ErrGone)
	require.ErrorIs(t, refuse(ours(`"unsupported":true`)), drivers.ErrUnsupported)
	start, ok := errors.AsType[*drivers.StartError](refuse(ours(`"stage":"cwd","code":"not_found","remediation":"r"`)))
	require.True(t, ok)
	require.Equal(t, "cwd", start.Stage)
	invalid, ok := errors.AsType[*drivers.ConfigError](refuse(ours(`"outcome":"definite","code":"bad_config","problems":[{"field":"config.x","problem":"p","remediation":"r"}]`)))
	require.True(t, ok)
	require.Equal(t, []drivers.FieldProblem{{Field: "config.x", Problem: "p", Remediation: "r"}}, invalid.Problems)

	// The words of others say nothing of what was left behind.
	failure(t, refuse(`{"code":429,"message":"slow down"}`), drivers.OutcomeAmbiguous, "provider_error")
	failure(t, refuse(`{"code":-32002,"message":"boom","data":{"schema":"paperclip/environment-sync-error/v1"}}`), drivers.OutcomeAmbiguous, "provider_error")
	failure(t, refuse(`{"code":-32602,"message":"what?"}`), drivers.OutcomeDefinite, "provider_refused")
	require.ErrorIs(t, refuse(`{"code":-32601,"message":"no"}`), drivers.ErrUnsupported)
	for _, do := range []string{"bad-reply", "null"} {
		_, err := w.worker().Acquire(t.Context(), acquire(`{"do":"`+do+`"}`))
		failure(t, err, drivers.OutcomeAmbiguous, "worker_bad_reply")
	}
	_, err := w.worker().Release(t.Context(), provider.EndRequest{LeaseRequest: lease(`{"answers":{"environmentReleaseLease":{"error":{"code":500,"message":"x"}}}}`)})
	failure(t, err, drivers.OutcomeRetryable, "provider_error")
}

func TestTheEndOfARuntimeHasAReceipt(t *testing.T) {
	t.Parallel()
	w := scriptedWorld(t)
	end := func(method, answer string, cancel bool) (provider.Receipt, error) {
		req := provider.EndRequest{LeaseRequest: lease(`{"answers":{"` + method + `":` + answer + `}}`), CancelActiveWork: cancel}
		if method == "environmentDestroyLease" {
			return w.worker().Destroy(t.Context(), req)
		}
		return w.worker().Release(t.Context(), req)
	}
	for _, tc := range []struct {
		method, answer string
		want           provider.ReceiptState
	}{
		{"environmentReleaseLease", `{"result":null}`, provider.ReceiptUnconfirmed},
		{"environmentReleaseLease", `{"result":{"providerLeaseId":"box-1","state":"stopped"}}`, provider.ReceiptStopped},
		{"environmentReleaseLease", `{"result":{"state":"perhaps"}}`, provider.ReceiptUnconfirmed},
		{"environmentDestroyLease", `{"result":{"state":"destroyed"}}`, provider.ReceiptDestroyed},
		{"environmentDestroyLease", `{"error":{"code":-32002,"message":"x","data":{"schema":"tenure/error/v1","gone":true}}}`, provider.ReceiptDestroyed},
	} {
		got, err := end(tc.method, tc.answer, tc.method == "environmentDestroyLease")
		require.NoError(t, err)
		require.Equal(t, tc.want, got.State)
	}
	_, err := end("environmentReleaseLease", `{"result":null}`, true)
	failure(t, err, drivers.OutcomeRetryable, "release_unconfirmed")
}

func TestResumingTellsGoneFromTheRest(t *testing.T) {
	t.Parallel()
	w := scriptedWorld(t)
	ask := func(answer string) (provider.Lease, error) {
		return w.worker().Resume(t.Context(), resume(`{"answers":{"environmentResumeLease":`+answer+`}}`))
	}
	got, err := ask(`{"result":{"providerLeaseId":"box-1"}}`)
	require.NoError(t, err)
	require.True(t, got.Resumed)
	_, err = ask(`{"result":{"providerLeaseId":null,"metadata":{"expired":true}}}`)
	require.ErrorIs(t, err, drivers.ErrGone)
	_, err = ask(`{"result":{"providerLeaseId":null}}`)
	require.ErrorIs(t, err, drivers.ErrGone)
	_, err = ask(`{"result":{"providerLeaseId":null,"metadata":{"workspaceSentinel":{"result":"mismatch"}}}}`)
	require.ErrorIs(t, err, drivers.ErrMismatch)
	require.NotErrorIs(t, err, drivers.ErrGone)
	_, err = ask(`{"result":{"providerLeaseId":"box-1","metadata":{"workspaceSentinel":{"result":"missing"}}}}`)
	require.ErrorIs(t, err, drivers.ErrMismatch)
	_, err = ask(`{"result":{"providerLeaseId":"box-2"}}`)
	require.ErrorIs(t, err, drivers.ErrMismatch)
	got, err = ask(`{"result":{"providerLeaseId":"box-1","metadata":{"workspaceSentinel":{"result":"matched"}}}}`)
	require.NoError(t, err)
	require.Equal(t, "box-1", *got.ProviderLeaseID)
	_, err = ask(`{"error":{"code":-32002,"message":"x","data":{"schema":"tenure/error/v1","mismatch":true,"code":"c"}}}`)
	require.ErrorIs(t, err, drivers.ErrMismatch)
	_, err = ask(`{"error":{"code":503,"message":"busy"}}`)
	failure(t, err, drivers.OutcomeRetryable, "provider_error")
}

func TestOtherVerbs(t *testing.T) {
	t.Parallel()
	w := scriptedWorld(t)
	answers := func(method, result string) provider.Scope {
		return scope(`{"answers":{"` + method + `":{"result":` + result + `}}}`)
	}
	listed, err := w.worker().ListRuntimes(t.Context(), provider.ListRequest{Installation: "inst", Scope: answers("tenureListRuntimes",
		`{"runtimes":[{"runtimeId":"r","providerLeaseId":null,"leaseId":"l","epoch":4,"createdAt":"2026-01-02T03:04:05.5Z"}]}`)})
	require.NoError(t, err)
	require.Equal(t, []drivers.ListedRuntime{{RuntimeID: "r", LeaseID: "l", Epoch: 4, CreatedAt: time.Date(2026, 1, 2, 3, 4, 5, 5e8, time.UTC)}}, listed)

	found, err := w.worker().Probe(t.Context(), answers("environmentProbe",
		`{"ok":false,"phase":"auth","summary":"no","diagnostics":[{"severity":"error","message":"bad key","code":"x","remediation":"r"},{"severity":"?","message":"m"}]}`))
	require.NoError(t, err)
	require.Equal(t, drivers.ProbeResult{Phase: "auth", Summary: "no", Diagnostics: []drivers.Diagnostic{
		{Severity: drivers.SeverityError, Code: "x", Message: "bad key", Remediation: "r"}, {Severity: drivers.SeverityInfo, Message: "m"},
	}}, found)

	verdict, err := w.worker().ValidateConfig(t.Context(), answers("environmentValidateConfig", `{"ok":true,"warnings":["w"],"normalizedConfig":{"a":1}}`).Config)
	require.NoError(t, err)
	require.Equal(t, provider.ConfigVerdict{Normalized: json.RawMessage(`{"a":1}`), Warnings: []string{"w"}}, verdict)
	_, err = w.worker().ValidateConfig(t.Context(), answers("environmentValidateConfig", `{"ok":false,"errors":["config.a[0]: is bad (mend it)","something else"]}`).Config)
	invalid, ok := errors.AsType[*drivers.ConfigError](err)
	require.True(t, ok)
	require.Equal(t, []drivers.FieldProblem{
		{Field: "config.a[0]", Problem: "is bad", Remediation: "mend it"}, {Field: "config", Problem: "something else", Remediation: "correct it as the plugin says"},
	}, invalid.Problems)
}

func TestAVerbThatIsNotThereIsNotCalled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, installed(legacy(), "legacy", "without=environmentProbe"))
	_, err := w.worker().Probe(t.Context(), scope(`{}`))
	require.ErrorIs(t, err, drivers.ErrUnsupported)
	_, err = w.worker().ListRuntimes(t.Context(), provider.ListRequest{})
	require.ErrorIs(t, err, drivers.ErrUnsupported, "a worker that does not speak the extension has none of its verbs")
	_, err = w.worker().StartExec(t.Context(), provider.StartRequest{})
	require.ErrorIs(t, err, drivers.ErrUnsupported)
	about := w.offer().Describe()
	require.Equal(t, drivers.ClassBlind, about.Class)
	require.Equal(t, "provider", about.Isolation)
	require.False(t, about.Probe)
	require.True(t, about.Destroy)
}

// No secret of a call gets into a log, a status or an error, whatever the worker does with it.
func TestSecretsOfCallsGoNowhere(t *testing.T) {
	t.Parallel()
	w := scriptedWorld(t)
	_, err := w.worker().Acquire(t.Context(), acquire(`{"do":"chatter","apiKey":"line-one-of-key\"quoted"}`))
	f := failure(t, err, drivers.OutcomeAmbiguous, "provider_error")
	require.ErrorContains(t, &f, "the key [secret] is not accepted (code 401)")
	w.logs.wait(t, "key is [secret]")
	w.logs.wait(t, "using key [secret]")
	for _, text := range []string{w.logs.text(), w.status().Stderr, err.Error()} {
		require.NotContains(t, text, "line-one-of-key")
	}
}

// Where an engine listens is no secret: an error that does not say it helps nobody.
func TestOnlyVariablesThatAreSecretAreHidden(t *testing.T) {
	t.Parallel()
	in := installed(boxed())
	in.Env, in.SecretEnv = map[string]string{"ENGINE": "tcp://10.0.0.7:2375"}, map[string]string{"TOKEN": "t0ken-value"}
	in.Prepare = func(context.Context) (map[string]string, error) {
		return map[string]string{"STATE": "/var/lib/state"}, nil
	}
	w := newWorld(t, nil, in)
	_, err := w.worker().Acquire(t.Context(), acquire(`{"do":"refuse","error":{"code":500,"message":"no engine at tcp://10.0.0.7:2375 for t0ken-value in /var/lib/state"}}`))
	require.ErrorContains(t, err, "no engine at tcp://10.0.0.7:2375 for [secret] in /var/lib/state")
}

// What is shown of a long text is its beginning. Half a secret would be found by nobody, so none is cut in two.
func TestNoSecretIsCutInTwo(t *testing.T) {
	t.Parallel()
	w := scriptedWorld(t)
	const key, half = "0123456789-the-key", "0123"
	config := func(rest string) string { return `{"apiKey":"` + key + `",` + rest + `}` }
	upTo := func(limit int) string { return strings.Repeat("x", limit-len(half)) + key }
	answers := func(method, answer string) string { return config(`"answers":{"` + method + `":` + answer + `}`) }

	_, err := w.worker().Acquire(t.Context(), acquire(config(`"do":"refuse","error":{"code":500,"message":"`+upTo(4000)+`"}`)))
	require.NotContains(t, err.Error(), half)
	_, err = w.worker().Acquire(t.Context(), acquire(config(`"do":"refuse","error":{"code":500,"message":"m","data":{"schema":"tenure/error/v1","outcome":"definite",`+
		`"code":"c","step":"`+upTo(1000)+`","remediation":"`+upTo(1000)+`"}}`)))
	f := failure(t, err, drivers.OutcomeDefinite, "c")
	require.NotContains(t, f.Step+f.Remediation, half)

	found, err := w.worker().Probe(t.Context(), scope(answers("environmentProbe", `{"result":{"summary":"`+upTo(4000)+`"}}`)))
	require.NoError(t, err)
	require.NotContains(t, found.Summary, half)
	verdict, err := w.worker().ValidateConfig(t.Context(), json.RawMessage(answers("environmentValidateConfig", `{"result":{"ok":true,"warnings":["`+upTo(1000)+`"]}}`)))
	require.NoError(t, err)
	require.NotContains(t, strings.Join(verdict.Warnings, ""), half)
	_, err = w.worker().ValidateConfig(t.Context(), json.RawMessage(answers("environmentValidateConfig", `{"result":{"ok":false,"errors":["`+upTo(1000)+`"]}}`)))
	require.ErrorContains(t, err, "xxx")
	require.NotContains(t, err.Error(), half)

	_, err = w.worker().Acquire(t.Context(), acquire(config(`"do":"shout","text":"`+upTo(64<<10)+`"`)))
	require.NoError(t, err)
	w.logs.wait(t, "that was all")
	require.Contains(t, w.status().Stderr, "xxx")
	require.NotContains(t, w.status().Stderr+w.logs.text(), half)
}

// The names, codes and sums of a worker are recorded as it says them, so they must be such as can be.
func TestNoWordOfAWorkerHasWhatCannotBeRecorded(t *testing.T) {
	t.Parallel()
	w := scriptedWorld(t)
	_, err := w.worker().Acquire(t.Context(), acquire(`{"do":"refuse","error":{"code":1,"message":"a\u0000b","data":{"schema":"tenure/error/v1","outcome":"definite",`+
		`"code":"c\u0000","step":"s\u0000","remediation":"r\u0000"}}}`))
	f := failure(t, err, drivers.OutcomeDefinite, "c\uFFFD")
	require.NotContains(t, f.Step+f.Remediation+err.Error(), "\x00")
	for _, id := range []string{`a\u0000b`, strings.Repeat("x", 5000)} {
		_, err = w.worker().Acquire(t.Context(), acquire(`{"do":"named","name":"`+id+`"}`))
		failure(t, err, drivers.OutcomeAmbiguous, "worker_bad_reply")
		_, err = w.worker().Resume(t.Context(), resume(`{"answers":{"environmentResumeLease":{"result":{"providerLeaseId":"`+id+`"}}}}`))
		failure(t, err, drivers.OutcomeAmbiguous, "worker_bad_reply")
	}
	e, _, err := w.start("x-1", "unclean")
	require.NoError(t, err)
	require.Equal(t, "b\uFFFD", e.Process().BootID)
	r := wait(t, e)
	require.Equal(t, drivers.ExecUnknown, r.End, "a digest that is none")
	require.Equal(t, drivers.OutputLost, r.Output.State)
	require.NotContains(t, r.Output.Stdout.SHA256, "\x00")
}

func TestWhatAWorkerSaysIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *host.Options) { o.Timeouts.Health = 20 * time.Millisecond }, installed(boxed(), "chatty-health"))
	many := strings.TrimSuffix(strings.Repeat(`"e",`, 1000), ",")
	problems := strings.TrimSuffix(strings.Repeat(`{"field":"f","problem":"p"},`, 1000), ",")
	_, err := w.worker().Acquire(t.Context(), acquire(`{"do":"refuse","error":{"code":1,"message":"m","data":{"schema":"tenure/error/v1","outcome":"definite","problems":[`+problems+`]}}}`))
	invalid, ok := errors.AsType[*drivers.ConfigError](err)
	require.True(t, ok)
	require.Len(t, invalid.Problems, 100)
	verdict, err := w.worker().ValidateConfig(t.Context(), json.RawMessage(`{"answers":{"environmentValidateConfig":{"result":{"ok":true,"warnings":[`+many+`]}}}}`))
	require.NoError(t, err)
	require.Len(t, verdict.Warnings, 100)
	_, err = w.worker().ValidateConfig(t.Context(), json.RawMessage(`{"answers":{"environmentValidateConfig":{"result":{"ok":false,"errors":[`+many+`]}}}}`))
	invalid, ok = errors.AsType[*drivers.ConfigError](err)
	require.True(t, ok)
	require.Len(t, invalid.Problems, 100)

	e, _, err := w.start("x-1", "shot")
	require.NoError(t, err)
	require.Less(t, len(wait(t, e).Signal), 200)
	got, err := execute(w, "c-1", provider.ExecuteRequest{Argv: []string{"shot"}})
	require.NoError(t, err)
	require.Less(t, len(got.Signal), 200)

	liar := scriptedWorld(t, "lie-at-length")
	_, err = liar.offer().Worker(t.Context())
	require.ErrorContains(t, err, "the manifest promises what the worker does not have")
	require.Less(t, len(err.Error()), 5000)

	for w.status().Health == "" { // it is asked all the time
		_, err := w.worker().Acquire(t.Context(), acquire(`{}`))
		require.NoError(t, err)
	}
	require.Less(t, len(w.status().Health), 2000)
}

func TestAWorkerGetsFromTheHostOnlyWhatItMay(t *testing.T) {
	t.Parallel()
	w := scriptedWorld(t)
	ask := func(a string) (code float64, result any) {
		t.Helper()
		got, err := w.worker().Acquire(t.Context(), acquire(`{"do":"ask","ask":`+a+`}`))
		require.NoError(t, err)
		var m struct {
			Result any
			Error  *struct{ Code float64 }
		}
		require.NoError(t, json.Unmarshal(got.Metadata, &m))
		if m.Error != nil {
			return m.Error.Code, nil
		}
		return 0, m.Result
	}
	for name, tc := range map[string]struct {
		ask  string
		want float64
	}{
		"its configuration":           {`{"method":"config.get","params":{"companyId":"c-1"},"invocation":"own"}`, 0},
		"its configuration, no scope": {`{"method":"config.get","params":{}}`, 0},
		"another company":             {`{"method":"config.get","params":{"companyId":"c-2"},"invocation":"own"}`, -32005},
		"no invocation":               {`{"method":"config.get","params":{"companyId":"c-1"}}`, -32005},
		"an invocation that is over":  {`{"method":"config.get","params":{"companyId":"c-1"},"invocation":"gone"}`, -32005},
		"what is declared":            {`{"method":"metrics.write","params":{"name":"x"},"invocation":"own"}`, 0},
		"what is not declared":        {`{"method":"http.fetch","params":{"url":"http://x"},"invocation":"own"}`, -32001},
		"a secret":                    {`{"method":"secrets.resolve","params":{},"invocation":"own"}`, -32001},
		"state that is not kept":      {`{"method":"state.get","params":{},"invocation":"own"}`, -32001},
		"what is not here":            {`{"method":"issues.create","params":{},"invocation":"own"}`, -32601},
		"what is not here, elsewhere": {`{"method":"issues.create","params":{"companyId":"c-2"},"invocation":"own"}`, -32005},
		"a log line":                  {`{"method":"log","params":{"level":"info","message":"hello log"}}`, 0},
	} {
		code, _ := ask(tc.ask)
		require.InDelta(t, tc.want, code, 0, name)
	}
	w.logs.wait(t, "hello log")
	secretive := newWorld(t, nil, installed(boxed(func(s string) string { return strings.Replace(s, "metrics.write", "secrets.read-ref", 1) })))
	w = secretive
	code, _ := ask(`{"method":"secrets.resolve","params":{"secretRef":{"type":"secret_ref","secretId":"s"}},"invocation":"own"}`)
	require.InDelta(t, -32001, code, 0, "even declared: the configuration holds what is for it")
}

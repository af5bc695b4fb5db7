package sdk_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/plugins/fake"
	"github.com/tenure-dev/tenure/plugins/protocol"
	"github.com/tenure-dev/tenure/plugins/sdk"
)

func TestTheHandshakeSaysWhatTheDriversAre(t *testing.T) {
	t.Parallel()
	p, _ := fakePlugin(t)
	w := serve(t, p)
	r := w.initialize(true)
	require.Equal(t, map[string]protocol.TenureDriver{
		"fake":          {Class: "idempotent", Isolation: "none", Exec: true, List: true},
		"fake-listable": {Class: "listable", Isolation: "none", Exec: true, List: true},
		"fake-blind":    {Class: "blind", Isolation: "none", Exec: true},
	}, r.Tenure.Drivers)
	for _, m := range []string{protocol.MethodAcquire, protocol.MethodExecute, protocol.MethodExecStart, protocol.MethodList, protocol.MethodResume} {
		require.Contains(t, r.SupportedMethods, m)
	}
	var again protocol.InitializeResult
	require.ErrorContains(t, w.Call(t.Context(), protocol.MethodInitialize, protocol.InitializeParams{}, &again), "already initialized")
	var health protocol.HealthResult
	require.NoError(t, w.Call(t.Context(), protocol.MethodHealth, nil, &health))
	require.Equal(t, "ok", health.Status)
	err := w.Call(t.Context(), "environmentFly", struct{}{}, nil)
	e, ok := errors.AsType[*protocol.Error](err)
	require.True(t, ok)
	require.EqualValues(t, protocol.CodeMethodNotFound, e.Code)
}

func TestAHostWithoutTheExtensionHasThePublishedVerbsOnly(t *testing.T) {
	t.Parallel()
	p, dir := fakePlugin(t)
	w := serve(t, p)
	r := w.initialize(false)
	require.Nil(t, r.Tenure)
	require.NotContains(t, r.SupportedMethods, protocol.MethodExecStart)
	err := w.Call(t.Context(), protocol.MethodList, protocol.ListParams{Base: base("")}, nil)
	e, _ := errors.AsType[*protocol.Error](err)
	require.EqualValues(t, protocol.CodeMethodNotFound, e.Code)

	var lease protocol.Lease
	require.NoError(t, w.Call(t.Context(), protocol.MethodAcquire, protocol.AcquireParams{Base: base(""), RunID: "run"}, &lease))
	require.NotNil(t, lease.ProviderLeaseID)
	stdin := "in \u2028 put"
	var done protocol.ExecuteResult
	require.NoError(t, w.Call(t.Context(), protocol.MethodExecute, protocol.ExecuteParams{
		Base: base(""), Lease: lease, Command: "cat", Stdin: &stdin,
	}, &done, protocol.WithInvocation(protocol.Invocation{ID: "inv-1"})))
	require.Equal(t, stdin, done.Stdout)
	require.Zero(t, *done.ExitCode)
	require.False(t, done.TimedOut)
	require.Equal(t, []protocol.ExecuteLog{{Stream: "stdout", Chunk: stdin}}, w.logs)
	require.NoError(t, w.Call(t.Context(), protocol.MethodExecute, protocol.ExecuteParams{
		Base: base(""), Lease: lease, Command: "sleep", TimeoutMs: 20,
	}, &done))
	require.True(t, done.TimedOut)
	require.Nil(t, done.ExitCode)
	require.NoError(t, w.Call(t.Context(), protocol.MethodExecute, protocol.ExecuteParams{
		Base: base(""), Lease: lease, Command: "nothing", Env: map[string]string{"A": "b"},
	}, &done))
	require.Equal(t, 127, *done.ExitCode)
	require.NoError(t, w.Call(t.Context(), protocol.MethodExecute, protocol.ExecuteParams{
		Base: base(""), Lease: lease, Command: "fill", Args: []string{fmt.Sprint(9 << 20)},
	}, &done))
	require.Len(t, done.Stdout, 8<<20, "a reply is bounded")
	require.JSONEq(t, fmt.Sprintf(`{"outputDropped": %d}`, 1<<20), string(done.Metadata))

	var receipt protocol.Receipt
	end := protocol.EndParams{LeaseParams: protocol.LeaseParams{Base: base(""), ProviderLeaseID: lease.ProviderLeaseID, LeaseMetadata: lease.Metadata}}
	require.NoError(t, w.Call(t.Context(), protocol.MethodRelease, end, &receipt))
	require.Equal(t, protocol.Receipt{ProviderLeaseID: *lease.ProviderLeaseID, State: "destroyed"}, receipt)
	requireLive(t, dir, 0)
}

func requireLive(t *testing.T, dir string, want int) {
	t.Helper()
	led, err := fake.ReadLedger(fake.LedgerPath(dir))
	require.NoError(t, err)
	require.Len(t, led.Live(), want)
}

func TestErrorsKeepWhatTheySay(t *testing.T) {
	t.Parallel()
	p, _ := fakePlugin(t)
	w := serve(t, p)
	w.initialize(true)

	_, err := w.acquire("r1", `{"script": [{"verb": "acquire", "action": "fail", "outcome": "ambiguous", "code": "no_quota", "step": "boot", "message": "full", "remediation": "wait"}]}`)
	e, d := dataOf(t, err)
	require.Equal(t, "full", e.Message)
	require.Equal(t, protocol.ErrorData{Schema: protocol.ErrorSchema, Outcome: "ambiguous", Code: "no_quota", Step: "boot", Remediation: "wait"}, d)

	_, err = w.acquire("r1", `{"image": 7}`)
	_, d = dataOf(t, err)
	require.Equal(t, "definite", d.Outcome)
	require.Equal(t, "config.image", d.Problems[0].Field)

	var verdict protocol.ValidateConfigResult
	require.NoError(t, w.Call(t.Context(), protocol.MethodValidateConfig, protocol.ValidateConfigParams{DriverKey: "fake", Config: json.RawMessage(`{"size": 1}`)}, &verdict))
	require.False(t, verdict.OK)
	require.Contains(t, verdict.Errors[0], "config.size")

	_, d = dataOf(t, w.start("x1", leaseParams("absent", "", protocol.Lease{}), 1<<20, "echo"))
	require.Equal(t, "runtime", d.Stage)
	require.True(t, d.Gone)
	require.Empty(t, d.Outcome)
	_, d = dataOf(t, w.start("x2", leaseParams("absent", "", protocol.Lease{}), 1<<20, ""))
	require.Equal(t, "argv", d.Stage)

	list := protocol.ListParams{Base: base("")}
	list.DriverKey = "fake-blind"
	e, d = dataOf(t, w.Call(t.Context(), protocol.MethodList, list, nil))
	require.True(t, d.Unsupported)
	require.EqualValues(t, protocol.CodeMethodNotImplemented, e.Code)

	id := "sandbox://fake/run/none"
	var lease protocol.Lease
	require.NoError(t, w.Call(t.Context(), protocol.MethodResume, protocol.LeaseParams{Base: base(""), ProviderLeaseID: &id}, &lease))
	require.Nil(t, lease.ProviderLeaseID, "gone, in the published words")

	for _, params := range []any{nil, 3, []int{1}, map[string]any{"driverKey": 3}} {
		err := w.Call(t.Context(), protocol.MethodAcquire, params, nil)
		e, ok := errors.AsType[*protocol.Error](err)
		require.True(t, ok)
		require.EqualValues(t, protocol.CodeInvalidParams, e.Code)
	}
	other := base("")
	other.DriverKey = "nobody"
	err = w.Call(t.Context(), protocol.MethodAcquire, protocol.AcquireParams{Base: other}, nil)
	require.ErrorContains(t, err, "nobody")
}

func TestOutputIsExactAndWithinTheCredit(t *testing.T) {
	t.Parallel()
	p, _ := fakePlugin(t)
	w := serve(t, p)
	w.initialize(true)
	lease, err := w.acquire("r1", "")
	require.NoError(t, err)

	raw := make([]byte, 300_000)
	for i := range raw {
		raw[i] = byte(i * 7)
	}
	const first = 10_000
	params := protocol.ExecStartParams{LeaseParams: leaseParams("r1", "", lease), ExecID: "x1", Argv: [][]byte{[]byte("cat")}, Stdin: raw, Credit: first}
	require.NoError(t, w.Call(t.Context(), protocol.MethodExecStart, params, nil))
	w.await(func() bool { return len(w.bytesOf("x1", 1)) == first })
	// The command has ended long since, and a call goes and comes: nothing more is sent without credit.
	require.NoError(t, w.Call(t.Context(), protocol.MethodHealth, nil, nil))
	w.mu.Lock()
	require.Len(t, w.bytesOf("x1", 1), first)
	require.Empty(t, w.ends["x1"])
	w.mu.Unlock()
	for range 30 {
		require.NoError(t, w.Notify(t.Context(), protocol.NotifyExecCredit, protocol.ExecCredit{ExecID: "x1", Bytes: first}))
	}
	result := w.end("x1")
	require.Equal(t, drivers.ExecExited, result.End)
	require.Equal(t, drivers.OutputComplete, result.Output.State)
	require.EqualValues(t, len(raw), result.Output.Stdout.Bytes)
	w.mu.Lock()
	require.Equal(t, raw, w.bytesOf("x1", 1))
	w.mu.Unlock()
}

func TestAKillEndsACommandOnce(t *testing.T) {
	t.Parallel()
	p, _ := fakePlugin(t)
	w := serve(t, p)
	w.initialize(true)
	lease, err := w.acquire("r1", "")
	require.NoError(t, err)
	require.NoError(t, w.start("x1", leaseParams("r1", "", lease), 1<<20, "sleep", "600"))
	_, d := dataOf(t, w.start("x1", leaseParams("r1", "", lease), 1<<20, "echo"))
	require.Equal(t, "exec_exists", d.Code)
	for range 3 {
		require.NoError(t, w.Call(t.Context(), protocol.MethodExecKill, protocol.ExecKillParams{ExecID: "x1", Why: "asked for"}, nil))
	}
	result := w.end("x1")
	require.Equal(t, drivers.ExecKilled, result.End)
	require.Equal(t, "asked for", result.Why)
	require.NoError(t, w.Call(t.Context(), protocol.MethodExecKill, protocol.ExecKillParams{ExecID: "never was"}, nil))
	require.Len(t, w.ends["x1"], 1)
}

func TestACanceledCallEndsAndALateAnswerIsSent(t *testing.T) {
	t.Parallel()
	p, dir := fakePlugin(t)
	w := serve(t, p)
	w.initialize(true)
	for live, action := range []string{"delay", "late"} { // in this order: what the late one makes stays
		ctx, cancel := context.WithCancel(t.Context())
		params := protocol.AcquireParams{
			Base: base(`{"script": [{"verb": "acquire", "action": "` + action + `", "ms": 5000}]}`), RunID: "run", Tenure: token("r-" + action),
		}
		late, answered := make(chan error, 1), make(chan error, 1)
		go func() {
			answered <- w.Call(ctx, protocol.MethodAcquire, params, nil, protocol.OnLate(func(_ json.RawMessage, err error) { late <- err }))
		}()
		w.awaitCall("acquire r-"+action, dir)
		cancel()
		require.Error(t, <-answered)
		require.Equal(t, live == 1, <-late == nil)
		requireLive(t, dir, live)
	}
}

// strange is a driver whose Release panics.
type strange struct{ drivers.Driver }

func (strange) Release(context.Context, drivers.ReleaseRequest) error { panic("the password is 1234") }

func TestAPanicIsAnErrorOfTheCall(t *testing.T) {
	t.Parallel()
	p, _ := fakePlugin(t)
	p.Drivers = map[string]drivers.Driver{"fake": strange{p.Drivers["fake"]}}
	w := serve(t, p)
	w.initialize(true)
	err := w.Call(t.Context(), protocol.MethodRelease, protocol.EndParams{LeaseParams: leaseParams("r", "", protocol.Lease{})}, nil)
	e, d := dataOf(t, err)
	require.Equal(t, "ambiguous", d.Outcome)
	require.Equal(t, "panic", d.Code)
	require.NotContains(t, e.Message, "1234")
	require.NoError(t, w.Call(t.Context(), protocol.MethodHealth, nil, nil), "the worker lives on")
}

// unreachable is a driver that reaches nothing that could make a runtime.
type unreachable struct{ drivers.Driver }

func (unreachable) Acquire(context.Context, drivers.AcquireRequest) (drivers.Runtime, error) {
	return drivers.Runtime{}, &drivers.Failure{Outcome: drivers.OutcomeRetryable, Code: "unreachable", NothingMade: true, Err: errors.New("no route")}
}

func TestThatNothingWasMadeIsSaid(t *testing.T) {
	t.Parallel()
	p, _ := fakePlugin(t)
	p.Drivers = map[string]drivers.Driver{"fake": unreachable{p.Drivers["fake"]}}
	w := serve(t, p)
	w.initialize(true)
	_, err := w.acquire("r1", "{}")
	_, d := dataOf(t, err)
	require.Equal(t, "unreachable", d.Code)
	require.True(t, d.NothingMade)
}

// stranger is a driver whose commands panic: when they are asked which process they are, or when they are waited for.
type stranger struct {
	*holding
	atOnce bool
}

func (s stranger) StartExec(ctx context.Context, req drivers.ExecRequest) (drivers.Exec, error) {
	e, err := s.holding.StartExec(ctx, req)
	return strangeExec{e, s.atOnce}, err
}

type strangeExec struct {
	drivers.Exec
	atOnce bool
}

func (e strangeExec) Process() drivers.Process {
	if e.atOnce {
		panic("which process?")
	}
	return e.Exec.Process()
}

func (strangeExec) Wait(context.Context) (drivers.ExecResult, error) { panic("wait?") }

func TestAPanicOfACommandIsItsEnd(t *testing.T) {
	t.Parallel()
	for _, atOnce := range []bool{false, true} {
		p, _ := fakePlugin(t)
		d := stranger{&holding{Driver: p.Drivers["fake"]}, atOnce}
		p.Drivers = map[string]drivers.Driver{"fake": d}
		w := serve(t, p)
		w.initialize(true)
		lease, err := w.acquire("r1", "")
		require.NoError(t, err)
		err = w.start("x1", leaseParams("r1", "", lease), 1<<20, "sleep")
		if atOnce {
			_, data := dataOf(t, err)
			require.Equal(t, "panic", data.Code)
			result, err := d.exec.Wait(t.Context())
			require.NoError(t, err)
			require.Equal(t, drivers.ExecKilled, result.End, "what was started is not left running")
			continue
		}
		require.NoError(t, err)
		require.Equal(t, drivers.ExecUnknown, w.end("x1").End)
	}
}

func TestAShutdownDrainsInOrder(t *testing.T) {
	t.Parallel()
	p, dir := fakePlugin(t)
	p.Drain = 4 * time.Minute
	w := serve(t, p)
	w.initialize(true)
	lease, err := w.acquire("r1", "")
	require.NoError(t, err)
	require.NoError(t, w.start("x1", leaseParams("r1", "", lease), 1<<20, "sleep"))
	acquired := make(chan error, 1)
	go func() {
		_, err := w.acquire("r2", `{"script": [{"verb": "acquire", "action": "delay", "ms": 200}]}`)
		acquired <- err
	}()
	w.awaitCall("acquire r2", dir)
	require.NoError(t, w.Call(t.Context(), protocol.MethodShutdown, nil, nil))
	require.NoError(t, <-acquired, "what runs may finish")
	require.Equal(t, "worker_ended", w.end("x1").Why)
	require.NoError(t, <-w.served)
	w.served <- nil
	requireLive(t, dir, 2)
	err = w.Call(t.Context(), protocol.MethodHealth, nil, nil)
	require.ErrorIs(t, err, protocol.ErrClosed)
}

// awaitCall waits until a scripted call is in the ledger.
func (w *wire) awaitCall(scope, dir string) {
	w.t.Helper()
	require.Eventually(w.t, func() bool {
		raw, _ := os.ReadFile(fake.LedgerPath(dir))
		return strings.Contains(string(raw), scope)
	}, time.Minute, 5*time.Millisecond)
}

func TestTheWorkerEndsWithItsHost(t *testing.T) {
	t.Parallel()
	for name, stop := range map[string]func(*wire){
		"the host closes the wire": func(w *wire) { _ = w.Close() },
		"a signal":                 func(w *wire) { w.stop() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, dir := fakePlugin(t)
			held := &holding{Driver: p.Drivers["fake"]}
			p.Drivers["fake"] = held
			closed := p.Closed
			p.Closed = nil // it would end the command as well
			t.Cleanup(func() { require.NoError(t, closed()) })
			w := serve(t, p)
			w.initialize(true)
			lease, err := w.acquire("r1", "")
			require.NoError(t, err)
			require.NoError(t, w.start("x1", leaseParams("r1", "", lease), 1<<20, "sleep"))
			go func() { _, _ = w.acquire("r2", `{"script": [{"verb": "acquire", "action": "silent"}]}`) }()
			w.awaitCall("acquire r2", dir)
			stop(w)
			require.NoError(t, <-w.served)
			w.served <- nil
			ended, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			result, err := held.exec.Wait(ended)
			require.NoError(t, err, "a command does not outlive its worker")
			require.Equal(t, drivers.ExecKilled, result.End)
			require.NoDirExists(t, held.journal)
		})
	}
}

// holding remembers the command that it started.
type holding struct {
	drivers.Driver
	exec    drivers.Exec
	journal string
}

func (h *holding) StartExec(ctx context.Context, req drivers.ExecRequest) (e drivers.Exec, err error) {
	h.exec, err = h.Driver.(drivers.Executor).StartExec(ctx, req)
	h.journal = req.JournalDir
	return h.exec, err
}

func TestAManifestSaysWhatTheDriversAre(t *testing.T) {
	t.Parallel()
	p, _ := fakePlugin(t)
	p.Manifest = sdk.Manifest{ID: "acme.boxes", Version: "1.2.3", DisplayName: "Boxes", Drivers: map[string]sdk.DriverManifest{
		"fake": {ConfigSchema: json.RawMessage(fake.ConfigSchema)},
	}}
	raw, err := p.ManifestJSON()
	require.NoError(t, err)
	var m struct {
		ID         string
		APIVersion int `json:"apiVersion"`
		Drivers    []struct {
			DriverKey    string `json:"driverKey"`
			ConfigSchema json.RawMessage
		} `json:"environmentDrivers"`
		Tenure struct {
			Drivers map[string]protocol.TenureDriver
		}
	}
	require.NoError(t, json.Unmarshal(raw, &m))
	require.Equal(t, "acme.boxes", m.ID)
	require.Equal(t, 1, m.APIVersion)
	require.Len(t, m.Drivers, 3)
	require.JSONEq(t, fake.ConfigSchema, string(m.Drivers[0].ConfigSchema))
	require.Equal(t, "blind", m.Tenure.Drivers["fake-blind"].Class)
	p.Manifest.Drivers["absent"] = sdk.DriverManifest{}
	_, err = p.ManifestJSON()
	require.ErrorContains(t, err, "absent")
	_, err = sdk.Plugin{}.ManifestJSON()
	require.Error(t, err)
}

func TestEveryAnswerIsOnTheWireBeforeItCloses(t *testing.T) {
	t.Parallel()
	p, dir := fakePlugin(t)
	p.Drain = 4 * time.Minute
	w := serve(t, p)
	w.initialize(true)
	acquired := make(chan error, 1)
	go func() { // the call is over long before its answer is encoded
		_, err := w.acquire("r1", `{"script": [{"verb": "acquire", "action": "swell", "bytes": 10000000}, {"verb": "acquire", "action": "delay", "ms": 100}]}`)
		acquired <- err
	}()
	w.awaitCall("acquire r1", dir)
	require.NoError(t, w.Call(t.Context(), protocol.MethodShutdown, nil, nil))
	require.NoError(t, <-acquired)
	require.NoError(t, <-w.served)
	w.served <- nil
}

// listening is a driver that remembers what it was asked.
type listening struct {
	drivers.Driver
	acquire drivers.AcquireRequest
	release drivers.ReleaseRequest
	exec    drivers.ExecRequest
	list    drivers.ListRequest
	probe   drivers.ProbeRequest
	resume  drivers.ResumeRequest
	keep    drivers.KeepRequest
}

func (l *listening) Acquire(_ context.Context, req drivers.AcquireRequest) (drivers.Runtime, error) {
	l.acquire = req
	return drivers.Runtime{}, nil
}

func (l *listening) Release(_ context.Context, req drivers.ReleaseRequest) error {
	l.release = req
	return nil
}

func (l *listening) StartExec(_ context.Context, req drivers.ExecRequest) (drivers.Exec, error) {
	l.exec = req
	return nil, drivers.ErrGone
}

func (l *listening) ListRuntimes(_ context.Context, req drivers.ListRequest) ([]drivers.ListedRuntime, error) {
	l.list = req
	return nil, nil
}

func (l *listening) Probe(_ context.Context, req drivers.ProbeRequest) (drivers.ProbeResult, error) {
	l.probe = req
	return drivers.ProbeResult{}, nil
}

func (l *listening) Keep(_ context.Context, req drivers.KeepRequest) error {
	l.keep = req
	return nil
}

func (l *listening) Resume(_ context.Context, req drivers.ResumeRequest) (drivers.Runtime, error) {
	l.resume = req
	return drivers.Runtime{}, drivers.ErrGone
}

func TestADriverIsToldEverythingThatTheHostSays(t *testing.T) {
	t.Parallel()
	p, _ := fakePlugin(t)
	l := &listening{Driver: p.Drivers["fake"]}
	p.Drivers = map[string]drivers.Driver{"fake": l}
	w := serve(t, p)
	w.initialize(true)
	text := func(s string) *string { return &s }
	config := json.RawMessage(`{"a":1}`)
	b := protocol.Base{DriverKey: "fake", CompanyID: "company", EnvironmentID: "environment", IssueID: text("issue"), Config: config}
	token := &protocol.TenureToken{RuntimeID: "runtime", Installation: "installation", LeaseID: "lease", Fence: 1<<60 + 1, Epoch: 3, Attempt: 4}
	require.NoError(t, w.Call(t.Context(), protocol.MethodAcquire, protocol.AcquireParams{
		Base: b, RunID: "run", AgentID: text("agent"), ExecutionWorkspaceID: text("workspace"), WorkspaceMode: text("mode"), AdapterType: text("adapter"), Tenure: token,
	}, nil))
	require.Equal(t, drivers.AcquireRequest{
		RuntimeID: "runtime", Installation: "installation", Epoch: 3, Attempt: 4, Fence: 1<<60 + 1, LeaseID: "lease", CompanyID: "company",
		EnvironmentID: "environment", RunID: "run", IssueID: "issue", AgentID: "agent", ExecutionWorkspaceID: "workspace", ExecutionWorkspaceMode: "mode",
		AdapterType: "adapter", Config: config, StoredConfig: config,
	}, l.acquire)

	lease := protocol.LeaseParams{Base: b, ProviderLeaseID: text("provider"), LeaseMetadata: json.RawMessage(`{"m":1}`), Tenure: token}
	h := drivers.Handle{
		RuntimeID: "runtime", ProviderLeaseID: text("provider"), Metadata: lease.LeaseMetadata, Config: config, Installation: "installation",
		Fence: 1<<60 + 1, LeaseID: "lease", CompanyID: "company", EnvironmentID: "environment", IssueID: "issue",
	}
	require.NoError(t, w.Call(t.Context(), protocol.MethodRelease, protocol.EndParams{LeaseParams: lease}, nil))
	require.Equal(t, drivers.ReleaseRequest{Handle: h, Attempt: 4}, l.release)
	keeping := *token
	keeping.Keep = protocol.KeepStopped
	kept := lease
	kept.Tenure = &keeping
	var receipt protocol.Receipt
	require.NoError(t, w.Call(t.Context(), protocol.MethodRelease, protocol.EndParams{LeaseParams: kept}, &receipt))
	require.Equal(t, drivers.KeepRequest{Handle: h, Attempt: 4, Stop: true}, l.keep)
	require.Equal(t, protocol.Receipt{ProviderLeaseID: "provider", State: "stopped"}, receipt)
	next := *token
	next.Holder = &protocol.TenureHolder{RunID: "run", AgentID: "agent", ExecutionWorkspaceID: "workspace", WorkspaceMode: "mode", AdapterType: "adapter"}
	lease.Tenure = &next
	require.NoError(t, w.Call(t.Context(), protocol.MethodResume, lease, nil))
	require.Equal(t, drivers.ResumeRequest{AcquireRequest: l.acquire, ProviderLeaseID: h.ProviderLeaseID, Metadata: h.Metadata}, l.resume)
	lease.Tenure = token

	require.Error(t, w.Call(t.Context(), protocol.MethodExecStart, protocol.ExecStartParams{
		LeaseParams: lease, ExecID: "x", Argv: [][]byte{[]byte("a"), []byte("\xff")}, Cwd: []byte("dir"), Stdin: []byte("in"),
		Env: []protocol.ExecValue{{Name: []byte("A"), Value: []byte("\x80")}}, TimeoutMs: 1500, GraceMs: 250,
	}, nil))
	require.NotEmpty(t, l.exec.JournalDir)
	l.exec.JournalDir = ""
	require.Equal(t, drivers.ExecRequest{
		Handle: h, ExecID: "x", Argv: []string{"a", "\xff"}, Cwd: "dir", Env: []drivers.EnvVar{{Name: "A", Value: "\x80"}}, Stdin: []byte("in"),
		Timeout: 1500 * time.Millisecond, Grace: 250 * time.Millisecond,
	}, l.exec)

	require.NoError(t, w.Call(t.Context(), protocol.MethodList, protocol.ListParams{Base: b, Installation: "other"}, nil))
	require.Equal(t, drivers.ListRequest{Installation: "other", Config: config}, l.list)
	require.NoError(t, w.Call(t.Context(), protocol.MethodProbe, protocol.ProbeParams{Base: b}, nil))
	require.Equal(t, drivers.ProbeRequest{CompanyID: "company", EnvironmentID: "environment", Config: config}, l.probe)
}

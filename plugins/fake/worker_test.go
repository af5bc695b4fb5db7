package fake_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/plugins/fake"
	"github.com/tenure-dev/tenure/plugins/manifest"
	"github.com/tenure-dev/tenure/plugins/protocol"
)

// TestMain makes a worker of the test's binary when it is asked to.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "__fake" {
		if err := fake.Serve(context.Background(), os.Args[2]); err != nil {
			_, _ = io.WriteString(os.Stderr, err.Error()+"\n")
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// worker is a process that serves the fake.
type worker struct {
	*protocol.Conn
	cmd    *exec.Cmd
	ended  chan struct{}
	code   int // valid once ended is closed
	stderr strings.Builder

	mu   sync.Mutex
	junk []string
}

func start(t *testing.T, dir string) *worker {
	t.Helper()
	w := &worker{cmd: exec.Command("/proc/self/exe", "__fake", dir), ended: make(chan struct{})}
	in, err := w.cmd.StdinPipe()
	require.NoError(t, err)
	outR, outW, err := os.Pipe()
	require.NoError(t, err)
	w.cmd.Stdout, w.cmd.Stderr, w.cmd.Env = outW, &w.stderr, []string{}
	require.NoError(t, w.cmd.Start())
	require.NoError(t, outW.Close())
	w.Conn = protocol.NewConn(outR, in, protocol.Options{Junk: func(line []byte, _ error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.junk = append(w.junk, string(line[:min(len(line), 100)]))
	}})
	go func() {
		_ = w.cmd.Wait()
		w.code = w.cmd.ProcessState.ExitCode()
		close(w.ended)
	}()
	t.Cleanup(func() {
		_ = w.cmd.Process.Kill()
		<-w.ended
		_ = w.Close()
	})
	return w
}

func (w *worker) acquire(t *testing.T, req drivers.AcquireRequest) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	return w.Call(ctx, protocol.MethodAcquire, protocol.AcquireParams{
		Base: base(req), RunID: req.RunID,
		Tenure: &protocol.TenureToken{RuntimeID: req.RuntimeID, Installation: req.Installation, LeaseID: req.LeaseID, Fence: req.Fence},
	}, nil)
}

func (w *worker) release(t *testing.T, req drivers.AcquireRequest) error {
	t.Helper()
	return w.Call(t.Context(), protocol.MethodRelease, protocol.EndParams{LeaseParams: protocol.LeaseParams{
		Base: base(req), Tenure: &protocol.TenureToken{RuntimeID: req.RuntimeID, Installation: req.Installation, Fence: req.Fence},
	}}, nil)
}

func base(req drivers.AcquireRequest) protocol.Base {
	return protocol.Base{DriverKey: "fake", CompanyID: req.CompanyID, EnvironmentID: req.EnvironmentID, Config: req.Config}
}

func TestTwoWorkersAndAKillKeepOneLedger(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const each = 40
	var work sync.WaitGroup
	workers := []*worker{start(t, dir), start(t, dir), start(t, dir)}
	req := driverstest.AcquireRequest(driverstest.Features{})
	var mu sync.Mutex
	kept := 0
	for i, w := range workers {
		for n := range each {
			work.Go(func() {
				r := req
				r.RuntimeID, r.LeaseID = "rt-"+uuid.NewString(), uuid.NewString()
				if n%4 == 0 { // all three want this one
					r = req
					r.RuntimeID = "shared-" + string(rune('a'+n/4))
				}
				if i == 2 && n == each/2 {
					_ = w.cmd.Process.Kill()
				}
				if w.acquire(t, r) != nil || n%4 == 0 {
					return // killed over it, or shared
				}
				if n%2 == 0 {
					mu.Lock()
					kept++
					mu.Unlock()
					return
				}
				_ = w.release(t, r)
			})
		}
	}
	work.Wait()
	led := read(t, dir)
	live := led.Live()
	require.Len(t, live, led.Created()-led.Destroyed())
	byID := map[string]int{}
	for _, e := range live {
		byID[e.RuntimeID]++
	}
	shared := 0
	for id, n := range byID {
		require.Equal(t, 1, n, "one id, one runtime: %s", id)
		if strings.HasPrefix(id, "shared-") {
			shared++
		}
	}
	require.Equal(t, each/4, shared)
	require.GreaterOrEqual(t, len(live), shared+kept)
	// A worker that starts now finds all of it, and nothing else.
	fourth := start(t, dir)
	var listed protocol.ListResult
	require.NoError(t, fourth.Call(t.Context(), protocol.MethodInitialize, protocol.InitializeParams{Tenure: &protocol.TenureOffer{Version: 1}}, nil))
	require.NoError(t, fourth.Call(t.Context(), protocol.MethodList, protocol.ListParams{
		Base: protocol.Base{DriverKey: "fake", Config: json.RawMessage(`{}`)}, Installation: req.Installation,
	}, &listed))
	require.Len(t, listed.Runtimes, len(live))
}

func TestAWorkerCrashesWhereTheScriptSays(t *testing.T) {
	t.Parallel()
	for place, live := range map[fake.Place]int{fake.PlaceBefore: 0, fake.PlaceAfter: 1, fake.PlaceReply: 1} {
		t.Run(string(place), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			req := request(t, fake.Step{Verb: fake.VerbAcquire, Attempt: 1, Action: fake.ActionCrash, At: place, ExitCode: 7})
			first := start(t, dir)
			_, lost := errors.AsType[*protocol.CallError](first.acquire(t, req))
			require.True(t, lost)
			<-first.ended
			require.Equal(t, 7, first.code)
			require.Len(t, read(t, dir).Live(), live)
			require.NoError(t, start(t, dir).acquire(t, req))
			require.Len(t, read(t, dir).Live(), 1)
		})
	}
}

func TestAWorkerSaysJunkAndStillAnswers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(fake.ScriptPath(dir), []byte(`[{"verb": "start", "action": "junk", "message": "started v1.2"}]`), 0o600))
	w := start(t, dir)
	req := request(t,
		fake.Step{Verb: fake.VerbAcquire, Attempt: 1, Action: fake.ActionJunk, Message: `{"level": "info"}`},
		fake.Step{Verb: fake.VerbAcquire, Attempt: 2, Action: fake.ActionSwell, Bytes: 5_000_000},
		fake.Step{Verb: fake.VerbAcquire, Attempt: 3, Action: fake.ActionJunk, Bytes: 3_000_000, Message: "x"},
		fake.Step{Verb: fake.VerbAcquire, Attempt: 4, Action: fake.ActionJunk, Message: `{"jsonrpc": "2.0", "id"`, Raw: true},
		fake.Step{Verb: fake.VerbAcquire, Attempt: 4, Action: fake.ActionCrash})
	require.NoError(t, w.acquire(t, req))
	var lease protocol.Lease
	require.NoError(t, w.Call(t.Context(), protocol.MethodAcquire, protocol.AcquireParams{
		Base: base(req), RunID: req.RunID, Tenure: &protocol.TenureToken{RuntimeID: req.RuntimeID, Installation: req.Installation, LeaseID: req.LeaseID, Fence: req.Fence},
	}, &lease))
	require.Greater(t, len(lease.Metadata), 5_000_000)
	require.NoError(t, w.acquire(t, req))
	require.Error(t, w.acquire(t, req))
	<-w.ended
	<-w.Done()
	w.mu.Lock()
	defer w.mu.Unlock()
	require.Equal(t, []string{"started v1.2", `{"level": "info"}`, strings.Repeat("x", 100), `{"jsonrpc": "2.0", "id"`}, w.junk)
}

func TestJunkStaysBetweenMessages(t *testing.T) {
	t.Parallel()
	w := start(t, t.TempDir())
	var work sync.WaitGroup
	errs := make(chan error, 40)
	for i := range cap(errs) {
		step := fake.Step{Verb: fake.VerbAcquire, Action: fake.ActionSwell, Bytes: 500_000}
		if i%2 == 0 {
			step = fake.Step{Verb: fake.VerbAcquire, Action: fake.ActionJunk, Message: "junk", At: fake.PlaceReply}
		}
		req := request(t, step)
		work.Go(func() { errs <- w.acquire(t, req) })
	}
	work.Wait()
	for range cap(errs) {
		require.NoError(t, <-errs)
	}
	require.NoError(t, w.Call(t.Context(), protocol.MethodHealth, nil, nil))
	w.mu.Lock()
	defer w.mu.Unlock()
	require.Len(t, w.junk, cap(errs)/2)
	for _, line := range w.junk {
		require.Equal(t, "junk", line)
	}
}

func TestWorkersThatRaceMakeOneRuntimeForOneID(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	workers := []*worker{start(t, dir), start(t, dir), start(t, dir)}
	for _, w := range workers {
		require.NoError(t, w.Call(t.Context(), protocol.MethodHealth, nil, nil))
	}
	req := request(t)
	const ids = 300
	errs := make(chan error, len(workers))
	for n := range ids { // one after the other, so that all of them are at the same one
		req.RuntimeID = fmt.Sprint("id-", n)
		for _, w := range workers {
			go func() { errs <- w.acquire(t, req) }()
		}
		for range workers {
			require.NoError(t, <-errs)
		}
	}
	live := len(read(t, dir).Live())
	require.Equal(t, ids, live)
}

func TestAWorkerCanFailToStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	script := fake.ScriptPath(dir)
	require.NoError(t, os.WriteFile(script, []byte(`[{"verb": "start", "times": 2, "action": "fail", "message": "no cable"}]`), 0o600))
	for range 2 {
		w := start(t, dir)
		<-w.ended
		require.Equal(t, 1, w.code)
		require.Contains(t, w.stderr.String(), "no cable")
	}
	require.NoError(t, start(t, dir).acquire(t, request(t)))
	require.NoError(t, os.WriteFile(script, []byte(`[`), 0o600))
	w := start(t, dir)
	<-w.ended
	require.Contains(t, w.stderr.String(), filepath.Base(script))
}

func TestAWorkerEndsWithItsStdin(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := start(t, dir)
	require.NoError(t, w.acquire(t, request(t)))
	require.NoError(t, w.Close())
	select {
	case <-w.ended:
		require.Zero(t, w.code)
	case <-time.After(time.Minute):
		require.Fail(t, "the worker is still there")
	}
	require.Len(t, read(t, dir).Live(), 1, "a runtime is not a process")
}

func TestTheManifestOffersThreeClasses(t *testing.T) {
	t.Parallel()
	raw, err := fake.ManifestJSON()
	require.NoError(t, err)
	m, err := manifest.Parse(raw)
	require.NoError(t, err)
	require.Len(t, m.Drivers, 3)
	for _, class := range classes {
		d, ok := m.Driver(fake.KeyOf(class))
		require.True(t, ok)
		require.Equal(t, string(class), d.Tenure.Class)
		require.Equal(t, class != drivers.ClassBlind, d.Tenure.List)
		require.True(t, d.ReusableLeases)
		// The schema, by which an engine goes before a worker runs, and the worker itself say the same.
		for config, good := range map[string]bool{
			`{}`: true, `{"image": "a", "reuseLease": true, "script": [{"verb": "exec", "action": "fail"}], "scriptFile": "/x"}`: true,
			`{"image": ""}`: false, `{"image": 1}`: false, `{"size": 1}`: false, `{"scriptFile": "x"}`: false, `{"reuseLease": 1}`: false,
			`{"script": {}}`: false, `[]`: false,
		} {
			require.Equal(t, good, d.CheckConfig(json.RawMessage(config)) == nil, "schema: %s", config)
			require.Equal(t, good, (&fake.World{}).Driver(class).CheckConfig(json.RawMessage(config)) == nil, "worker: %s", config)
		}
	}
}

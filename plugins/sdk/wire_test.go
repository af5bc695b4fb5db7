package sdk_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/plugins/fake"
	"github.com/tenure-dev/tenure/plugins/protocol"
	"github.com/tenure-dev/tenure/plugins/sdk"
)

// wire is a served plugin and a host's end of it.
type wire struct {
	*protocol.Conn
	t      *testing.T
	served chan error // what ServeOn returned
	stop   context.CancelFunc

	mu      sync.Mutex
	outputs map[string][]protocol.ExecOutput
	ends    map[string][]drivers.ExecResult
	logs    []protocol.ExecuteLog
	news    chan struct{} // has an element after something was told
	// onOutput, if set, is told of every output while the next one waits.
	onOutput func(protocol.ExecOutput)
}

func serve(t *testing.T, p sdk.Plugin) *wire {
	t.Helper()
	toWorker, fromHost := io.Pipe()
	toHost, fromWorker := io.Pipe()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	w := &wire{
		t: t, served: make(chan error, 1), stop: stop, news: make(chan struct{}, 1),
		outputs: map[string][]protocol.ExecOutput{}, ends: map[string][]drivers.ExecResult{},
	}
	go func() { w.served <- sdk.ServeOn(ctx, p, toWorker, fromWorker) }()
	w.Conn = protocol.NewConn(toHost, fromHost, protocol.Options{Notification: w.notification})
	t.Cleanup(func() {
		stop()
		_ = w.Close()
		select {
		case err := <-w.served:
			require.NoError(t, err)
		default:
		}
	})
	return w
}

func (w *wire) notification(n protocol.Notification) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch n.Method {
	case protocol.NotifyExecOutput:
		var o protocol.ExecOutput
		if json.Unmarshal(n.Params, &o) == nil {
			w.outputs[o.ExecID] = append(w.outputs[o.ExecID], o)
			if w.onOutput != nil {
				w.onOutput(o)
			}
		}
	case protocol.NotifyExecEnd:
		var e protocol.ExecEnd
		var r drivers.ExecResult
		if json.Unmarshal(n.Params, &e) == nil && json.Unmarshal(e.Result, &r) == nil {
			w.ends[e.ExecID] = append(w.ends[e.ExecID], r)
		}
	case protocol.NotifyExecuteLog:
		var l protocol.ExecuteLog
		if json.Unmarshal(n.Params, &l) == nil && n.InvocationID == "inv-1" {
			w.logs = append(w.logs, l)
		}
	}
	select {
	case w.news <- struct{}{}:
	default:
	}
}

// await waits until ready holds of what was told.
func (w *wire) await(ready func() bool) {
	w.t.Helper()
	limit := time.After(time.Minute)
	for {
		w.mu.Lock()
		ok := ready()
		w.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-w.news:
		case <-limit:
			require.FailNow(w.t, "it is never told")
		}
	}
}

// stdout is what a command has written so far; mu is held.
func (w *wire) bytesOf(id string, stream int) (all []byte) {
	for _, o := range w.outputs[id] {
		if o.Stream == stream {
			all = append(all, o.Data...)
		}
	}
	return all
}

// end waits for the end of a command.
func (w *wire) end(id string) drivers.ExecResult {
	w.t.Helper()
	w.await(func() bool { return len(w.ends[id]) > 0 })
	w.mu.Lock()
	defer w.mu.Unlock()
	require.Len(w.t, w.ends[id], 1)
	return w.ends[id][0]
}

func (w *wire) initialize(tenure bool) protocol.InitializeResult {
	w.t.Helper()
	p := protocol.InitializeParams{APIVersion: 1}
	if tenure {
		p.Tenure = &protocol.TenureOffer{Version: protocol.ExtensionVersion}
	}
	var r protocol.InitializeResult
	require.NoError(w.t, w.Call(w.t.Context(), protocol.MethodInitialize, p, &r))
	require.True(w.t, r.OK)
	return r
}

func base(config string) protocol.Base {
	if config == "" {
		config = "{}"
	}
	return protocol.Base{DriverKey: "fake", CompanyID: "c", EnvironmentID: "e", Config: json.RawMessage(config)}
}

func token(id string) *protocol.TenureToken {
	return &protocol.TenureToken{RuntimeID: id, Installation: "i", LeaseID: "l", Fence: 7, Epoch: 1, Attempt: 1}
}

func (w *wire) acquire(id, config string) (protocol.Lease, error) {
	w.t.Helper()
	var l protocol.Lease
	err := w.Call(w.t.Context(), protocol.MethodAcquire, protocol.AcquireParams{Base: base(config), RunID: "run", Tenure: token(id)}, &l)
	return l, err
}

func leaseParams(id, config string, l protocol.Lease) protocol.LeaseParams {
	return protocol.LeaseParams{Base: base(config), ProviderLeaseID: l.ProviderLeaseID, LeaseMetadata: l.Metadata, Tenure: token(id)}
}

func (w *wire) start(exec string, p protocol.LeaseParams, credit int64, argv ...string) error {
	w.t.Helper()
	start := protocol.ExecStartParams{LeaseParams: p, ExecID: exec, Credit: credit}
	for _, arg := range argv {
		start.Argv = append(start.Argv, []byte(arg))
	}
	var r protocol.ExecStartResult
	err := w.Call(w.t.Context(), protocol.MethodExecStart, start, &r)
	if err == nil {
		require.Positive(w.t, r.PID)
		require.NotEmpty(w.t, r.BootID)
	}
	return err
}

// fakePlugin serves the fake provider on a ledger of its own.
func fakePlugin(t *testing.T) (sdk.Plugin, string) {
	t.Helper()
	dir := t.TempDir()
	world, err := fake.Open(fake.Options{Dir: dir})
	require.NoError(t, err)
	return sdk.Plugin{Drivers: world.Drivers(), Closed: world.Close, Drain: 2 * time.Second}, dir
}

func dataOf(t *testing.T, err error) (*protocol.Error, protocol.ErrorData) {
	t.Helper()
	e, ok := errors.AsType[*protocol.Error](err)
	require.True(t, ok, "an error of the wire, not %v", err)
	var d protocol.ErrorData
	require.NoError(t, json.Unmarshal(e.Data, &d))
	require.Equal(t, protocol.ErrorSchema, d.Schema)
	return e, d
}

package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/plugins/internal/spawn"
	"github.com/tenure-dev/tenure/plugins/manifest"
	"github.com/tenure-dev/tenure/plugins/protocol"
)

// host starts the worker under test, again if it has ended, and keeps one that is initialized.
type host struct {
	opts         Options
	command      []string
	env          []string
	as           *manifest.Credential
	manifest     *manifest.Manifest
	installation string

	current  *worker
	accepted protocol.InitializeResult
}

// markerName is a variable of every worker under test that no command may see.
const markerName = "TENURE_CONFORMANCE_MARKER"

// environment is what an engine gives a worker, and the marker.
func (h *host) environment(marker string) []string {
	return append([]string{
		"PATH=" + os.Getenv("PATH"), "NODE_PATH=", "NODE_ENV=production", "TZ=UTC", "PAPERCLIP_PLUGIN_ID=" + uuid.NewString(),
		"PAPERCLIP_DEPLOYMENT_MODE=local_trusted", "PAPERCLIP_DEPLOYMENT_EXPOSURE=private", markerName + "=" + marker,
	}, h.env...)
}

// process is one process of the worker under test.
type process struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *os.File
	stderr *tail
	ended  chan struct{} // closed once cmd.ProcessState says how
}

// spawn starts one. Whoever reads out closes it.
func (h *host) spawn(marker string) (process, error) {
	p := process{stderr: new(tail), ended: make(chan struct{})}
	p.cmd = exec.Command(h.command[0], h.command[1:]...) //nolint:noctx // its group is ended in kill
	p.cmd.Env = h.environment(marker)
	p.cmd.Stderr, p.cmd.WaitDelay = p.stderr, time.Second
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return p, fmt.Errorf("start the worker: %w", err)
	}
	out, theirs, err := os.Pipe()
	if err != nil {
		return p, fmt.Errorf("start the worker: %w", err)
	}
	p.out, p.cmd.Stdout = out, theirs
	err = spawn.Start(p.cmd, h.as)
	if err := errors.Join(err, theirs.Close()); err != nil {
		return p, fmt.Errorf("start the worker: %w", errors.Join(err, out.Close()))
	}
	go func() {
		defer close(p.ended)
		_ = spawn.Wait(p.cmd) // how it ended is in ProcessState
	}()
	return p, nil
}

// kill ends the process and everything in its group.
func (p process) kill() {
	select {
	case <-p.ended:
	default:
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // it has not been waited for, so the pid is its own
		<-p.ended
	}
}

// worker is one process that is spoken to.
type worker struct {
	*protocol.Conn
	process
	marker string

	mu   sync.Mutex
	runs map[string]*running
}

// tail keeps the last words of a process.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	const most = 2000
	t.b = append(t.b, p...)
	if len(t.b) > most {
		t.b = append(t.b[:0], t.b[len(t.b)-most:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.b))
}

// start starts a worker and does not speak to it.
func (h *host) start() (*worker, error) {
	w := &worker{marker: uuid.NewString(), runs: map[string]*running{}}
	var err error
	if w.process, err = h.spawn(w.marker); err != nil {
		return nil, err
	}
	w.Conn = protocol.NewConn(w.out, w.in, protocol.Options{Notification: w.notification})
	return w, nil
}

// kill ends a worker and the wire to it.
func (w *worker) kill() {
	w.process.kill()
	_ = w.Close()
}

// gone waits for the end of a worker.
func (w *worker) gone(ctx context.Context, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-w.ended:
		return nil
	case <-timer.C:
		return fmt.Errorf("it still runs after %s", limit)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// initialize does the handshake.
func (h *host) initialize(ctx context.Context, w *worker) (protocol.InitializeResult, error) {
	p := protocol.InitializeParams{
		Manifest: json.RawMessage(`{}`), Config: json.RawMessage(`{}`), APIVersion: 1,
		InstanceInfo: protocol.InstanceInfo{InstanceID: h.installation, HostVersion: "0.0.0"},
	}
	if h.manifest != nil {
		p.Manifest = h.manifest.Raw
	}
	if !h.opts.NoExtension {
		p.Tenure = &protocol.TenureOffer{Version: protocol.ExtensionVersion}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, 15*time.Second, errors.New("no answer within 15 s"))
	defer cancel()
	var r protocol.InitializeResult
	if err := w.Call(ctx, protocol.MethodInitialize, p, &r); err != nil {
		return r, w.explain(fmt.Errorf("initialize: %w", err))
	}
	if !r.OK {
		return r, errors.New("initialize: ok is not true")
	}
	return r, nil
}

// explain adds what the worker said on stderr, if it has ended.
func (w *worker) explain(err error) error {
	wait := time.Duration(0)
	if errors.Is(err, protocol.ErrClosed) {
		wait = lastWords
	}
	select {
	case <-time.After(wait):
		return err
	case <-w.ended:
		if said := w.stderr.String(); said != "" {
			return fmt.Errorf("%w; the worker has ended (%v) and said: %s", err, w.cmd.ProcessState, said)
		}
		return fmt.Errorf("%w; the worker has ended (%v)", err, w.cmd.ProcessState)
	}
}

// lastWords is how long the end of a process is waited for whose wire has ended.
const lastWords = 2 * time.Second

// worker is the one that is initialized; it is started if there is none.
func (h *host) worker(ctx context.Context) (*worker, error) {
	if h.current != nil {
		select {
		case <-h.current.ended:
		case <-h.current.Done():
		default:
			return h.current, nil
		}
		h.current.kill()
		h.current = nil
	}
	w, err := h.start()
	if err != nil {
		return nil, err
	}
	if h.accepted, err = h.initialize(ctx, w); err != nil {
		w.kill()
		return nil, err
	}
	h.current = w
	return w, nil
}

// handshake is what the worker said of itself.
func (h *host) handshake(ctx context.Context) (protocol.InitializeResult, error) {
	_, err := h.worker(ctx)
	return h.accepted, err
}

func (h *host) end() {
	if h.current != nil {
		h.current.kill()
		h.current = nil
	}
}

// running is a command, as its worker tells of it.
type running struct {
	mu       sync.Mutex
	out, err []byte
	credit   int64 // allowed and not yet used
	beyond   int64 // sent without being allowed
	ends     int
	after    bool // output came after the end
	result   drivers.ExecResult
	ended    chan struct{}
	news     chan struct{}
	// hold, if set, keeps the credit from being renewed.
	hold bool
}

func (w *worker) notification(n protocol.Notification) {
	switch n.Method {
	case protocol.NotifyExecOutput:
		var o protocol.ExecOutput
		if json.Unmarshal(n.Params, &o) != nil {
			return
		}
		if r := w.running(o.ExecID); r != nil {
			renew := r.add(o)
			if renew > 0 {
				// In a goroutine, since the wire may be full and its reader must not wait. An error says that the worker is gone.
				go func() {
					_ = w.Notify(context.Background(), protocol.NotifyExecCredit, protocol.ExecCredit{ExecID: o.ExecID, Bytes: renew})
				}()
			}
		}
	case protocol.NotifyExecEnd:
		var e protocol.ExecEnd
		if json.Unmarshal(n.Params, &e) != nil {
			return
		}
		if r := w.running(e.ExecID); r != nil {
			r.end(e.Result)
		}
	}
}

func (w *worker) running(id string) *running {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.runs[id]
}

func (r *running) add(o protocol.ExecOutput) (renew int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if o.Stream == 2 {
		r.err = append(r.err, o.Data...)
	} else {
		r.out = append(r.out, o.Data...)
	}
	r.after = r.after || r.ends > 0
	n := int64(len(o.Data))
	r.credit -= n
	if r.credit < 0 {
		r.beyond -= r.credit
		r.credit = 0
	}
	select {
	case r.news <- struct{}{}:
	default:
	}
	if r.hold {
		return 0
	}
	r.credit += n
	return n
}

func (r *running) end(raw json.RawMessage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ends++
	if r.ends > 1 {
		return
	}
	if json.Unmarshal(raw, &r.result) != nil {
		r.result = drivers.ExecResult{End: drivers.ExecUnknown, Why: "the end cannot be read: " + strings.ToValidUTF8(string(raw), "?")}
	}
	close(r.ended)
}

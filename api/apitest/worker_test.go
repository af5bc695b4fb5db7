package apitest_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/api"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/install"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/plugin"
	"github.com/tenure-dev/tenure/domain/probe"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
)

// worker plays the supervisor and its driver. What the run's id or the command says decides how:
//
//	run "slow…"     is never provisioned        run "broken…"  cannot be provisioned
//	run "sticky…"   is never torn down
//	["print", x…]   writes each x, the odd ones to stderr, and exits 0
//	["hang", x…]    writes each x and runs until it is killed
type worker struct {
	commands *commands.Commands
	me       domain.WorkerID
	seen     chan eventstore.Recorded
	ctx      context.Context
	stop     func()

	mu      sync.Mutex
	outputs map[domain.ExecID]*output
	// made counts runtimes.
	made int
}

func newWorker(c *commands.Commands) *worker {
	ctx, cancel := context.WithCancel(context.Background())
	w := &worker{commands: c, me: domain.WorkerID{UUID: uuid.New()}, seen: make(chan eventstore.Recorded, 10_000), ctx: ctx, outputs: map[domain.ExecID]*output{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case r := <-w.seen:
				w.act(r)
			case <-ctx.Done():
				return
			}
		}
	}()
	w.stop = func() {
		cancel()
		<-done
	}
	return w
}

func (w *worker) see(r eventstore.Recorded) {
	select {
	case w.seen <- r:
	case <-w.ctx.Done():
	}
}

func (w *worker) act(r eventstore.Recorded) {
	id, err := r.Stream.ID()
	if err != nil {
		return
	}
	switch r.Stream.Category() {
	case lease.Category:
		w.lease(domain.LeaseID{UUID: id})
	case execution.Category:
		w.exec(domain.ExecID{UUID: id})
	case probe.Category:
		w.probe(domain.ProbeID{UUID: id})
	case install.Category:
		w.install(domain.InstallID{UUID: id})
	}
}

// probe answers: it fails where the configuration says so.
func (w *worker) probe(id domain.ProbeID) {
	p, _, err := w.commands.ClaimProbe(w.ctx, commands.Caller{}, id, probe.Claim{Worker: w.me, Deadline: w.commands.Ledger().Now().Add(time.Minute)}, commands.Need{})
	if err != nil {
		return
	}
	answer := probe.Completed{OK: true, Summary: "it works", DriverMs: 3}
	if strings.Contains(string(p.Request.Config), "locked") {
		answer = probe.Completed{Phase: "auth", Summary: "failed at auth", Diagnostics: []probe.Diagnostic{
			{Severity: "error", Code: "auth_failed", Message: "no key fits", Remediation: "add the key"},
		}}
	}
	_, _ = w.commands.FinishProbe(w.ctx, commands.Caller{}, id, answer)
}

// install installs what lies anywhere but under /broken.
func (w *worker) install(id domain.InstallID) {
	i, err := w.commands.KnownInstall(w.ctx, id)
	switch {
	case err != nil || i.Status != install.StatusRequested:
	case strings.HasPrefix(i.Request.Source, "/broken"):
		_, _ = w.commands.FailInstall(w.ctx, commands.Caller{}, id, install.Failed{Code: "manifest_invalid", Message: "version: is missing", Remediation: "give it one"})
	default:
		_, _ = w.commands.FinishInstall(w.ctx, commands.Caller{}, id, plugin.Installed{
			Key: "acme.boxes", Version: path.Base(i.Request.Source), Digest: "d-" + path.Base(i.Request.Source),
			Manifest: json.RawMessage(`{"id":"acme.boxes"}`), Source: i.Request.Source,
		})
	}
}

func (w *worker) lease(id domain.LeaseID) {
	l, err := w.commands.Lease(w.ctx, id)
	if err != nil {
		return
	}
	soon := w.commands.Ledger().Now().Add(time.Minute)
	switch {
	case l.NeedsTeardown() && !l.TearingDown && !strings.HasPrefix(l.Run, "sticky"):
		l, _, err := w.commands.ClaimRelease(w.ctx, commands.Caller{}, id, lease.StartRelease{Worker: w.me, Deadline: soon, WorkerDead: true}, commands.Need{})
		if err == nil {
			_, _ = w.commands.FinishRelease(w.ctx, commands.Caller{}, id, lease.FinishRelease{Attempt: l.Teardown, Worker: w.me, Kept: l.Keeping()})
		}
	case l.Status() == lease.StatusGranted && !strings.HasPrefix(l.Run, "slow"):
		l, _, err := w.commands.ClaimProvisioning(w.ctx, commands.Caller{}, id, domain.NodeID{}, lease.StartProvisioning{
			Runtime: domain.RuntimeID{UUID: uuid.New()}, Worker: w.me, Deadline: soon,
		}, commands.Need{})
		if err != nil {
			return
		}
		if strings.HasPrefix(l.Run, "broken") {
			_, _ = w.commands.FailProvisioning(w.ctx, commands.Caller{}, id, lease.FailProvisioning{
				Attempt: l.Attempt, Worker: w.me, Kind: lease.FailureDefinite, Code: "disk_full", Step: "make_workspace", Message: "no space is left",
			})
			return
		}
		w.mu.Lock()
		w.made++
		w.mu.Unlock()
		_, _ = w.commands.FinishProvisioning(w.ctx, commands.Caller{}, id, lease.Provision{
			Attempt: l.Attempt, Worker: w.me, Acquisition: lease.AcquisitionCreated, Metadata: json.RawMessage(`{"isolation":"none"}`),
		})
	}
}

func (w *worker) runtimes() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.made
}

func (w *worker) exec(id domain.ExecID) {
	x, err := w.commands.Exec(w.ctx, id)
	if err != nil {
		return
	}
	switch {
	case x.Status == execution.StatusRequested:
		if _, _, ok, err := w.commands.ClaimExec(w.ctx, commands.Caller{}, id, commands.Worker{ID: w.me}, commands.Need{}); err != nil || !ok {
			return
		}
		out := w.output(id)
		_, _ = w.commands.RecordExecStart(w.ctx, commands.Caller{}, id, execution.Start{Worker: w.me, Started: execution.Started{PID: 42, StartTime: 1, BootID: "boot"}})
		for i, text := range x.Request.Argv[1:] {
			out.write([]string{"stdout", "stderr"}[i%2], []byte(text))
		}
		if x.Request.Argv[0] == "print" {
			zero := 0
			w.finish(id, execution.Ended{End: execution.EndExited, ExitCode: &zero})
		}
	case x.Status == execution.StatusRunning && x.Killing:
		w.finish(id, execution.Ended{End: execution.EndKilled, Signal: "SIGKILL"})
	}
}

func (w *worker) finish(id domain.ExecID, end execution.Ended) {
	seal := w.output(id).seal()
	_, _ = w.commands.FinishExec(w.ctx, commands.Caller{}, id, execution.Finish{Worker: w.me, Ended: end, OutputSealed: &seal})
}

func (w *worker) output(id domain.ExecID) *output {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.outputs[id] == nil {
		w.outputs[id] = &output{}
	}
	return w.outputs[id]
}

// forget loses an output.
func (w *worker) forget(id uuid.UUID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.outputs, domain.ExecID{UUID: id})
}

// OpenOutput makes worker the API's reader of outputs.
func (w *worker) OpenOutput(_ context.Context, of api.OutputPlace, offset int64) (api.Output, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	out, ok := w.outputs[of.Exec]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return &reader{out: out, from: offset}, nil
}

// output is a journal in memory.
type output struct {
	mu     sync.Mutex
	frames []api.OutputFrame
	end    int64
}

func (o *output) write(stream string, data []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.frames = append(o.frames, api.OutputFrame{Offset: o.end, Stream: stream, At: time.Now(), Data: data})
	o.end += int64(len(data))
}

func (o *output) seal() execution.OutputSealed {
	o.mu.Lock()
	defer o.mu.Unlock()
	digest := func(stream string) execution.Stream {
		var all []byte
		for _, f := range o.frames {
			if f.Stream == stream {
				all = append(all, f.Data...)
			}
		}
		sum := sha256.Sum256(all)
		return execution.Stream{Bytes: int64(len(all)), SHA256: hex.EncodeToString(sum[:])}
	}
	return execution.OutputSealed{State: execution.SealComplete, Stdout: digest("stdout"), Stderr: digest("stderr")}
}

type reader struct {
	out  *output
	from int64
	next int
}

func (r *reader) Next() (api.OutputFrame, error) {
	r.out.mu.Lock()
	defer r.out.mu.Unlock()
	for r.next < len(r.out.frames) {
		f := r.out.frames[r.next]
		r.next++
		if string(f.Data) == "!damage" {
			return f, errors.New("the journal is damaged")
		}
		if skip := r.from - f.Offset; skip > 0 {
			if skip >= int64(len(f.Data)) {
				continue
			}
			f.Data, f.Offset = f.Data[skip:], r.from
		}
		f.Data = bytes.Clone(f.Data)
		return f, nil
	}
	return api.OutputFrame{}, io.EOF
}

func (r *reader) Close() error { return nil }

// syncBuffer is a log that can be read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

var _ api.OutputReader = (*worker)(nil)

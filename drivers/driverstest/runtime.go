package driverstest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/journal"
)

// Runtime is one acquired runtime of a test, released when the test ends.
type Runtime struct {
	t      *testing.T
	Driver drivers.Driver
	Handle drivers.Handle
	req    drivers.AcquireRequest
	root   string // of the journals

	posix, hostProcesses bool
}

// Acquire makes a runtime for t.
func Acquire(t *testing.T, f Features) *Runtime {
	t.Helper()
	r := &Runtime{
		t: t, Driver: f.New(t), req: AcquireRequest(f), root: t.TempDir(), posix: f.Posix, hostProcesses: f.HostProcesses,
	}
	rt, err := r.Driver.Acquire(t.Context(), r.req)
	require.NoError(t, err)
	r.Handle = HandleOf(r.req, rt)
	t.Cleanup(func() { require.NoError(t, r.Release()) })
	return r
}

// Field is a text of the runtime's metadata.
func (r *Runtime) Field(name string) string {
	r.t.Helper()
	var fields map[string]any
	require.NoError(r.t, json.Unmarshal(r.Handle.Metadata, &fields))
	text, ok := fields[name].(string)
	require.True(r.t, ok, "%s in %s", name, r.Handle.Metadata)
	return text
}

// Release takes the runtime down.
func (r *Runtime) Release() error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	return r.Driver.Release(ctx, drivers.ReleaseRequest{Handle: r.Handle, Attempt: 1})
}

// Running is a command that was started.
type Running struct {
	drivers.Exec
	JournalDir string
}

// Start starts a command; the runtime and the journal are filled in.
func (r *Runtime) Start(req drivers.ExecRequest) (*Running, error) {
	req.Handle = r.Handle
	req.ExecID = uuid.NewString()
	if req.JournalDir == "" {
		req.JournalDir = filepath.Join(r.root, req.ExecID)
	}
	e, err := drivers.StartExec(r.t.Context(), r.Driver, req)
	return &Running{Exec: e, JournalDir: req.JournalDir}, err
}

// Done is a command that ended.
type Done struct {
	drivers.ExecResult
	Stdout, Stderr []byte
	Took           time.Duration
}

// Run runs a command to its end and checks that the journal and its seal agree.
func (r *Runtime) Run(req drivers.ExecRequest) Done {
	r.t.Helper()
	began := time.Now()
	e, err := r.Start(req)
	require.NoError(r.t, err)
	return r.Finish(e, began)
}

// TimeOut runs a command whose limit is over before it ends by itself, and which says something as soon as it runs. It returns
// how it ended and the limit: what a busy machine did not let begin in time is run again with twice as much.
func (r *Runtime) TimeOut(req drivers.ExecRequest) (Done, time.Duration) {
	r.t.Helper()
	for ; ; req.Timeout *= 2 {
		done := r.Run(req)
		if done.End != drivers.ExecTimedOut || len(done.Stdout) > 0 || req.Timeout > time.Minute {
			return done, req.Timeout
		}
	}
}

// Sh runs a shell script.
func (r *Runtime) Sh(script string) Done {
	r.t.Helper()
	return r.Run(drivers.ExecRequest{Argv: []string{"sh", "-c", script}})
}

// Finish waits for a command that began at began.
func (r *Runtime) Finish(e *Running, began time.Time) Done {
	r.t.Helper()
	result, err := e.Wait(r.t.Context())
	require.NoError(r.t, err)
	done := Done{ExecResult: result, Took: time.Since(began)}
	done.Stdout, done.Stderr = ReadOutput(r.t, e.JournalDir)
	seal, sealed, err := journal.ReadSeal(e.JournalDir)
	require.NoError(r.t, err)
	require.True(r.t, sealed, "the output is sealed once Wait returns")
	require.Equal(r.t, result.Output, seal)
	if result.Output.Dropped == 0 && result.Output.State == drivers.OutputComplete {
		require.Equal(r.t, seal.Stdout, sealOf(done.Stdout))
		require.Equal(r.t, seal.Stderr, sealOf(done.Stderr))
	}
	return done
}

func sealOf(b []byte) drivers.StreamSeal {
	h := sha256.Sum256(b)
	return drivers.StreamSeal{Bytes: int64(len(b)), SHA256: hex.EncodeToString(h[:])}
}

// ReadOutput returns what the journal holds of each stream.
func ReadOutput(t *testing.T, dir string) (stdout, stderr []byte) {
	t.Helper()
	j, err := journal.Open(dir, 0)
	require.NoError(t, err)
	defer j.Close()
	var out, errs bytes.Buffer
	for {
		f, err := j.Next()
		if errors.Is(err, io.EOF) {
			return out.Bytes(), errs.Bytes()
		}
		require.NoError(t, err)
		if f.Stream == journal.Stdout {
			out.Write(f.Data)
		} else {
			errs.Write(f.Data)
		}
	}
}

// AwaitOutput returns once the journal of a running command holds text.
func AwaitOutput(t *testing.T, e *Running, text string) {
	t.Helper()
	j, err := journal.Open(e.JournalDir, 0)
	require.NoError(t, err)
	defer j.Close()
	var seen []byte
	for !bytes.Contains(seen, []byte(text)) {
		f, err := j.Follow(t.Context())
		require.NoError(t, err, "waiting for %q after %q", text, seen)
		seen = append(seen, f.Data...)
	}
}

func requireNoProcess(t *testing.T, f Features, token string) {
	t.Helper()
	if f.HostProcesses {
		RequireNoProcess(t, token)
	}
}

// RequireNoProcess fails if a process of this machine keeps token in its arguments. What was killed is seen until the kernel
// comes to it, so there is a while to wait: far less than such a process, which sleeps, would live by itself.
func RequireNoProcess(t *testing.T, token string) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(time.Minute)
	for {
		left := processesWith(t, token)
		if left == "" {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			require.Fail(t, "a process is left", left)
		}
	}
}

// processesWith are the processes of this machine that have token in their arguments; "" is none.
func processesWith(t *testing.T, token string) (found string) {
	t.Helper()
	for pid, b := range Processes("cmdline") {
		if strings.Contains(string(b), token) {
			found += fmt.Sprintf("%d: %q\n", pid, b)
		}
	}
	return found
}

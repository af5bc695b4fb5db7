package sdk_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/drivers/execparent"
	"github.com/tenure-dev/tenure/drivers/local"
	"github.com/tenure-dev/tenure/plugins/protocol"
	"github.com/tenure-dev/tenure/plugins/sdk"
)

// TestMain makes a worker, or the parent of a command, of the test's binary when it is asked to.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) > 1 && os.Args[1] == "__example":
		Example()
		os.Exit(0)
	case len(os.Args) > 2 && os.Args[1] == "__local":
		serveLocal(os.Args[2])
		os.Exit(0)
	case len(os.Args) > 1 && os.Args[1] == driverstest.ParentArg:
		syscall.Exit(execparent.Main())
	}
	os.Exit(m.Run())
}

func serveLocal(root string) {
	d, err := local.New(local.Options{
		Root: root, ParentCommand: []string{"/proc/self/exe", driverstest.ParentArg}, AllowRoot: true, Grace: time.Second,
	})
	if err == nil {
		err = sdk.Serve(context.Background(), sdk.Plugin{Drivers: map[string]drivers.Driver{"fake": d}, Drain: 3 * time.Second})
	}
	if err != nil {
		panic(err)
	}
}

// process is a worker in a process of its own.
type process struct {
	*wire
	cmd    *exec.Cmd
	ended  chan struct{}
	stderr *buffer
	junk   *buffer
}

// buffer is a bytes.Buffer that may be looked at while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func startProcess(t *testing.T, tmp string, args ...string) *process {
	t.Helper()
	p := &process{
		wire:  &wire{t: t, news: make(chan struct{}, 1), outputs: map[string][]protocol.ExecOutput{}, ends: map[string][]drivers.ExecResult{}},
		ended: make(chan struct{}), stderr: new(buffer), junk: new(buffer),
	}
	p.cmd = exec.Command("/proc/self/exe", args...)
	p.cmd.Env = []string{"TMPDIR=" + tmp}
	p.cmd.Stderr = p.stderr
	in, err := p.cmd.StdinPipe()
	require.NoError(t, err)
	outR, outW, err := os.Pipe()
	require.NoError(t, err)
	p.cmd.Stdout = outW
	require.NoError(t, p.cmd.Start())
	require.NoError(t, outW.Close())
	p.Conn = protocol.NewConn(outR, in, protocol.Options{
		Notification: p.notification, Junk: func(line []byte, _ error) { _, _ = p.junk.Write(line) },
	})
	go func() {
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
		_ = p.Close()
	})
	return p
}

func (p *process) awaitEnd() {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(time.Minute):
		require.FailNow(p.t, "the worker is still there", p.stderr.String())
	}
}

func TestStandardOutputBelongsToTheWire(t *testing.T) {
	t.Parallel()
	p := startProcess(t, t.TempDir(), "__example")
	p.initialize(true)
	var lease protocol.Lease
	b := base("")
	b.DriverKey = "boxes"
	require.NoError(t, p.Call(t.Context(), protocol.MethodAcquire, protocol.AcquireParams{Base: b, Tenure: token("r")}, &lease))
	require.Equal(t, "box:r", *lease.ProviderLeaseID)
	_, d := dataOf(t, p.Call(t.Context(), protocol.MethodProbe, protocol.ProbeParams{Base: b}, nil))
	require.True(t, d.Unsupported)
	require.NoError(t, p.Call(t.Context(), protocol.MethodShutdown, nil, nil))
	p.awaitEnd()
	require.True(t, p.cmd.ProcessState.Success())
	require.Empty(t, p.junk.String())
	require.Contains(t, p.stderr.String(), "a stray print\n")
	require.Contains(t, p.stderr.String(), "a child's print\n")
}

func TestNoCommandOutlivesItsWorker(t *testing.T) {
	t.Parallel()
	for name, stop := range map[string]func(*process){
		"the host goes away": func(p *process) { _ = p.Close() },
		"SIGTERM":            func(p *process) { _ = p.cmd.Process.Signal(syscall.SIGTERM) },
		"SIGKILL":            func(p *process) { _ = p.cmd.Process.Kill() },
		"shutdown":           func(p *process) { _ = p.Call(p.t.Context(), protocol.MethodShutdown, nil, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tmp := t.TempDir()
			p := startProcess(t, tmp, "__local", filepath.Join(tmp, "runtimes"))
			p.initialize(true)
			lease, err := p.acquire("r1", "")
			require.NoError(t, err)
			mark := fmt.Sprintf("600.%d", uuid.New().ID())
			require.NoError(t, p.start("x1", leaseParams("r1", "", lease), 1<<20, "sh", "-c",
				`trap "" TERM; setsid sleep `+mark+` & echo begun; sleep `+mark+`; sleep `+mark))
			p.await(func() bool { return string(p.bytesOf("x1", 1)) == "begun\n" })
			require.True(t, running(t, mark))
			stop(p)
			p.awaitEnd()
			// After a SIGKILL the parent of the command notices by itself; else it is over with the worker.
			require.Eventually(t, func() bool { return !running(t, mark) }, time.Minute, 20*time.Millisecond)
			if name == "shutdown" || name == "SIGTERM" {
				require.Equal(t, drivers.ExecKilled, p.end("x1").End)
			}
			left, err := filepath.Glob(filepath.Join(tmp, "tenure-worker-*"))
			require.NoError(t, err)
			if name == "SIGKILL" {
				require.Len(t, left, 1)
				next := startProcess(t, tmp, "__example") // sweeps up after it
				next.initialize(true)
				require.NoDirExists(t, left[0])
				return
			}
			require.Empty(t, left)
		})
	}
}

// running reports whether a process of this machine has mark in its arguments.
func running(t *testing.T, mark string) bool {
	t.Helper()
	for _, b := range driverstest.Processes("cmdline") {
		if bytes.Contains(b, []byte(mark)) {
			return true
		}
	}
	return false
}

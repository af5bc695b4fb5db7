// Package apptest runs the real program for tests of the whole: the built binary as a process of its own, on embedded
// Postgres and a real data directory, spoken to through the public client. So it can be killed, stopped and started again
// like anybody's.
package apptest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

var binary struct {
	once sync.Once
	path string
	err  error
}

// Binary builds the program once for a test program and returns its path.
func Binary(t testing.TB) string {
	t.Helper()
	binary.once.Do(func() {
		dir := Dir(nil)
		binary.path = filepath.Join(dir, "tenure")
		out, err := exec.CommandContext(context.Background(), "go", "build", raceFlag, "-o", binary.path, "github.com/tenure-dev/tenure/cmd/tenure").CombinedOutput()
		if err != nil {
			binary.err = fmt.Errorf("build the program: %w\n%s", err, out)
		}
	})
	require.NoError(t, binary.err)
	return binary.path
}

// Main runs the tests and removes what they built.
func Main(m *testing.M) {
	code := pgtest.Run(m)
	if binary.path != "" {
		_ = os.RemoveAll(filepath.Dir(binary.path))
	}
	os.Exit(code)
}

// Dir is a directory that every user can enter, as t.TempDir is not under root, removed after the test.
func Dir(t testing.TB) string {
	dir, err := os.MkdirTemp("", "tenure-apptest-") //nolint:usetesting // t.TempDir is closed to other users
	if err == nil {
		err = os.Chmod(dir, 0o755) //nolint:gosec // what is in it has modes of its own
	}
	if t == nil {
		if err != nil {
			panic(err)
		}
		return dir
	}
	t.Helper()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

// Engine is a running `tenure serve`.
type Engine struct {
	t       testing.TB
	DataDir string
	// Env is added to PATH and HOME.
	Env    []string
	Args   []string
	Client *client.Client
	// Key is the admin key that Client has.
	Key string
	// Verb is what is run: serve, or one of its halves, api and worker.
	Verb string
	// binary is the program; "" is what Binary builds.
	binary string
	cmd    *exec.Cmd
	log    *logBuffer
	ended  chan struct{}
}

// Option changes how an engine is started.
type Option func(*Engine)

// WithEnv adds a variable to the engine's environment.
func WithEnv(kv ...string) Option { return func(e *Engine) { e.Env = append(e.Env, kv...) } }

// WithArgs adds arguments.
func WithArgs(args ...string) Option { return func(e *Engine) { e.Args = append(e.Args, args...) } }

// WithVerb runs api or worker instead of serve.
func WithVerb(verb string) Option { return func(e *Engine) { e.Verb = verb } }

// Start starts an engine on a fresh data directory; it is stopped after the test.
func Start(t testing.TB, opts ...Option) *Engine {
	t.Helper()
	e := New(t, opts...)
	e.Start()
	return e
}

// New is an engine on a fresh data directory that is not started yet; it is stopped after the test.
func New(t testing.TB, opts ...Option) *Engine {
	t.Helper()
	e := &Engine{t: t, DataDir: filepath.Join(Dir(t), "data"), Verb: "serve"}
	for _, o := range opts {
		o(e)
	}
	t.Cleanup(e.cleanUp)
	return e
}

// Start starts the program on the engine's data directory and waits until it serves.
func (e *Engine) Start() {
	e.t.Helper()
	if !e.TryStart() {
		e.t.Fatalf("the engine ended before it served:\n%s", e.Log())
	}
}

// TryStart is Start for a program that may end before it serves; then it returns false.
func (e *Engine) TryStart() bool {
	e.t.Helper()
	if e.binary == "" {
		e.binary = Binary(e.t)
	}
	e.log = &logBuffer{}
	args := append([]string{e.Verb, "--listen", "127.0.0.1:0", "--data-dir", e.DataDir}, e.Args...)
	e.cmd = exec.CommandContext(context.Background(), e.binary, args...)
	e.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Dir(e.DataDir)}, e.Env...)
	e.cmd.Stdout, e.cmd.Stderr = e.log, e.log
	e.cmd.WaitDelay = time.Second
	require.NoError(e.t, e.cmd.Start())
	ended := make(chan struct{})
	e.ended = ended
	go func(cmd *exec.Cmd) {
		_ = cmd.Wait()
		close(ended)
	}(e.cmd)
	address, ok := e.await("listening on ")
	if !ok {
		return false
	}
	key, err := os.ReadFile(filepath.Join(e.DataDir, "admin.key"))
	require.NoError(e.t, err)
	e.Key = strings.TrimSpace(string(key))
	e.Client = e.ClientFor(address, e.Key)
	return true
}

// ClientFor is a client with another key. It waits for a server that has no time.
func (e *Engine) ClientFor(address, key string) *client.Client {
	e.t.Helper()
	c, err := client.New(address, key, client.WithHTTPClient(&http.Client{Transport: newPatient()}))
	require.NoError(e.t, err)
	e.t.Cleanup(c.CloseIdleConnections)
	return c
}

// await waits for a line of the log that begins with prefix and returns the rest of it; ok is false if the engine ends
// before.
func (e *Engine) await(prefix string) (rest string, ok bool) {
	e.t.Helper()
	deadline := time.After(5 * time.Minute)
	for {
		rest, grew := e.log.find(prefix)
		if rest != "" {
			return rest, true
		}
		select {
		case <-grew:
		case <-e.ended:
			return "", false
		case <-deadline:
			e.t.Fatalf("the engine does not serve:\n%s", e.Log())
		}
	}
}

// Log is what the engine printed since its last start.
func (e *Engine) Log() string { return e.log.String() }

// Gone is closed when the process has ended.
func (e *Engine) Gone() <-chan struct{} { return e.ended }

// PID is the process.
func (e *Engine) PID() int { return e.cmd.Process.Pid }

// Kill ends the process by SIGKILL.
func (e *Engine) Kill() {
	e.t.Helper()
	require.NoError(e.t, e.cmd.Process.Kill())
	<-e.ended
}

// Signal sends a signal.
func (e *Engine) Signal(s os.Signal) {
	e.t.Helper()
	require.NoError(e.t, e.cmd.Process.Signal(s))
}

// Stop ends the process by SIGTERM and returns its exit code.
func (e *Engine) Stop() int {
	e.t.Helper()
	e.Signal(syscall.SIGTERM)
	return e.Wait()
}

// Wait waits for the end and returns the exit code.
func (e *Engine) Wait() int {
	e.t.Helper()
	select {
	case <-e.ended:
	case <-time.After(5 * time.Minute):
		_ = e.cmd.Process.Kill()
		e.t.Fatalf("the engine does not end:\n%s", e.Log())
	}
	return e.cmd.ProcessState.ExitCode()
}

func (e *Engine) cleanUp() {
	if e.cmd == nil || e.cmd.Process == nil {
		return
	}
	select {
	case <-e.ended:
		e.killPostgres()
	default:
		if code := e.Stop(); code != 0 {
			e.t.Errorf("the engine ended with %d:\n%s", code, e.Log())
		}
	}
	if e.t.Failed() {
		e.t.Logf("the engine's log:\n%s", e.Log())
	}
}

// KillPostgres ends the embedded Postgres by SIGKILL, as if by accident.
func (e *Engine) KillPostgres() {
	e.t.Helper()
	pid := e.postmaster()
	require.NotZero(e.t, pid)
	require.NoError(e.t, syscall.Kill(pid, syscall.SIGKILL))
}

// killPostgres ends the Postgres of an engine that was killed and not started again.
func (e *Engine) killPostgres() {
	pid := e.postmaster()
	if pid == 0 {
		return
	}
	_ = syscall.Kill(pid, syscall.SIGQUIT)
	require.Eventually(e.t, func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }, waitLong, 10*time.Millisecond)
}

// postmaster is the pid of the engine's Postgres; 0 if none serves its directory.
func (e *Engine) postmaster() int {
	data := filepath.Join(e.DataDir, "postgres")
	raw, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return 0
	}
	first, _, _ := bytes.Cut(raw, []byte("\n"))
	pid, err := strconv.Atoi(string(first))
	if err != nil {
		return 0
	}
	if cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); err != nil || cwd != data {
		return 0
	}
	return pid
}

// Second tries to start another engine on the same data directory.
func (e *Engine) Second() (code int, output string) {
	e.t.Helper()
	cmd := exec.CommandContext(context.Background(), Binary(e.t), "serve", "--listen", "127.0.0.1:0", "--data-dir", e.DataDir)
	cmd.Env = e.cmd.Env
	out, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), string(out)
	}
	require.NoError(e.t, err)
	return 0, string(out)
}

// Tenant is a company with a local environment.
type Tenant struct {
	Company     wire.Company
	Environment wire.Environment
}

// Tenant adds a company with a local environment.
func (e *Engine) Tenant(in wire.AddEnvironment) Tenant {
	e.t.Helper()
	ctx := context.Background()
	company, err := e.Client.AddCompany(ctx, wire.AddCompany{Name: "acme"})
	require.NoError(e.t, err)
	if in.Name == "" {
		in.Name = "local"
	}
	if in.Driver == "" {
		in.Driver = "local"
	}
	env, err := e.Client.AddEnvironment(ctx, company.ID, in)
	require.NoError(e.t, err)
	return Tenant{Company: company, Environment: env}
}

// Acquire acquires a lease and waits until it is active.
func (e *Engine) Acquire(tenant Tenant, in wire.AcquireLease) wire.Acquired {
	e.t.Helper()
	in.EnvironmentID = tenant.Environment.ID
	if in.HeartbeatRunID == "" {
		in.HeartbeatRunID = uuid.NewString()
	}
	key := client.IdempotencyKey(uuid.NewString())
	got, ready, err := e.Client.AcquireLease(context.Background(), tenant.Company.ID, in, key, client.Wait(waitLong))
	if err == nil && !ready {
		got, _, err = e.Client.AcquireLease(context.Background(), tenant.Company.ID, in, key, client.Wait(waitLong))
	}
	require.NoError(e.t, err)
	require.Equal(e.t, wire.LeaseActive, got.Lease.Status)
	return got
}

// Fence is that of a lease.
func Fence(t testing.TB, c *client.Client, lease uuid.UUID) int64 {
	t.Helper()
	l, err := c.Lease(context.Background(), lease)
	require.NoError(t, err)
	return l.Fence
}

// Run runs a command to its end and returns it with its output.
func (e *Engine) Run(lease uuid.UUID, in wire.StartExec) (x wire.Exec, stdout, stderr []byte) {
	e.t.Helper()
	ctx := context.Background()
	x, err := e.Client.StartExec(ctx, lease, Fence(e.t, e.Client, lease), in)
	require.NoError(e.t, err)
	for line, err := range e.Client.ExecOutput(ctx, x.ID, client.OutputOptions{Follow: true}) {
		require.NoError(e.t, err)
		switch line.Stream {
		case "stdout":
			stdout = append(stdout, line.Data...)
		case "stderr":
			stderr = append(stderr, line.Data...)
		}
	}
	x = e.Ended(x.ID)
	return x, stdout, stderr
}

// Ended waits for the end of a command.
func (e *Engine) Ended(id uuid.UUID) wire.Exec {
	e.t.Helper()
	for range 10 {
		x, err := e.Client.Exec(context.Background(), id, client.Wait(waitLong))
		require.NoError(e.t, err)
		if x.Status == wire.ExecEnded {
			return x
		}
	}
	e.t.Fatalf("exec %s does not end", id)
	return wire.Exec{}
}

// logBuffer keeps what a process prints and tells who waits when there is more.
type logBuffer struct {
	mu   sync.Mutex
	data bytes.Buffer
	grew chan struct{}
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.grew != nil {
		close(b.grew)
		b.grew = nil
	}
	return b.data.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.String()
}

// find returns the rest of a line with the prefix, or a channel that is closed when there is more to look at.
func (b *logBuffer) find(prefix string) (string, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for line := range strings.Lines(b.data.String()) {
		if rest, ok := strings.CutPrefix(strings.TrimRight(line, "\n"), prefix); ok && strings.HasSuffix(line, "\n") {
			return rest, nil
		}
	}
	if b.grew == nil {
		b.grew = make(chan struct{})
	}
	return "", b.grew
}

// Package enginetest runs a test binary again as a small engine around embedded.Start, so that tests can kill it, run it as
// another user and look at what is left.
package enginetest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/eventstore/embedded"
)

const requestVar = "TENURE_EMBEDDED_TEST_ENGINE"

// Request is what an engine is started with.
type Request struct {
	DataDir  string
	BinDir   string
	Settings map[string]string
	// Sync makes the engine as careful with the disk as a real one; no test cuts the power.
	Sync bool
	// Credential is whom the engine runs as; nil is this process's user.
	Credential *syscall.Credential `json:"-"`
	// Env is added to an otherwise empty environment.
	Env []string `json:"-"`
}

// Report is what an engine says once it has started or has given up.
type Report struct {
	Code       embedded.Code
	Error      string
	PostgresID int
	Adopted    bool
	ConnString string
}

// Engine is a running engine process.
type Engine struct {
	Report
	Took   time.Duration
	cmd    *exec.Cmd
	stdin  io.Closer
	output *bufio.Reader
	t      testing.TB
}

// Main is TestMain: it runs the tests, or the engine if this process was started to be one.
func Main(m *testing.M) {
	request := os.Getenv(requestVar)
	if request != "" {
		os.Exit(engine(request))
	}
	os.Exit(run(m))
}

// binary is what an engine executes. The go command puts the test binary where only its own user can go, so root makes a copy.
// That has to be done before the first process is started: one that inherits the writer would keep the copy from being executed.
var binary = "/proc/self/exe"

func run(m *testing.M) int {
	if os.Geteuid() == 0 {
		dir, err := os.MkdirTemp("/tmp", "tenure-embedded-")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir) //nolint:errcheck // a copy in /tmp may stay
		text, err := os.ReadFile(binary)
		if err != nil {
			panic(err)
		}
		binary = filepath.Join(dir, "engine")
		if err := errors.Join(os.WriteFile(binary, text, 0o755), os.Chmod(binary, 0o755), os.Chmod(dir, 0o755)); err != nil { //nolint:gosec // every user executes it
			panic(err)
		}
	}
	return m.Run()
}

func engine(text string) int {
	var request Request
	if err := json.Unmarshal([]byte(text), &request); err != nil {
		return 2
	}
	server, err := embedded.Start(context.Background(), embedded.Options{
		DataDir: request.DataDir, BinDir: request.BinDir, Settings: request.Settings, NoSync: !request.Sync,
		StartTimeout: 5 * time.Minute, // of a busy machine
	})
	report := Report{}
	if err != nil {
		report.Error = err.Error()
		if e, ok := errors.AsType[*embedded.Error](err); ok {
			report.Code = e.Code
		}
	} else {
		report.PostgresID, report.Adopted, report.ConnString = server.PID(), server.Adopted(), server.ConnString()
	}
	if err := json.NewEncoder(os.Stdout).Encode(report); err != nil || report.Error != "" {
		return 1
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := server.Stop(context.Background()); err != nil {
		return 3
	}
	return 0
}

// Start runs an engine and waits for its report.
func Start(t testing.TB, request Request) *Engine {
	t.Helper()
	e := Begin(t, request)
	e.Await()
	return e
}

// Begin runs an engine without waiting for its report.
func Begin(t testing.TB, request Request) *Engine {
	t.Helper()
	text, err := json.Marshal(request)
	require.NoError(t, err)
	cmd := exec.Command(binary) //nolint:noctx // Kill, Stop or the cleanup ends it
	cmd.Dir = "/"
	cmd.Env = append([]string{requestVar + "=" + string(text), "PATH=" + os.Getenv("PATH")}, request.Env...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: request.Credential}
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	output, input, err := os.Pipe()
	require.NoError(t, err)
	cmd.Stdout = input
	begun := time.Now()
	require.NoError(t, cmd.Start())
	require.NoError(t, input.Close())
	e := &Engine{cmd: cmd, stdin: stdin, output: bufio.NewReader(output), t: t, Took: time.Duration(begun.UnixNano())}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = output.Close()
	})
	return e
}

// Await waits for the report.
func (e *Engine) Await() {
	e.t.Helper()
	line, err := e.output.ReadBytes('\n')
	require.NoError(e.t, err, "the engine ended without a report")
	require.NoError(e.t, json.Unmarshal(line, &e.Report))
	e.Took = time.Since(time.Unix(0, int64(e.Took)))
}

// Kill ends the engine as a crash does. It returns when nobody holds the engine's output open any more, so a server that inherited
// it makes the test hang.
func (e *Engine) Kill() {
	e.t.Helper()
	require.NoError(e.t, e.cmd.Process.Kill())
	_ = e.cmd.Wait()
	rest, err := io.ReadAll(e.output)
	require.NoError(e.t, err)
	require.Empty(e.t, rest)
}

// Stop ends the engine in good order.
func (e *Engine) Stop() {
	e.t.Helper()
	require.NoError(e.t, e.stdin.Close())
	require.NoError(e.t, e.cmd.Wait())
}

// PID is the engine's process id.
func (e *Engine) PID() int { return e.cmd.Process.Pid }

// Dir makes a directory that every user can pass through, unlike t.TempDir, and removes it and every Postgres in it at the end.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "tenure-embedded-") //nolint:usetesting // t.TempDir is closed to other users
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755)) //nolint:gosec // what is in it has modes of its own
	t.Cleanup(func() {
		require.Eventually(t, func() bool {
			left := Processes(dir)
			for _, pid := range left {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
			return len(left) == 0
		}, 2*time.Minute, 10*time.Millisecond, "processes outlive the test")
		require.NoError(t, os.RemoveAll(dir))
	})
	return dir
}

// Processes lists what works in a directory below dir, other than this process.
func Processes(dir string) []int {
	var pids []int
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		cwd, err := os.Readlink(filepath.Join("/proc", entry.Name(), "cwd"))
		if err == nil && (cwd == dir || strings.HasPrefix(cwd, dir+"/")) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// KillPostgres kills a postmaster and waits until it is gone; its backends are left to themselves.
func KillPostgres(t testing.TB, pid int) {
	t.Helper()
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	require.Eventually(t, func() bool { return Gone(pid) }, 2*time.Minute, 5*time.Millisecond)
}

// Gone reports whether pid runs no more; one that nobody has waited for yet runs no more.
func Gone(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	return err != nil || bytes.Contains(stat, []byte(") Z "))
}

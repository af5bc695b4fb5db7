package execparent_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/drivers/execparent"
	"github.com/tenure-dev/tenure/drivers/internal/proc"
	"github.com/tenure-dev/tenure/drivers/journal"
)

// engineArg turns the test binary into an engine that starts one command and waits to be killed.
const engineArg = "engine"

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == engineArg {
		os.Exit(engine(os.Args[2]))
	}
	if len(os.Args) == 2 && os.Args[1] == linkedArg {
		syscall.Exit(execparent.MainLinked())
	}
	driverstest.Main(m, execparent.Main)
}

func options() execparent.Options {
	return execparent.Options{Command: []string{"/proc/self/exe", driverstest.ParentArg}}
}

func spec(journalDir string, argv ...string) execparent.Spec {
	return execparent.Spec{
		Argv: argv, Cwd: "/", JournalDir: journalDir, Grace: 5 * time.Second, Drain: 3 * time.Second,
		Env: []drivers.EnvVar{{Name: "PATH", Value: "/usr/bin:/bin"}},
	}
}

func engine(journalDir string) int {
	s := spec(journalDir, "sh", "-c", `setsid sleep 600 & echo begun; exec sleep 600`)
	p, err := execparent.Start(context.Background(), options(), s)
	if err != nil {
		return 1
	}
	if err := json.NewEncoder(os.Stdout).Encode([]drivers.Process{p.Process(), p.Parent()}); err != nil {
		return 1
	}
	<-p.Done()
	return 0
}

func TestACommandEndsWithItsEngine(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "exec")
	cmd := exec.Command("/proc/self/exe", engineArg, dir)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	require.NoError(t, err)
	var processes []drivers.Process
	require.NoError(t, json.Unmarshal(line, &processes))
	for _, p := range processes {
		require.True(t, proc.Alive(p))
	}
	j, err := journal.Open(dir, 0)
	require.NoError(t, err)
	defer j.Close()
	var out bytes.Buffer
	for out.String() != "begun\n" {
		f, err := j.Follow(t.Context())
		require.NoError(t, err)
		out.Write(f.Data)
	}
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	for {
		f, err := j.Follow(t.Context())
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		out.Write(f.Data)
	}
	require.Equal(t, "begun\n", out.String())
	require.False(t, proc.Alive(processes[0]))
	var result drivers.ExecResult
	require.Eventually(t, func() bool {
		result, err = execparent.ReadResult(dir)
		return !errors.Is(err, fs.ErrNotExist)
	}, time.Minute, time.Millisecond, "the file follows the seal at once")
	require.NoError(t, err)
	require.Equal(t, drivers.ExecKilled, result.End)
	require.Equal(t, "engine_gone", result.Why)
	require.Zero(t, result.Leftovers)
}

func TestAForkingTreeIsEndedWhole(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "exec")
	// Every process hands over to a new one in a new session and ends: whoever looks finds yesterday's pids.
	script := filepath.Join(t.TempDir(), "relay")
	require.NoError(t, os.WriteFile(script, []byte("#!/bin/sh\nsetsid \"$0\" &\n"), 0o700))
	p, err := execparent.Start(t.Context(), options(), spec(dir, "sh", "-c", script+`; echo begun; exec sleep 600`))
	require.NoError(t, err)
	j, err := journal.Open(dir, 0)
	require.NoError(t, err)
	defer j.Close()
	_, err = j.Follow(t.Context())
	require.NoError(t, err)
	require.NoError(t, p.KillNow("test"))
	result, err := p.Wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, drivers.ExecKilled, result.End)
	require.Zero(t, result.Leftovers)
}

func TestTheParentHasAnEmptyEnvironmentAndNoSecretInItsArguments(t *testing.T) {
	t.Parallel()
	s := spec(filepath.Join(t.TempDir(), "exec"), "sleep", "600")
	s.Env = append(s.Env, drivers.EnvVar{Name: "SECRET", Value: "hunter2"})
	s.Stdin = []byte("hunter3")
	p, err := execparent.Start(t.Context(), options(), s)
	require.NoError(t, err)
	at := "/proc/" + strconv.Itoa(p.Parent().PID)
	cmdline, err := os.ReadFile(at + "/cmdline")
	require.NoError(t, err)
	require.Equal(t, "/proc/self/exe\x00"+driverstest.ParentArg+"\x00", string(cmdline))
	if environ, err := os.ReadFile(at + "/environ"); err == nil { // root may look
		require.Empty(t, environ)
	}
	require.NoError(t, p.KillNow("test"))
	_, err = p.Wait(t.Context())
	require.NoError(t, err)
	require.False(t, proc.Alive(p.Parent()))
}

func TestALargeOutputTakesLittleMemory(t *testing.T) {
	t.Parallel()
	s := spec(filepath.Join(t.TempDir(), "exec"), "sh", "-c", `head -c 50000000 /dev/zero; cat; exec sleep 600`)
	p, err := execparent.Start(t.Context(), options(), s)
	require.NoError(t, err)
	j, err := journal.Open(s.JournalDir, 49_999_999)
	require.NoError(t, err)
	defer j.Close()
	_, err = j.Follow(t.Context())
	require.NoError(t, err)
	status, err := os.ReadFile("/proc/" + strconv.Itoa(p.Parent().PID) + "/status")
	require.NoError(t, err)
	_, rest, found := bytes.Cut(status, []byte("VmHWM:"))
	require.True(t, found)
	peak, err := strconv.Atoi(string(bytes.Fields(rest)[0]))
	require.NoError(t, err)
	require.Less(t, peak, 100*1024, "KiB, the race detector's included")
	require.NoError(t, p.KillNow("test"))
	_, err = p.Wait(t.Context())
	require.NoError(t, err)
}

func TestTheHiddenSubcommandRefusesToBeRunByHand(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("/proc/self/exe", driverstest.ParentArg)
	out, err := cmd.CombinedOutput()
	exit, ok := errors.AsType[*exec.ExitError](err)
	require.True(t, ok)
	require.Equal(t, 2, exit.ExitCode())
	require.Contains(t, string(out), "internal command")
}

func TestASignalToTheParentEndsTheCommand(t *testing.T) {
	t.Parallel()
	p, err := execparent.Start(t.Context(), options(), spec(filepath.Join(t.TempDir(), "exec"), "sleep", "600"))
	require.NoError(t, err)
	require.NoError(t, proc.Signal(p.Parent().PID, p.Parent().StartTime, unix.SIGTERM))
	result, err := p.Wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, "parent_signaled", result.Why)
}

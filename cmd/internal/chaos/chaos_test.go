package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/eventstore/faults"
)

var program struct {
	once sync.Once
	path string
	err  error
}

// bin builds the program as make chaos does.
func bin(t *testing.T) string {
	t.Helper()
	program.once.Do(func() {
		dir, err := os.MkdirTemp("", "tenure-chaostest-") //nolint:usetesting // it outlives the test that is first
		if err == nil {
			err = os.Chmod(dir, 0o755)
		}
		program.path, program.err = filepath.Join(dir, "tenure"), err
		if err == nil {
			var out []byte
			out, program.err = exec.Command("go", "build", "-race=false", "-tags=faults", "-o", program.path, "github.com/tenure-dev/tenure/cmd/tenure").CombinedOutput()
			if program.err != nil {
				t.Logf("%s", out)
			}
		}
	})
	require.NoError(t, program.err)
	return program.path
}

func TestMain(m *testing.M) {
	code := m.Run()
	if program.path != "" {
		_ = os.RemoveAll(filepath.Dir(program.path))
	}
	os.Exit(code)
}

// small is a run for a test: few processes, short leases.
func small(t *testing.T, args ...string) (out string, all []string) {
	t.Helper()
	path := bin(t)
	tmp, err := os.MkdirTemp("", "tenure-chaostmp-") //nolint:usetesting // t.TempDir is closed to other users
	require.NoError(t, err)
	require.NoError(t, os.Chmod(tmp, 0o755))
	t.Setenv("TMPDIR", tmp)
	t.Cleanup(func() {
		left, err := os.ReadDir(tmp)
		require.NoError(t, err)
		require.Empty(t, left, "the run left something behind")
		require.NoError(t, os.RemoveAll(tmp))
		running, err := below(os.Getpid())
		require.NoError(t, err)
		require.Empty(t, running)
	})
	out = filepath.Join(t.TempDir(), "chaos")
	return out, append([]string{"-bin", path, "-out", out, "-api", "1", "-workers", "2", "-clients", "8", "-lease", "2s", "-seed", "3"}, args...)
}

// Not parallel: it sets TMPDIR, where a run must leave nothing.
func TestAShortRunWithFaultsBreaksNoPromise(t *testing.T) {
	out, args := small(t, "-duration", "6s", "-faults", "kill,stop,cut,plugin,clock")
	var stdout, stderr bytes.Buffer
	code := chaos(args, &stdout, &stderr)
	require.Zero(t, code, "%s\n%s", &stdout, &stderr)
	var got report
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &got))
	require.Positive(t, got.FinishedLeases)
	require.Empty(t, got.Violations)
	require.Contains(t, stdout.String(), `"violations": []`)
	require.EqualValues(t, 3, got.Seed)
	for _, f := range []fault{faultKill, faultStop, faultCut, faultClock} {
		require.Positive(t, got.Faults[f], f)
	}
	require.Zero(t, got.Faults[faultPromote])
	require.Positive(t, got.Calls.Acknowledged)
	require.GreaterOrEqual(t, len(got.Looked), 8, "%v", got.Looked)
	same, err := os.ReadFile(out + ".json")
	require.NoError(t, err)
	require.Equal(t, stdout.String(), string(same))
	lines, err := os.ReadFile(filepath.Join(out, "calls.jsonl"))
	require.NoError(t, err)
	require.Equal(t, got.Calls.Sent, bytes.Count(lines, []byte("\n")))
}

// What does not come to its end in the time that it has is a violation: leases that clients forgot live for seconds.
func TestARunThatDoesNotComeToRestFailsAndKeepsWhatThereIsToSee(t *testing.T) {
	out, args := small(t, "-duration", "3s", "-faults", "none", "-settle", "1s", "-lease", "60s")
	var stdout, stderr bytes.Buffer
	require.Equal(t, 1, chaos(args, &stdout, &stderr), "%s", &stderr)
	var got report
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &got))
	require.NotEmpty(t, got.Violations)
	require.EqualValues(t, "settled", got.Violations[0].Rule)
	require.Contains(t, stderr.String(), out)
	for _, name := range []string{"log.jsonl", "calls.jsonl", "faults.jsonl", "ledger.jsonl", "api-1.log", "worker-2.log"} {
		require.FileExists(t, filepath.Join(out, name))
	}
}

// signaled tells when something is written that has a word.
type signaled struct {
	mu   sync.Mutex
	all  bytes.Buffer
	word string
	seen chan struct{}
}

func (s *signaled) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.word != "" && strings.Contains(string(p), s.word) {
		s.word = ""
		close(s.seen)
	}
	return s.all.Write(p)
}

func TestAnInterruptedRunLeavesNothingBehind(t *testing.T) {
	_, args := small(t, "-duration", "10m", "-faults", "stop,plugin")
	errInterrupted := errors.New("interrupted")
	ctx, interrupt := context.WithCancelCause(t.Context())
	stderr := &signaled{word: "leases finished", seen: make(chan struct{})}
	s, err := parse(args, stderr)
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() {
		_, err := perform(ctx, s, stderr)
		ended <- err
	}()
	select {
	case <-stderr.seen:
	case err := <-ended:
		require.NoError(t, err)
	}
	interrupt(errInterrupted)
	select {
	case err := <-ended:
		require.ErrorIs(t, err, errInterrupted)
	case <-time.After(2 * time.Minute):
		require.Fail(t, "it does not end")
	}
}

func TestEveryPointIsOneOfTheProgram(t *testing.T) {
	t.Parallel()
	for v, names := range points {
		for _, name := range names {
			require.True(t, slices.Contains(faults.Points, name), "%s: %s", v, name)
		}
	}
}

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	if code, child := asEngine(os.Args[1:]); child {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// Not parallel: it sets TMPDIR, where a run must leave nothing.
func TestEveryBenchmarkRunsAndLeavesNothingBehind(t *testing.T) {
	tmp, err := os.MkdirTemp("", "tenure-benchtest-") //nolint:usetesting // t.TempDir is closed to other users
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(tmp)) })
	require.NoError(t, os.Chmod(tmp, 0o755))
	path := filepath.Join(t.TempDir(), "build", "bench.json")
	t.Setenv("TMPDIR", tmp)
	var stdout, stderr bytes.Buffer
	require.Zero(t, run([]string{"-short", "-json", path}, &stdout, &stderr), "%s", &stderr)

	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	var entries []entry
	require.NoError(t, json.Unmarshal(raw, &entries))
	found := map[string]entry{}
	for _, e := range entries {
		require.NotEmpty(t, e.Unit, e.Name)
		require.Positive(t, e.Value, e.Name)
		require.Equal(t, e.Floor == nil, e.Ratio == nil, e.Name)
		require.Contains(t, stdout.String(), e.Name)
		found[e.Name] = e
	}
	for _, g := range groups {
		if g.root && os.Geteuid() != 0 {
			continue
		}
		for _, name := range g.names {
			require.Contains(t, found, name)
		}
	}
	for _, name := range []string{"run/fdatasync", "run/roundtrip", "run/postgres"} {
		require.Contains(t, found, name)
	}
	require.Greater(t, found["run/roundtrip/rtt1ms"].Value, 1.0)
	left, err := os.ReadDir(tmp)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestAPatternThatMatchesNothingNamesAllThatThereIs(t *testing.T) {
	t.Parallel()
	var stderr bytes.Buffer
	require.Equal(t, 1, run([]string{"-run", "nothing"}, &bytes.Buffer{}, &stderr))
	require.Contains(t, stderr.String(), "cycles/c64")
}

func TestAnUnknownFlagIsAMistakeOfUse(t *testing.T) {
	t.Parallel()
	require.Equal(t, 2, run([]string{"-wat"}, &bytes.Buffer{}, &bytes.Buffer{}))
}

func TestThePercentileIsAMemberOfTheSample(t *testing.T) {
	t.Parallel()
	values := []int{5, 1, 4, 2, 3}
	require.Equal(t, 3, median(values))
	require.Equal(t, 5, percentile(values, 99))
	require.Equal(t, []int{5, 1, 4, 2, 3}, values)
	require.Zero(t, median([]int{}))
}

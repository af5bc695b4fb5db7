package main

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func all(t *testing.T) []fault {
	t.Helper()
	wanted, err := parseFaults("all")
	require.NoError(t, err)
	require.Len(t, wanted, len(about))
	return wanted
}

func TestAPlanFollowsFromItsSeed(t *testing.T) {
	t.Parallel()
	one := plan(7, time.Minute, all(t))
	require.Equal(t, one, plan(7, time.Minute, all(t)))
	require.NotEqual(t, one, plan(8, time.Minute, all(t)))
	// What one fault does, and when, does not depend on which others are done.
	only := slices.DeleteFunc(slices.Clone(one), func(d deed) bool { return d.fault != faultKill })
	require.Equal(t, only, plan(7, time.Minute, []fault{faultKill}))
}

func TestAPlanHasEachFaultInAMinuteAndManyInTen(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		for _, d := range []time.Duration{20 * time.Second, time.Minute} {
			deeds := plan(seed, d, all(t))
			counts := map[fault]int{}
			for _, x := range deeds {
				counts[x.fault]++
				require.Less(t, x.at, d)
			}
			require.Len(t, counts, len(every), "seed %d, %s", seed, d)
			require.True(t, slices.IsSortedFunc(deeds, func(a, b deed) int { return int(a.at - b.at) }))
		}
		counts := map[fault]int{}
		for _, x := range plan(seed, 10*time.Minute, all(t)) {
			counts[x.fault]++
		}
		require.GreaterOrEqual(t, counts[faultKill], 30)
		require.GreaterOrEqual(t, counts[faultPGRestart], 7)
	}
}

func TestAWrongFlagIsNamedWithWhatThereIs(t *testing.T) {
	t.Parallel()
	bin := filepath.Join(t.TempDir(), "tenure")
	require.NoError(t, os.WriteFile(bin, nil, 0o600))
	for line, says := range map[string][]string{
		"-faults kill,flood":              {`"flood"`, "kill", "pgRestart"},
		"-api 0 -workers -1 -duration 0s": {"-api", "-workers", "-duration"},
		"-bin nowhere":                    {"-bin", "-tags faults"},
		"-lease 10ms -settle 0s extra":    {"-lease", "-settle", `"extra"`},
		"-seed many":                      {"many"},
	} {
		args := []string{"-bin", bin, "-out", filepath.Join(t.TempDir(), "chaos")}
		for word := range bytes.FieldsSeq([]byte(line)) {
			args = append(args, string(word))
		}
		var stdout, stderr bytes.Buffer
		require.Equal(t, 2, chaos(args, &stdout, &stderr), line)
		require.Empty(t, stdout.String())
		for _, part := range says {
			require.Contains(t, stderr.String(), part, line)
		}
	}
}

func TestTheHelpNamesEveryFault(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	require.Zero(t, chaos([]string{"-help"}, &stdout, &stderr))
	for f := range maps.Keys(every) {
		require.NotEmpty(t, about[f])
		require.Contains(t, stderr.String(), about[f])
	}
	for _, part := range []string{"-duration", "-seed", "calls.jsonl", "Exit codes"} {
		require.Contains(t, stderr.String(), part)
	}
}

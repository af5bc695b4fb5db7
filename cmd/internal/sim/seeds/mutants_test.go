package seeds_test

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/cmd/internal/sim/seeds"
	"github.com/tenure-dev/tenure/cmd/internal/sim/still"
)

const root = "../../../.."

func TestEveryMutantFitsTheSources(t *testing.T) {
	t.Parallel()
	require.GreaterOrEqual(t, len(seeds.Mutants), 10)
	names := map[string]bool{}
	for _, m := range seeds.Mutants {
		require.False(t, names[m.Name], "two mutants are called %s", m.Name)
		names[m.Name] = true
		_, err := still.Changed(root, t.TempDir(), m.Edits)
		require.NoError(t, err, m.Name)
		for _, e := range m.Edits {
			require.NotEqual(t, e.Old, e.New, m.Name)
		}
	}
}

// It takes as long as Go takes to build its own packages anew where nobody did so before: half a minute of a core. After that
// it is seconds.
func TestASeedTellsTheSameStoryInEveryProcessAndBreaksNoPromise(t *testing.T) {
	t.Parallel()
	program, err := seeds.Build(t.Context(), root, t.TempDir())
	require.NoError(t, err)
	dirs := []string{t.TempDir(), t.TempDir()}
	hashes := make([]map[uint64]string, len(dirs))
	const first, count = 1, 60
	for n, dir := range dirs {
		hashes[n] = map[uint64]string{}
		// One process for all, and then two, so that most seeds come after others than before.
		run := seeds.Run{Program: program, First: first, Seeds: count, Jobs: n + 1, Traces: dir}
		require.NoError(t, run.Each(t.Context(), func(told seeds.Told) bool {
			require.Empty(t, told.Violations, "make sim SEED=%d SEEDS=1", told.Seed)
			hashes[n][told.Seed] = told.Hash
			return true
		}))
	}
	require.Len(t, hashes[0], count)
	require.Equal(t, hashes[0], hashes[1])
	files, err := filepath.Glob(filepath.Join(dirs[0], "seed-*.txt"))
	require.NoError(t, err)
	require.Len(t, files, count)
	for _, file := range files {
		one, err := os.ReadFile(file)
		require.NoError(t, err)
		other, err := os.ReadFile(filepath.Join(dirs[1], filepath.Base(file)))
		require.NoError(t, err)
		require.Equal(t, sha256.Sum256(one), sha256.Sum256(other), filepath.Base(file))
		require.NotEmpty(t, one)
	}
}

package cgroup

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAMountShowsAPart(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		root, at, path, want string
		ok                   bool
	}{
		{"/", "/sys/fs/cgroup/pids", "/", "/sys/fs/cgroup/pids", true},
		{"/", "/sys/fs/cgroup/pids", "/a/b", "/sys/fs/cgroup/pids/a/b", true},
		{"/docker/x", "/sys/fs/cgroup", "/docker/x/y", "/sys/fs/cgroup/y", true},
		{"/docker/x", "/sys/fs/cgroup", "/docker/other", "", false},
		{"/..", "/sys/fs/cgroup", "/", "", false},
	} {
		got, ok := below(row.root, row.at, row.path)
		require.Equal(t, row.ok, ok, "%+v", row)
		require.Equal(t, row.want, got, "%+v", row)
	}
}

func TestNothingIsLimitedInAppearanceOnly(t *testing.T) {
	t.Parallel()
	all := Limits{MemoryBytes: 1 << 20, Pids: 1, CPUs: 1}
	var none *Hierarchy
	require.Equal(t, []string{Memory, Pids, CPU}, none.Missing(all))
	require.Empty(t, none.Missing(Limits{}))
	require.Equal(t, "none", none.Version())
	require.Empty(t, none.Group("g").Join())
	require.Equal(t, []string{CPU}, (&Hierarchy{V2: "/x", Controllers: []string{Memory, Pids}}).Missing(all))
	require.Equal(t, []string{Memory, CPU}, (&Hierarchy{V1: map[string]string{Pids: "/x", CPU: t.TempDir()}}).Missing(all),
		"a kernel without bandwidth control")
	h := &Hierarchy{V2: t.TempDir(), Controllers: []string{Pids}}
	require.ErrorIs(t, h.Group("g").Make(Limits{Pids: 5}, os.Getuid(), os.Getgid()), os.ErrNotExist, "a file that is not there takes no limit")
}

func TestAHierarchySurvivesTheEnvironment(t *testing.T) {
	t.Parallel()
	h := &Hierarchy{V1: map[string]string{Memory: `/sys/fs/cgroup/"memory"`}, V2: "/sys/fs/cgroup/unified", Controllers: []string{Pids}}
	got, err := Decode(h.Encode())
	require.NoError(t, err)
	require.Equal(t, h, got)
	_, err = Decode("")
	require.Error(t, err)
}

// What the kernel reads of a v2 group, in a directory that stands for one.
func TestTheLimitsOfVersionTwo(t *testing.T) {
	t.Parallel()
	h := &Hierarchy{V2: t.TempDir(), Controllers: []string{Memory, Pids, CPU}}
	dir := filepath.Join(h.V2, "g")
	require.NoError(t, os.Mkdir(dir, 0o700))
	for _, name := range []string{"memory.max", "memory.swap.max", "pids.max", "cpu.max", "cgroup.procs"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	g := h.Group("g")
	require.NoError(t, g.Make(Limits{MemoryBytes: 64 << 20, Pids: 7, CPUs: 1.5}, os.Getuid(), os.Getgid()))
	for name, want := range map[string]string{
		"memory.max": "67108864", "memory.swap.max": "0", "pids.max": "7", "cpu.max": "150000 100000",
	} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, want, string(got), name)
	}
	require.Equal(t, []string{dir}, g.Join())
	require.NoError(t, os.WriteFile(filepath.Join(dir, "memory.events"), []byte("low 0\noom 3\noom_kill 2\noom_group_kill 0\n"), 0o600))
	kills, known := g.OOMKills()
	require.True(t, known)
	require.EqualValues(t, 2, kills)
	require.False(t, g.Full())
	require.NoError(t, os.WriteFile(filepath.Join(dir, "pids.current"), []byte("7\n"), 0o600))
	require.True(t, g.Full())
}

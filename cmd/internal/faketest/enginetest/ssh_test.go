package enginetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/apptest"
	"github.com/tenure-dev/tenure/drivers/process"
	"github.com/tenure-dev/tenure/drivers/ssh/sshtest"
)

// After random kills of the engine, of the sessions of a real sshd and of the parents of commands there, the directories and markers on the host are those of
// the leases that are held, and nothing runs there for one that has ended.
func TestWhatLivesOnAnSSHHostIsWhatTheLogSays(t *testing.T) {
	t.Parallel()
	host := sshtest.Start(t, sshtest.Options{Lines: []string{"MaxStartups 100", "MaxSessions 50"}})
	root := filepath.Join(apptest.Dir(t), "work")
	fields := host.Fields(root)
	fields["privateKey"], fields["workspaceMode"] = fields["privateKeySecretRef"], "per_lease"
	delete(fields, "privateKeySecretRef")
	config, err := json.Marshal(fields)
	require.NoError(t, err)
	apptest.Mixture{
		Environments: []wire.AddEnvironment{{Name: "host", Driver: "ssh", Config: config}},
		Leases:       20, Acts: 40, Pause: 150 * time.Millisecond, Kills: 2,
		Faults: []apptest.Fault{
			// What runs in a session loses its parent.
			{Name: "sessions end", Do: func(l *apptest.Life) { l.Done["processes of sshd were killed"] += killBelow(t, "sshd") }},
			// Only the release can end what they leave behind: the engine that would have is dead.
			{Name: "parents of commands end", Do: func(l *apptest.Life) {
				l.KillUnseen(func() { l.Done["parents of commands were killed"] += killBelow(t, "perl") })
			}},
		},
		Things: map[string]func() []string{
			"marker":              func() []string { return markers(t, filepath.Join(root, ".tenure", "leases")) },
			"temporary directory": func() []string { return names(t, filepath.Join(root, ".tenure", "tmp")) },
			"workspace": func() []string {
				return slices.DeleteFunc(names(t, root), func(name string) bool { return name == ".tenure" })
			},
		},
	}.Live(apptest.Start(t, apptest.OnServer(t), apptest.WithArgs("--provision-timeout", "30s", "--release-timeout", "30s")))
}

// killBelow ends every process below this one whose program's name begins so. Each connection has a process sshd.
func killBelow(t *testing.T, program string) (killed int) {
	t.Helper()
	below, err := process.Descendants(os.Getpid())
	require.NoError(t, err)
	for _, p := range below {
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p.PID))
		if err == nil && strings.HasPrefix(string(name), program) && process.Signal(p, syscall.SIGKILL) == nil {
			killed++
		}
	}
	return killed
}

// markers are the markers in a directory, and what is left of others there.
func markers(t *testing.T, dir string) (found []string) {
	t.Helper()
	all := names(t, dir)
	return slices.DeleteFunc(slices.Clone(all), func(name string) bool {
		beside, hidden := strings.CutPrefix(name, ".")
		id, _, _ := strings.Cut(beside, ".")
		return hidden && slices.Contains(all, id)
	})
}

// names are those of the entries of a directory that need not be there.
func names(t *testing.T, dir string) (found []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if !errors.Is(err, os.ErrNotExist) {
		require.NoError(t, err)
	}
	for _, e := range entries {
		found = append(found, e.Name())
	}
	return found
}

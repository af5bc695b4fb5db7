package cli_test

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/wire"
)

// program is the CLI as a process of its own, against a fake with a company and an environment.
func program(t *testing.T, f *fake, args ...string) *exec.Cmd {
	t.Helper()
	f.mu.Lock()
	company := f.newID()
	f.companies = append(f.companies, &wire.Company{ID: company, Name: "acme"})
	f.envs = append(f.envs, &wire.Environment{ID: f.newID(), CompanyID: company, Name: "local", Status: "active"}, &wire.Environment{ID: f.newID(), CompanyID: company, Name: "full", Status: "active"})
	f.mu.Unlock()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Args[0] = "tenure"
	cmd.Env = []string{"TENURE_SERVER=" + f.URL, "TENURE_API_KEY=admin", "HOME=" + t.TempDir(), "GORACE=" + quickExit}
	return cmd
}

func onlyLease(t *testing.T, f *fake) wire.Lease {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	require.Len(t, f.leases, 1)
	return *f.leases[0]
}

func exitCode(t *testing.T, err error) int {
	t.Helper()
	if err == nil {
		return 0
	}
	exit, ok := errors.AsType[*exec.ExitError](err)
	require.True(t, ok, "%v", err)
	return exit.ExitCode()
}

func TestAnInterruptionKillsTheCommandAndGivesTheLeaseBack(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			f := newFake()
			t.Cleanup(f.Close)
			cmd := program(t, f, "run", "--env", "local", "--", "sleep")
			out, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			lines := bufio.NewReader(out)
			line, err := lines.ReadString('\n')
			require.NoError(t, err)
			require.Equal(t, "asleep\n", line)

			require.NoError(t, cmd.Process.Signal(signal))

			rest, err := io.ReadAll(lines)
			require.NoError(t, err)
			require.Equal(t, "bye\n", string(rest), "what the command says on its way out is shown")
			require.Equal(t, 130, exitCode(t, cmd.Wait()))
			require.Equal(t, wire.LeaseReleased, onlyLease(t, f).Status)
			f.mu.Lock()
			defer f.mu.Unlock()
			require.True(t, f.execs[0].KillRequested)
		})
	}
}

func TestAReaderThatLeavesKillsTheCommandAndGivesTheLeaseBack(t *testing.T) {
	t.Parallel()
	f := newFake()
	t.Cleanup(f.Close)
	cmd := program(t, f, "run", "--env", "local", "--", "both")
	r, w, err := os.Pipe()
	require.NoError(t, err)
	require.NoError(t, r.Close())
	cmd.Stdout = w
	err = cmd.Run()
	require.NoError(t, w.Close())
	require.Equal(t, 125, exitCode(t, err))
	require.Equal(t, wire.LeaseReleased, onlyLease(t, f).Status)
}

func TestAnInterruptionWhileWaitingLeavesNoLease(t *testing.T) {
	t.Parallel()
	f := newFake()
	t.Cleanup(f.Close)
	cmd := program(t, f, "lease", "acquire", "--env", "full")
	f.mu.Lock()
	changed := f.changed
	f.mu.Unlock()
	require.NoError(t, cmd.Start())
	<-changed

	require.NoError(t, cmd.Process.Signal(os.Interrupt))

	require.Equal(t, 130, exitCode(t, cmd.Wait()))
	require.Equal(t, wire.LeaseReleased, onlyLease(t, f).Status)
}

func TestAServerEndsInItsOwnTimeHoweverOftenItIsAsked(t *testing.T) {
	t.Parallel()
	f := newFake()
	t.Cleanup(f.Close)
	cmd := program(t, f, "serve", "--log-level", "debug", "--data-dir", t.TempDir())
	news, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(news).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "serving", strings.TrimSpace(line))

	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		require.ErrorIs(t, err, os.ErrProcessDone)
	}

	require.Equal(t, 0, exitCode(t, cmd.Wait()))
}

func TestASecondInterruptionLeavesAtOnce(t *testing.T) {
	t.Parallel()
	f := newFake()
	t.Cleanup(f.Close)
	cmd := program(t, f, "run", "--env", "local", "--", "stubborn")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, err = bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	f.mu.Lock()
	changed := f.changed
	f.mu.Unlock()

	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	<-changed
	require.NoError(t, cmd.Process.Signal(os.Interrupt))

	require.Equal(t, 130, exitCode(t, cmd.Wait()))
	f.mu.Lock()
	defer f.mu.Unlock()
	require.True(t, f.execs[0].KillRequested)
	require.Equal(t, wire.LeaseActive, f.leases[0].Status)
}

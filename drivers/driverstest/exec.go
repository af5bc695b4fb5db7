package driverstest

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
)

// testExec is what every driver with Exec does, whatever its commands are.
func testExec(t *testing.T, f Features) {
	t.Run("output and exit code arrive", func(t *testing.T) {
		t.Parallel()
		r := Acquire(t, f)
		e, err := r.Start(drivers.ExecRequest{Argv: []string{"echo", "hi", "there"}})
		require.NoError(t, err)
		require.Positive(t, e.Process().PID)
		done := r.Finish(e, time.Now())
		require.Equal(t, drivers.ExecExited, done.End)
		require.Zero(t, done.ExitCode)
		require.Equal(t, "hi there\n", string(done.Stdout))
		require.Empty(t, done.Stderr)
		require.Equal(t, drivers.OutputComplete, done.Output.State)
		require.Equal(t, 1, r.Run(drivers.ExecRequest{Argv: []string{"false"}}).ExitCode)
		require.NoError(t, e.Kill(t.Context(), "late"), "killing what has ended does nothing")
		again, err := e.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, done.ExecResult, again)
	})
	t.Run("stdin arrives whole", func(t *testing.T) {
		t.Parallel()
		r := Acquire(t, f)
		stdin := make([]byte, 300_000)
		for i := range stdin {
			stdin[i] = byte(i * 7)
		}
		require.Equal(t, stdin, r.Run(drivers.ExecRequest{Argv: []string{"cat"}, Stdin: stdin}).Stdout)
		require.Empty(t, r.Run(drivers.ExecRequest{Argv: []string{"cat"}}).Stdout)
	})
	t.Run("a command that does not exist exits with 127", func(t *testing.T) {
		t.Parallel()
		r := Acquire(t, f)
		done := r.Run(drivers.ExecRequest{Argv: []string{"no-such-command-at-all"}})
		require.Equal(t, drivers.ExecExited, done.End)
		require.Equal(t, 127, done.ExitCode)
		require.Contains(t, string(done.Stderr), "no-such-command-at-all")
	})
	t.Run("a kill ends the command and says why", func(t *testing.T) {
		t.Parallel()
		r := Acquire(t, f)
		e, err := r.Start(drivers.ExecRequest{Argv: []string{"sleep", "600"}})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = e.Wait(ctx)
		require.ErrorIs(t, err, context.Canceled)
		require.NoError(t, e.Kill(t.Context(), "asked for"))
		done := r.Finish(e, time.Now())
		require.Equal(t, drivers.ExecKilled, done.End)
		require.Equal(t, "asked for", done.Why)
	})
	t.Run("a timeout ends the command", func(t *testing.T) {
		t.Parallel()
		r := Acquire(t, f)
		done := r.Run(drivers.ExecRequest{Argv: []string{"sleep", "600"}, Timeout: 50 * time.Millisecond})
		require.Equal(t, drivers.ExecTimedOut, done.End)
		require.Equal(t, "hi\n", string(r.Run(drivers.ExecRequest{Argv: []string{"echo", "hi"}}).Stdout))
	})
	t.Run("release ends what runs", func(t *testing.T) {
		t.Parallel()
		r := Acquire(t, f)
		e, err := r.Start(drivers.ExecRequest{Argv: []string{"sleep", "600"}})
		require.NoError(t, err)
		require.NoError(t, r.Release())
		done := r.Finish(e, time.Now())
		require.Equal(t, drivers.ExecKilled, done.End)
		requireListed(t, f, r.Driver, r.req, 0)
		_, err = r.Start(drivers.ExecRequest{Argv: []string{"echo", "hi"}})
		requireStage(t, err, "runtime")
		require.ErrorIs(t, err, drivers.ErrGone)
	})
	t.Run("an exec is started once", func(t *testing.T) {
		t.Parallel()
		r := Acquire(t, f)
		e, err := r.Start(drivers.ExecRequest{Argv: []string{"echo", "hi"}})
		require.NoError(t, err)
		r.Finish(e, time.Now())
		_, err = r.Start(drivers.ExecRequest{Argv: []string{"echo", "again"}, JournalDir: e.JournalDir})
		requireStage(t, err, "journal")
		stdout, _ := ReadOutput(t, e.JournalDir)
		require.Equal(t, "hi\n", string(stdout))
	})
	t.Run("what no process can get is refused before the start", func(t *testing.T) {
		t.Parallel()
		r := Acquire(t, f)
		long := string(make([]byte, 200_000))
		for _, row := range []struct {
			stage string
			req   drivers.ExecRequest
		}{
			{"environment", drivers.ExecRequest{Env: []drivers.EnvVar{{Name: "", Value: "x"}}}},
			{"environment", drivers.ExecRequest{Env: []drivers.EnvVar{{Name: "A=B", Value: "x"}}}},
			{"environment", drivers.ExecRequest{Env: []drivers.EnvVar{{Name: "A\x00B", Value: "x"}}}},
			{"environment", drivers.ExecRequest{Env: []drivers.EnvVar{{Name: "A", Value: "x\x00y"}}}},
			{"environment", drivers.ExecRequest{Env: []drivers.EnvVar{{Name: "BIG", Value: spaces(200_000)}}}},
			{"environment", drivers.ExecRequest{Env: manyVars(30, 100_000)}},
			{"argv", drivers.ExecRequest{Argv: []string{""}}},
			{"argv", drivers.ExecRequest{Argv: []string{"echo", "a\x00b"}}},
			{"argv", drivers.ExecRequest{Argv: []string{"echo", long}}},
		} {
			if row.req.Argv == nil {
				row.req.Argv = []string{"echo", "hi"}
			}
			e, err := r.Start(row.req)
			requireStage(t, err, row.stage)
			require.NoDirExists(t, e.JournalDir)
		}
	})
}

func requireStage(t *testing.T, err error, stage string) {
	t.Helper()
	start, ok := errors.AsType[*drivers.StartError](err)
	require.True(t, ok, "a StartError, not %v", err)
	require.Equal(t, stage, start.Stage, "%v", err)
	require.NotEmpty(t, start.Remediation, "%v", err)
}

func spaces(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = ' '
	}
	return string(b)
}

func manyVars(n, size int) []drivers.EnvVar {
	vars := make([]drivers.EnvVar, n)
	for i := range vars {
		vars[i] = drivers.EnvVar{Name: "V" + uuid.NewString(), Value: spaces(size)}
	}
	return vars
}

// testPosix is what happens to argv, directories and exit codes of real programs.
func testPosix(t *testing.T, f Features) {
	t.Run("arguments, directory, variables and stdin survive byte for byte", func(t *testing.T) {
		t.Parallel()
		r := Acquire(t, f)
		dir := "a dir with 'a quote"
		require.Zero(t, r.Run(drivers.ExecRequest{Argv: []string{"mkdir", dir}}).ExitCode)
		arg := "it's $HOME \"x\" *\n"
		done := r.Run(drivers.ExecRequest{
			Argv: []string{"sh", "-c", `printf %s "$1"`, "name", arg}, Cwd: dir,
			Env: []drivers.EnvVar{{Name: "ONE", Value: "1"}},
		})
		require.Equal(t, arg, string(done.Stdout))
		done = r.Run(drivers.ExecRequest{
			Argv: []string{"sh", "-c", `printf '%s|%s|' "$ONE" "$1"; cat; pwd; exit 9`, "x", "\xff\xfe \u20ac"}, Cwd: dir,
			Env: []drivers.EnvVar{{Name: "ONE", Value: "\x80`id`$(id)\n"}}, Stdin: []byte("in\x00put"),
		})
		require.Contains(t, string(done.Stdout), "\x80`id`$(id)\n|\xff\xfe \u20ac|in\x00put")
		require.Contains(t, string(done.Stdout), dir+"\n")
		require.Equal(t, 9, done.ExitCode)
	})
	t.Run("a file that cannot be executed exits with 126", func(t *testing.T) {
		t.Parallel()
		r := Acquire(t, f)
		require.Zero(t, r.Sh(`echo 'not a program' > plain; printf '#!/no/such/interpreter\n' > script
			printf 'garbage' > garbage; chmod +x script garbage; mkdir dir`).ExitCode)
		for _, name := range []string{"./plain", "./script", "./garbage", "./dir"} {
			done := r.Run(drivers.ExecRequest{Argv: []string{name}})
			require.Equal(t, drivers.ExecExited, done.End, name)
			require.Equal(t, 126, done.ExitCode, name)
			require.Contains(t, string(done.Stderr), name)
		}
		require.Equal(t, 127, r.Run(drivers.ExecRequest{Argv: []string{"./absent"}}).ExitCode)
	})
	t.Run("the program is looked up in the command's own PATH", func(t *testing.T) {
		t.Parallel()
		r := Acquire(t, f)
		where := string(r.Sh(`mkdir bin; printf '#!/bin/sh\necho mine\n' > bin/mine; chmod +x bin/mine; printf %s "$PWD/bin"`).Stdout)
		path := []drivers.EnvVar{{Name: "PATH", Value: where}}
		require.Equal(t, "mine\n", string(r.Run(drivers.ExecRequest{Argv: []string{"mine"}, Env: path}).Stdout))
		require.Equal(t, 127, r.Run(drivers.ExecRequest{Argv: []string{"sh"}, Env: path}).ExitCode)
		none := []drivers.EnvVar{{Name: "PATH", Value: ""}}
		require.Equal(t, 127, r.Run(drivers.ExecRequest{Argv: []string{"sh"}, Env: none}).ExitCode)
	})
	t.Run("a signal that is not ours is the end", func(t *testing.T) {
		t.Parallel()
		r := Acquire(t, f)
		done := r.Sh(`kill -SEGV $$`)
		require.Equal(t, drivers.ExecSignaled, done.End)
		require.Equal(t, "SIGSEGV", done.Signal)
	})
	t.Run("a directory that does not exist prevents the start", func(t *testing.T) {
		t.Parallel()
		r := Acquire(t, f)
		_, err := r.Start(drivers.ExecRequest{Argv: []string{"true"}, Cwd: "absent"})
		requireStage(t, err, "cwd")
		require.Contains(t, err.Error(), "absent")
		_, err = r.Start(drivers.ExecRequest{Argv: []string{"true"}, Cwd: os.DevNull})
		requireStage(t, err, "cwd")
	})
	t.Run("standard output can be opened by its name", func(t *testing.T) {
		t.Parallel()
		r := Acquire(t, f)
		require.Equal(t, "named\n", string(r.Sh(`echo named > /dev/stdout`).Stdout))
		require.Equal(t, "x", string(r.Run(drivers.ExecRequest{Argv: []string{"cat", "/dev/stdin"}, Stdin: []byte("x")}).Stdout))
	})
}

package ssh

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/drivers/internal/proc"
	"github.com/tenure-dev/tenure/drivers/ssh/sshtest"
)

// acquireOn makes a runtime with a directory of its own on a server, with a driver of its own.
func acquireOn(t *testing.T, s *sshtest.Server, change map[string]any, o Options) *driverstest.Runtime {
	t.Helper()
	if change == nil {
		change = map[string]any{"workspaceMode": "per_lease"}
	}
	return driverstest.Acquire(t, featuresOn(t, s, filepath.Join(t.TempDir(), "w"), change, o))
}

// A04
func TestTransfersBothWaysSurviveRekeying(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t, sshtest.Options{Lines: []string{"RekeyLimit 1M"}})
	r := acquireOn(t, s, nil, Options{})
	const size = 300_000_000
	up := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	sent := sha256.Sum256(up)
	down, err := r.Start(drivers.ExecRequest{Argv: []string{"sh", "-c", fmt.Sprintf(`head -c %d /dev/zero | tr '\0' x`, size)}})
	require.NoError(t, err)
	got := r.Run(drivers.ExecRequest{Argv: []string{"sha256sum"}, Stdin: up})
	require.Equal(t, hex.EncodeToString(sent[:]), strings.Fields(string(got.Stdout))[0])
	result, err := down.Wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, drivers.ExecExited, result.End, "%+v", result)
	require.EqualValues(t, size, result.Output.Stdout.Bytes)
	x := sha256.New()
	for range size / 1_000_000 {
		x.Write(bytes.Repeat([]byte("x"), 1_000_000))
	}
	require.Equal(t, hex.EncodeToString(x.Sum(nil)), result.Output.Stdout.SHA256)
	require.EqualValues(t, 1, s.Accepted.Load(), "over one connection")
}

// A04, variant
func TestALinkThatIsResetWhileItRekeysEndsWhatRunsOverIt(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t, sshtest.Options{Lines: []string{"RekeyLimit 1M"}})
	proxy := sshtest.StartProxy(t, fmt.Sprintf("%s:%d", s.Host, s.Port))
	r := acquireOn(t, s, map[string]any{
		"port": proxy.Port, "knownHosts": strings.ReplaceAll(s.KnownHosts(), fmt.Sprint(s.Port), fmt.Sprint(proxy.Port)),
		"workspaceMode": "per_lease",
	}, Options{Keepalive: time.Second})
	began := time.Now()
	both := make([]*driverstest.Running, 2)
	for i, req := range []drivers.ExecRequest{
		{Argv: []string{"sh", "-c", `head -c 1000000000 /dev/zero`}}, {Argv: []string{"cat"}, Stdin: make([]byte, 300_000_000)},
	} {
		var err error
		both[i], err = r.Start(req)
		require.NoError(t, err)
	}
	proxy.CutAfter(1_048_576 + 4096) // the exchange is under way
	for _, e := range both {
		done := r.Finish(e, began)
		require.Equal(t, drivers.ExecUnknown, done.End)
		require.Equal(t, "link_lost", done.Why)
		require.Equal(t, drivers.OutputLost, done.Output.State)
		require.Less(t, done.Took, 2*time.Minute)
	}
	require.Equal(t, "again\n", string(r.Sh("echo again").Stdout), "the next command gets a new connection")
}

func TestADeadLinkEndsCommandsAsUnknownWithTheirOutputSoFar(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t, sshtest.Options{})
	proxy := sshtest.StartProxy(t, fmt.Sprintf("%s:%d", s.Host, s.Port))
	r := acquireOn(t, s, map[string]any{
		"port": proxy.Port, "knownHosts": strings.ReplaceAll(s.KnownHosts(), fmt.Sprint(s.Port), fmt.Sprint(proxy.Port)),
	}, Options{Keepalive: time.Second})
	e, err := r.Start(drivers.ExecRequest{Argv: []string{"sh", "-c", `echo so far; exec sleep 600`}})
	require.NoError(t, err)
	driverstest.AwaitOutput(t, e, "so far")
	proxy.Freeze()
	began := time.Now()
	done := r.Finish(e, began)
	require.Less(t, done.Took, time.Minute)
	require.Equal(t, drivers.ExecUnknown, done.End)
	require.Equal(t, "link_lost", done.Why)
	require.Equal(t, "so far\n", string(done.Stdout))
	require.Zero(t, done.ExitCode)
	proxy.Thaw()
	proxy.Cut()
	// The parent on the host saw its channel close, and ended the command.
	await(t, func() bool { return !proc.Alive(e.Process()) }, func() string { return "the command runs on" })
}

// A05
func TestAChannelThatClosesWithoutAnExitStatusIsUnknown(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		o    sshtest.FakeOptions
		hide []string
	}{
		"under a parent":        {sshtest.FakeOptions{NoExitStatus: true}, nil},
		"without a parent":      {sshtest.FakeOptions{NoExitStatus: true}, []string{"perl"}},
		"in the middle of it":   {sshtest.FakeOptions{CutOutput: 300}, nil},
		"and no parent at that": {sshtest.FakeOptions{CutOutput: 300}, []string{"perl", "python3"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// The runtime is made by a server that works, on the same directory.
			root := filepath.Join(t.TempDir(), "w")
			good, bad := sshtest.StartFake(t, sshtest.FakeOptions{}), sshtest.StartFake(t, row.o)
			d := newDriver(t, Options{hide: row.hide})
			req, rt, err := acquire(t, d, encode(t, good.Fields(root), nil))
			require.NoError(t, err)
			h := driverstest.HandleOf(req, rt)
			h.Config = encode(t, bad.Fields(root), nil)
			p := d.pool(mustConfig(t, h.Config))
			known, err := d.pool(mustConfig(t, req.Config)).toolsOf(t.Context(), nil)
			require.NoError(t, err)
			p.know(known)
			dir := filepath.Join(t.TempDir(), "j")
			count := filepath.Join(root, "count")
			e, err := drivers.StartExec(t.Context(), d, drivers.ExecRequest{
				Handle: h, ExecID: "e1", JournalDir: dir,
				Argv: []string{"sh", "-c", `echo run >> ` + count + `; printf %0100d 7; sleep 0.2; printf %01000d 7; exit 0`},
			})
			require.NoError(t, err)
			result, err := e.Wait(t.Context())
			require.NoError(t, err)
			require.Equal(t, drivers.ExecUnknown, result.End, "%+v", result)
			require.Equal(t, "no_exit_status", result.Why)
			require.Equal(t, drivers.OutputLost, result.Output.State)
			stdout, _ := driverstest.ReadOutput(t, dir)
			require.True(t, strings.HasPrefix(string(stdout), strings.Repeat("0", 99)+"7"), "what came is kept: %q", stdout)
			again, err := e.Wait(t.Context())
			require.NoError(t, err)
			require.Equal(t, result, again)
			runs, err := os.ReadFile(count)
			require.NoError(t, err)
			require.Equal(t, "run\n", string(runs), "it is not tried again")
			require.NoError(t, d.Release(t.Context(), drivers.ReleaseRequest{Handle: driverstest.HandleOf(req, rt)}))
		})
	}
}

// A05, at the start
func TestAStartThatMayHaveHappenedIsUnknown(t *testing.T) {
	t.Parallel()
	root := filepath.Join(t.TempDir(), "w")
	good, bad := sshtest.StartFake(t, sshtest.FakeOptions{}), sshtest.StartFake(t, sshtest.FakeOptions{Swallow: true})
	d := newDriver(t, Options{})
	req, rt, err := acquire(t, d, encode(t, good.Fields(root), nil))
	require.NoError(t, err)
	h := driverstest.HandleOf(req, rt)
	h.Config = encode(t, bad.Fields(root), nil)
	d.pool(mustConfig(t, h.Config)).know(tools{perl: "/usr/bin/perl"})
	e, err := drivers.StartExec(t.Context(), d, drivers.ExecRequest{
		Handle: h, ExecID: "e1", Argv: []string{"true"}, JournalDir: filepath.Join(t.TempDir(), "j"),
	})
	require.NoError(t, err, "an error would promise that it did not start")
	result, err := e.Wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, drivers.ExecUnknown, result.End)
	require.Equal(t, "no_exit_status", result.Why)
	require.Zero(t, e.Process(), "nobody said which process it is")
	require.NoError(t, d.Release(t.Context(), drivers.ReleaseRequest{Handle: driverstest.HandleOf(req, rt)}))
}

func TestAStartThatIsCanceledLeavesNothingRunning(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t, sshtest.Options{})
	for i, hide := range [][]string{nil, {"perl"}, {"perl", "python3"}} {
		t.Run(fmt.Sprint("without ", hide), func(t *testing.T) {
			t.Parallel()
			r := acquireOn(t, s, nil, Options{hide: hide})
			require.Zero(t, r.Sh("true").ExitCode) // the host was looked at
			mark := fmt.Sprintf("604.%d%d", i, os.Getpid())
			for i := range 6 {
				ctx, cancel := withCause(t, time.Duration(i)*3*time.Millisecond)
				e, err := drivers.StartExec(ctx, r.Driver, drivers.ExecRequest{
					Handle: r.Handle, ExecID: fmt.Sprint("e", i), Argv: []string{"sleep", mark}, JournalDir: filepath.Join(t.TempDir(), "j"),
				})
				cancel()
				if err != nil {
					require.ErrorIs(t, err, errGaveUp)
					continue
				}
				require.NoError(t, e.Kill(t.Context(), "started after all"))
			}
			require.NoError(t, r.Release())
			driverstest.RequireNoProcess(t, mark)
		})
	}
}

func TestAHostThatHangsIsGivenUp(t *testing.T) {
	t.Parallel()
	s := sshtest.StartFake(t, sshtest.FakeOptions{Hang: true})
	d := newDriver(t, Options{ScriptLimit: time.Second})
	began := time.Now()
	_, _, err := acquire(t, d, encode(t, s.Fields(t.TempDir()), nil))
	requireFailure(t, err, drivers.OutcomeRetryable, "run_script", "host_timeout")
	require.Less(t, time.Since(began), 30*time.Second, "a script has a minute otherwise")
}

// A06
func TestVariablesArriveWhateverTheServerAccepts(t *testing.T) {
	t.Parallel()
	for name, lines := range map[string][]string{"default": nil, "all": {"AcceptEnv *"}, "none that we send": {"AcceptEnv LANG"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := acquireOn(t, sshtest.Start(t, sshtest.Options{Lines: lines}), nil, Options{})
			done := r.Run(drivers.ExecRequest{
				Argv: []string{"sh", "-c", `printf '%s|%s' "$FOO" "$BAR"`},
				Env:  []drivers.EnvVar{{Name: "FOO", Value: `a b"c$d`}, {Name: "BAR", Value: "one\ntwo\n"}},
			})
			require.Equal(t, "a b\"c$d|one\ntwo\n", string(done.Stdout))
		})
	}
}

// A07
func TestMoreCommandsThanSessionsAllFinish(t *testing.T) {
	t.Parallel()
	for _, most := range []int{2, 1} {
		t.Run(fmt.Sprint(most), func(t *testing.T) {
			t.Parallel()
			s := sshtest.Start(t, sshtest.Options{Lines: []string{fmt.Sprintf("MaxSessions %d", most)}})
			for name, o := range map[string]Options{"with further connections": {}, "queued": {MaxConnections: 2}} {
				r := acquireOn(t, s, nil, o)
				running := make([]*driverstest.Running, 0, 5)
				var waiting = make(chan *driverstest.Running, 5)
				for i := range 5 {
					go func() {
						e, err := r.Start(drivers.ExecRequest{Argv: []string{"sh", "-c", fmt.Sprintf("sleep 2; echo %d; exit %[1]d", 10+i)}})
						if err != nil {
							t.Errorf("%s: %v", name, err)
							e = nil
						}
						waiting <- e
					}()
				}
				for range 5 {
					e := <-waiting
					require.NotNil(t, e)
					running = append(running, e)
				}
				codes := map[int]string{}
				for _, e := range running {
					done := r.Finish(e, time.Now())
					require.Equal(t, drivers.ExecExited, done.End)
					codes[done.ExitCode] = strings.TrimSpace(string(done.Stdout))
				}
				require.Equal(t, map[int]string{10: "10", 11: "11", 12: "12", 13: "13", 14: "14"}, codes)
			}
		})
	}
}

// A07, the wait exceeds its limit
func TestACommandWithoutASessionSaysThatItNeverStarted(t *testing.T) {
	t.Parallel()
	s := sshtest.StartFake(t, sshtest.FakeOptions{MaxSessions: 1})
	r := acquireOn(t, &s.Server, nil, Options{MaxConnections: 1, SessionWait: 2 * time.Second})
	first, err := r.Start(drivers.ExecRequest{Argv: []string{"sh", "-c", "echo runs; exec sleep 600"}})
	require.NoError(t, err)
	driverstest.AwaitOutput(t, first, "runs")
	_, err = r.Start(drivers.ExecRequest{Argv: []string{"true"}})
	start, ok := errors.AsType[*drivers.StartError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, "session_limit", start.Code)
	require.Contains(t, start.Error(), "nothing was started")
	require.Contains(t, start.Remediation, "MaxSessions")
	require.True(t, proc.Alive(first.Process()), "the other one is not disturbed")
	require.NoError(t, first.Kill(t.Context(), "seen"))
	require.Equal(t, "runs\n", string(r.Finish(first, time.Now()).Stdout))
}

// A08, on every kind of login shell
func TestArgumentsSurviveEveryLoginShell(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"bash", "dash", "fish"} {
		for name, hide := range map[string][]string{"perl": nil, "python3": {"perl"}, "sh": {"perl", "python3"}} {
			t.Run(shell+" and "+name, func(t *testing.T) {
				t.Parallel()
				s := sshtest.Start(t, sshtest.Options{LoginShell: shell})
				r := acquireOn(t, s, nil, Options{hide: hide})
				dir := "a dir with 'a quote"
				require.Zero(t, r.Run(drivers.ExecRequest{Argv: []string{"mkdir", dir}}).ExitCode)
				done := r.Run(drivers.ExecRequest{
					Argv: []string{"sh", "-c", `printf %s "$1"; cat; exit 9`, "name", "it's $HOME \"x\" *\n"}, Cwd: dir,
					Env: []drivers.EnvVar{{Name: "ONE", Value: "1"}}, Stdin: []byte("stdin"),
				})
				require.Equal(t, "it's $HOME \"x\" *\nstdin", string(done.Stdout))
				require.Equal(t, 9, done.ExitCode)
				done = r.Run(drivers.ExecRequest{Argv: []string{"env"}, Env: []drivers.EnvVar{{Name: "ONE", Value: "1"}}})
				names := map[string]bool{}
				for line := range strings.Lines(string(done.Stdout)) {
					name, _, _ := strings.Cut(line, "=")
					names[name] = true
				}
				require.Equal(t, map[string]bool{
					"PATH": true, "HOME": true, "TMPDIR": true, "LANG": true, "ONE": true, runtimeVar: true, execVar: true,
				}, names, "an environment made of nothing")
			})
		}
	}
}

func TestALoginShellThatPrintsDisturbsNothing(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t, sshtest.Options{Lines: []string{
		`ForceCommand echo "Welcome!"; echo "and beware" >&2; exec sh -c "$SSH_ORIGINAL_COMMAND"`,
	}})
	for _, hide := range [][]string{nil, {"perl"}, {"perl", "python3"}} {
		r := acquireOn(t, s, nil, Options{hide: hide})
		done := r.Sh("echo out; echo err >&2")
		require.Equal(t, "out\n", string(done.Stdout))
		require.Equal(t, "err\n", string(done.Stderr))
	}
}

func TestAnAccountWithoutAShellIsSaidSo(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t, sshtest.Options{Lines: []string{`ForceCommand echo "This account is currently not available."; exit 1`}})
	_, _, err := acquire(t, newDriver(t, Options{}), encode(t, s.Fields(t.TempDir()), nil))
	f := requireFailure(t, err, drivers.OutcomeRetryable, "command_start", "no_shell")
	require.Contains(t, f.Err.Error(), "not available")
}

// A31. It measures what the process has, so it does not share it with another test.
func TestTwoHundredMegabytesOfOutputAndThenExitThree(t *testing.T) { //nolint:paralleltest // see above
	s := sshtest.Start(t, sshtest.Options{})
	r := acquireOn(t, s, nil, Options{})
	before := heap()
	e, err := r.Start(drivers.ExecRequest{Argv: []string{"sh", "-c", `head -c 200000000 /dev/zero | tr '\0' x; echo err >&2; exit 3`}})
	require.NoError(t, err)
	result, err := e.Wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, drivers.ExecExited, result.End)
	require.Equal(t, 3, result.ExitCode)
	require.EqualValues(t, 200_000_000, result.Output.Stdout.Bytes)
	require.EqualValues(t, 4, result.Output.Stderr.Bytes)
	require.Equal(t, drivers.OutputComplete, result.Output.State)
	require.Less(t, heap(), before+500<<20)
	x := sha256.New()
	for range 200 {
		x.Write(bytes.Repeat([]byte("x"), 1_000_000))
	}
	require.Equal(t, hex.EncodeToString(x.Sum(nil)), result.Output.Stdout.SHA256)
}

// heap is what the process has from the system.
func heap() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse)
}

// A32, where a host has no perl
func TestATimeoutEndsTheTreeWithoutAParent(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t, sshtest.Options{})
	for name, hide := range map[string][]string{"python3": {"perl"}, "sh": {"perl", "python3"}} {
		for i, script := range []string{
			`echo begun; sleep %s; true`, `echo begun; sleep %s & wait`, `echo begun; sleep %s | cat`,
			`echo begun; setsid sleep %s & wait`, `trap "" TERM; echo begun; sleep %s; sleep %[1]s`,
		} {
			t.Run(name+": "+script, func(t *testing.T) {
				t.Parallel()
				r := acquireOn(t, s, nil, Options{hide: hide})
				mark := fmt.Sprintf("600.%d%d%d", i, len(name), os.Getpid())
				done, limit := r.TimeOut(drivers.ExecRequest{
					Argv: []string{"sh", "-c", fmt.Sprintf(script, mark)}, Timeout: time.Second, Grace: 300 * time.Millisecond,
				})
				require.Equal(t, drivers.ExecTimedOut, done.End)
				require.Equal(t, "begun\n", string(done.Stdout))
				require.Less(t, done.Took, limit+time.Minute)
				driverstest.RequireNoProcess(t, mark)
				require.Equal(t, "next\n", string(r.Sh("echo next").Stdout))
			})
		}
	}
}

func TestAKillAndAReleaseEndTheTreeWithoutAParent(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t, sshtest.Options{})
	for name, hide := range map[string][]string{"python3": {"perl"}, "sh": {"perl", "python3"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := acquireOn(t, s, nil, Options{hide: hide})
			mark := fmt.Sprintf("601.%d%d", len(name), os.Getpid())
			start := func() *driverstest.Running {
				e, err := r.Start(drivers.ExecRequest{
					Argv: []string{"sh", "-c", `setsid sleep ` + mark + ` & echo begun; exec sleep ` + mark}, Grace: 100 * time.Millisecond,
				})
				require.NoError(t, err)
				driverstest.AwaitOutput(t, e, "begun")
				return e
			}
			e := start()
			require.True(t, proc.Alive(e.Process()))
			require.NoError(t, e.Kill(t.Context(), "asked for"))
			done := r.Finish(e, time.Now())
			require.Equal(t, drivers.ExecKilled, done.End)
			require.Equal(t, "asked for", done.Why)
			driverstest.RequireNoProcess(t, mark)

			e = start()
			require.NoError(t, r.Release())
			require.Equal(t, drivers.ExecKilled, r.Finish(e, time.Now()).End)
			driverstest.RequireNoProcess(t, mark)
			_, err := r.Start(drivers.ExecRequest{Argv: []string{"true"}})
			require.ErrorIs(t, err, drivers.ErrGone)
			gone, ok := errors.AsType[*drivers.StartError](err)
			require.True(t, ok)
			require.Equal(t, "runtime", gone.Stage)
		})
	}
}

// A32, the parent itself is killed
func TestAParentThatIsKilledMakesTheEndUnknownAndItsTreeEndsAllTheSame(t *testing.T) {
	t.Parallel()
	r := acquireOn(t, sshtest.Start(t, sshtest.Options{}), nil, Options{})
	mark := fmt.Sprintf("602.%d", os.Getpid())
	e, err := r.Start(drivers.ExecRequest{Argv: []string{"sh", "-c", `setsid sleep ` + mark + ` & echo begun; exec sleep ` + mark}})
	require.NoError(t, err)
	driverstest.AwaitOutput(t, e, "begun")
	info, err := proc.Read(e.Process().PID)
	require.NoError(t, err)
	parent, err := proc.Read(info.PPID)
	require.NoError(t, err)
	require.NoError(t, proc.Signal(parent.PID, parent.StartTime, 9))
	done := r.Finish(e, time.Now())
	require.Equal(t, drivers.ExecUnknown, done.End)
	require.Equal(t, "parent_gone", done.Why)
	require.Equal(t, "begun\n", string(done.Stdout))
	driverstest.RequireNoProcess(t, mark)
}

func TestACommandWhoseParentIsStoppedCanBeEnded(t *testing.T) {
	t.Parallel()
	r := acquireOn(t, sshtest.Start(t, sshtest.Options{}), nil, Options{})
	mark := fmt.Sprintf("606.%d", os.Getpid())
	e, err := r.Start(drivers.ExecRequest{
		Argv: []string{"sh", "-c", `echo begun; sleep 0.5; kill -STOP $PPID; echo stopped >stopped; exec sleep ` + mark}, Grace: 100 * time.Millisecond,
	})
	require.NoError(t, err)
	driverstest.AwaitOutput(t, e, "begun")
	await(t, func() bool {
		_, err := os.Stat(filepath.Join(r.Field("remoteCwd"), "stopped"))
		return err == nil
	}, func() string { return "the parent is not stopped" })
	began := time.Now()
	require.NoError(t, e.Kill(t.Context(), "asked for"))
	ctx, cancel := withCause(t, 2*time.Minute)
	defer cancel()
	done, err := e.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, drivers.ExecKilled, done.End)
	require.Less(t, time.Since(began), endLimit+time.Minute)
	driverstest.RequireNoProcess(t, mark)
}

// A34, where a host has no perl
func TestNamesThatAShellRefusesArriveOrAreRefusedByName(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t, sshtest.Options{})
	want := []drivers.EnvVar{
		{Name: "MY-KEY", Value: "1"}, {Name: "a.b", Value: "$(id)"}, {Name: "1X", Value: "x\ny"}, {Name: "A B", Value: ""},
		{Name: "A\nB", Value: "'"}, {Name: "A;touch pwn", Value: "`touch pwn`"}, {Name: "_", Value: "own"}, {Name: "PWD", Value: "/else"},
		{Name: "LONG", Value: strings.Repeat("x", drivers.MaxArgBytes-len("LONG="))},
	}
	r := acquireOn(t, s, nil, Options{hide: []string{"perl"}})
	done := r.Run(drivers.ExecRequest{Argv: []string{"cat", "/proc/self/environ"}, Env: want})
	for _, v := range want {
		require.Contains(t, "\x00"+string(done.Stdout), "\x00"+v.Name+"="+v.Value+"\x00")
	}
	require.Empty(t, r.Run(drivers.ExecRequest{Argv: []string{"ls"}}).Stdout)

	r = acquireOn(t, s, nil, Options{hide: []string{"perl", "python3"}})
	_, err := r.Start(drivers.ExecRequest{Argv: []string{"true"}, Env: want})
	start, ok := errors.AsType[*drivers.StartError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, "environment", start.Stage)
	for _, v := range want[:len(want)-1] {
		require.Contains(t, start.Error(), fmt.Sprintf("%q", v.Name))
	}
	require.NotContains(t, start.Error(), "touch pwn`")
	done = r.Run(drivers.ExecRequest{Argv: []string{"sh", "-c", `printf %s "$LONG"`}, Env: want[len(want)-1:]})
	require.Equal(t, want[len(want)-1].Value, string(done.Stdout))
}

// A38
func TestASecretIsInNoArgumentListAndNoFile(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t, sshtest.Options{})
	for name, hide := range map[string][]string{"perl": nil, "python3": {"perl"}, "sh": {"perl", "python3"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			secret := "MARK-" + strings.ReplaceAll(t.Name(), "/", "") + fmt.Sprint(os.Getpid())
			r := acquireOn(t, s, nil, Options{hide: hide})
			stop := make(chan struct{})
			seen := make(chan string, 1)
			go func() { seen <- sampleArguments(secret, stop) }()
			done := r.Run(drivers.ExecRequest{
				Argv: []string{"sh", "-c", `sleep 1; [ -n "$TOKEN" ] && echo has it; exit 4`}, Env: []drivers.EnvVar{{Name: "TOKEN", Value: secret}},
			})
			_, err := r.Start(drivers.ExecRequest{Argv: []string{"true"}, Cwd: "absent", Env: []drivers.EnvVar{{Name: "TOKEN", Value: secret}}})
			close(stop)
			require.Empty(t, <-seen)
			require.Equal(t, "has it\n", string(done.Stdout))
			require.Error(t, err)
			require.NotContains(t, err.Error(), secret)
			require.NoError(t, filepath.WalkDir(r.Field("remoteWorkspacePath"), func(path string, e os.DirEntry, err error) error {
				if err != nil || e.IsDir() {
					return err
				}
				b, err := os.ReadFile(path)
				require.NotContains(t, string(b), secret, path)
				return err
			}))
		})
	}
}

// An account that sends back what it is sent, instead of running it.
func TestASecretIsInNoErrorOfAnAccountThatEchoes(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t, sshtest.Options{Lines: []string{
		`ForceCommand case "$SSH_ORIGINAL_COMMAND" in *"exec env -i"*) timeout 1 cat; exit 1;; *) eval "$SSH_ORIGINAL_COMMAND";; esac`,
	}})
	for name, hide := range map[string][]string{"perl": nil, "python3": {"perl"}, "sh": {"perl", "python3"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := acquireOn(t, s, nil, Options{hide: hide})
			_, err := r.Start(drivers.ExecRequest{
				Argv: []string{"true"}, Env: []drivers.EnvVar{{Name: "TOKEN", Value: strings.Repeat("MARK", 1000)}}, Stdin: []byte("MARK"),
			})
			start, ok := errors.AsType[*drivers.StartError](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, "no_shell", start.Code)
			require.NotContains(t, err.Error(), "MARK")
		})
	}
}

// sampleArguments looks at every argument list of the machine until stop, and returns the first that has text in it.
func sampleArguments(text string, stop <-chan struct{}) string {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		for _, b := range driverstest.Processes("cmdline") {
			if bytes.Contains(b, []byte(text)) {
				return string(b)
			}
		}
		select {
		case <-stop:
			return ""
		case <-tick.C:
		}
	}
}

func TestAConnectionThatNobodyUsesEndsAndAnotherIsMade(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t, sshtest.Options{})
	f := featuresOn(t, s, filepath.Join(t.TempDir(), "w"), nil, Options{Idle: 2 * time.Second})
	r := driverstest.Acquire(t, f)
	e, err := r.Start(drivers.ExecRequest{Argv: []string{"sh", "-c", "echo begun; sleep 4; echo ended"}})
	require.NoError(t, err)
	require.Equal(t, "begun\nended\n", string(r.Finish(e, time.Now()).Stdout), "a command is use")
	require.EqualValues(t, 1, s.Accepted.Load())
	p := r.Driver.(*Driver).pool(mustConfig(t, f.Config))
	await(t, p.unused, func() string { return "the connection stays" })
	require.Equal(t, "again\n", string(r.Sh("echo again").Stdout))
	require.EqualValues(t, 2, s.Accepted.Load())
}

func TestCloseEndsCommandsAsUnknownAndTheirHostEndsThem(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t, sshtest.Options{})
	d, err := New(Options{})
	require.NoError(t, err)
	req, rt, err := acquire(t, d, encode(t, s.Fields(filepath.Join(t.TempDir(), "w")), nil))
	require.NoError(t, err)
	h := driverstest.HandleOf(req, rt)
	e, err := d.StartExec(t.Context(), drivers.ExecRequest{
		Handle: h, ExecID: "e", Argv: []string{"sleep", "600"}, JournalDir: filepath.Join(t.TempDir(), "j"),
	})
	require.NoError(t, err)
	d.Close()
	result, err := e.Wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, drivers.ExecUnknown, result.End)
	require.Equal(t, "link_lost", result.Why)
	await(t, func() bool { return !proc.Alive(e.Process()) }, func() string { return "the command runs on" })
	_, err = d.Acquire(t.Context(), requestFor(req.Config))
	requireFailure(t, err, drivers.OutcomeRetryable, "dial", "closed")
	require.NoError(t, newDriver(t, Options{}).Release(t.Context(), drivers.ReleaseRequest{Handle: h}))
}

func TestAHostThatLosesItsPerlIsLookedAtAgain(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t, sshtest.Options{})
	r := acquireOn(t, s, nil, Options{hide: []string{"python3"}})
	p := r.Driver.(*Driver).pool(mustConfig(t, r.Handle.Config))
	var large []drivers.EnvVar // so much that it is still being sent when the shell ends
	for i := range 10 {
		large = append(large, drivers.EnvVar{Name: fmt.Sprint("V", i), Value: strings.Repeat("v", 100_000)})
	}
	for _, env := range [][]drivers.EnvVar{nil, large} {
		p.know(tools{perl: "/no/such/perl"})
		_, err := r.Start(drivers.ExecRequest{Argv: []string{"true"}, Env: env})
		start, ok := errors.AsType[*drivers.StartError](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, "no_shell", start.Code)
		require.Contains(t, start.Error(), "/no/such/perl")
		require.Equal(t, "again\n", string(r.Sh("echo again").Stdout))
	}
}

func TestACommandThatStartsWhileAnotherProcessReleasesItsRuntimeDoesNotOutliveIt(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t, sshtest.Options{})
	d, other := newDriver(t, Options{}), newDriver(t, Options{})
	mark := fmt.Sprintf("605.%d", os.Getpid())
	root := filepath.Join(t.TempDir(), "w")
	// The program is looked for in so many places that its start takes a while.
	path := strings.Repeat("/no/such/dir:", 9000) + basePath
	for i := range 12 {
		req, rt, err := acquire(t, d, encode(t, s.Fields(root), nil))
		require.NoError(t, err)
		h := driverstest.HandleOf(req, rt)
		started := make(chan error, 1)
		dir := filepath.Join(t.TempDir(), "j")
		go func() {
			e, err := drivers.StartExec(t.Context(), d, drivers.ExecRequest{
				Handle: h, ExecID: fmt.Sprint("e", i), Argv: []string{"sleep", mark}, JournalDir: dir,
				Env: []drivers.EnvVar{{Name: "PATH", Value: path}},
			})
			if err == nil {
				_, err = e.Wait(t.Context())
			}
			started <- err
		}()
		select {
		case err := <-started:
			require.Fail(t, "too early", "%v", err)
		case <-time.After(time.Duration(i) * 6 * time.Millisecond):
		}
		require.NoError(t, other.Release(t.Context(), drivers.ReleaseRequest{Handle: h}))
		if err := <-started; err != nil {
			require.ErrorIs(t, err, drivers.ErrGone)
		}
		driverstest.RequireNoProcess(t, mark)
	}
}

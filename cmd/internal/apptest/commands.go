package apptest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/drivers/driverstest"
)

// Commands holds a kind of environment whose commands are processes to what is promised of every command, over HTTP.
func Commands(t *testing.T, e *Engine, k Kind) {
	t.Helper()
	e = e.In(t)
	lease := e.Acquire(k.Tenant(e), wire.AcquireLease{}).Lease
	c := commandTest{t: t, e: e, k: k, lease: lease.ID, fence: lease.Fence}
	c.arriveExactly()
	c.namesArriveOrAreRefused()
	c.outputIsBytes()
	c.outputIsWhole()
	c.timeoutEndsTheTree()
	c.endsAreTold()
	got, err := e.Client.ReleaseLease(t.Context(), lease.ID, wire.Release{}, client.Wait(waitLong))
	require.NoError(t, err)
	require.Equal(t, wire.LeaseReleased, got.Status)
	require.Empty(t, k.Left())
}

const waitLong = 2 * time.Minute

type commandTest struct {
	t     *testing.T
	e     *Engine
	k     Kind
	lease uuid.UUID
	fence int64
}

func (c commandTest) sh(script string, args ...string) (wire.Exec, string, string) {
	c.t.Helper()
	return c.run(wire.StartExec{Argv: append([]string{"sh", "-c", script, "sh"}, args...)})
}

func (c commandTest) run(in wire.StartExec) (x wire.Exec, stdout, stderr string) {
	c.t.Helper()
	x, out, errs := c.e.Run(c.lease, in)
	return x, string(out), string(errs)
}

// arriveExactly is case A08.
func (c commandTest) arriveExactly() {
	c.t.Helper()
	const dir, value, input = `a dir's "name"`, "it's $HOME \"x\" *\n", "in\x00put \u20ac\n"
	x, _, errs := c.sh(`mkdir -p "$1"`, dir)
	c.exited(x, 0, errs)
	x, out, errs := c.run(wire.StartExec{
		Argv: []string{"sh", "-c", `printf '%s|%s|%s|%s|' "$0" "$1" "$VALUE" "${PWD##*/}"; cat; exit 7`, "name", value},
		Cwd:  dir, Env: map[string]string{"VALUE": value + "`id`"}, Stdin: input,
	})
	c.exited(x, 7, errs)
	require.Equal(c.t, "name|"+value+"|"+value+"`id`|"+dir+"|"+input, out)
}

func (c commandTest) exited(x wire.Exec, code int, errs string) {
	c.t.Helper()
	require.Equal(c.t, wire.EndExited, x.Result.End, "%+v %s", *x.Result, errs)
	require.Equal(c.t, code, *x.Result.ExitCode, errs)
}

// namesArriveOrAreRefused is case A34: what no environment can hold is refused before the start, all else arrives.
func (c commandTest) namesArriveOrAreRefused() {
	c.t.Helper()
	values := map[string]string{ //nolint:gosec // none is a secret
		"MY-KEY": `it's "quoted"`, "a.b": "$(id)", "1X": "line\nbreak", "A B": strings.Repeat("y", 100<<10), "A;touch pwn": "`touch pwn`",
		"A\nB": "newline in the name",
	}
	x, out, errs := c.run(wire.StartExec{Argv: []string{"cat", "/proc/self/environ"}, Env: values})
	c.exited(x, 0, errs)
	got := map[string]string{}
	for kv := range strings.SplitSeq(out, "\x00") {
		name, value, _ := strings.Cut(kv, "=")
		got[name] = value
	}
	for name, value := range values {
		require.Equal(c.t, value, got[name], name)
	}
	_, ls, _ := c.sh("ls")
	require.NotContains(c.t, ls, "pwn")
	for name, env := range map[string]map[string]string{
		"empty": {"": "x"}, "equals": {"A=B": "x"}, "NUL": {"A\x00": "x"}, "NUL in value": {"A": "\x00"}, "200 KB": {"A": strings.Repeat("x", 200<<10)},
	} {
		_, err := c.e.Client.StartExec(c.t.Context(), c.lease, c.fence, wire.StartExec{Argv: []string{"true"}, Env: env})
		var p *client.Problem
		require.ErrorAs(c.t, err, &p, name)
		require.Equal(c.t, 400, p.Status, name)
		require.NotEmpty(c.t, p.Remediation, name)
	}
}

// outputIsBytes is case A33.
func (c commandTest) outputIsBytes() {
	c.t.Helper()
	scripts := map[string]string{
		`printf 'x\342'; sleep 0.3; printf '\202\254y'`: "x€y",
		`printf 'a\000b'`: "a\x00b",
	}
	if !c.k.Text {
		scripts[`printf 'half \342\202'`] = "half \xe2\x82"
		scripts[`printf 'b\377'`] = "b\xff"
	}
	for script, want := range scripts {
		x, out, errs := c.sh(script)
		c.exited(x, 0, errs)
		require.Equal(c.t, want, out, script)
		require.Empty(c.t, errs)
	}
	x, out, errs := c.sh(`for i in 1 2 3 4 5; do printf '\342'; printf '\316' >&2; sleep 0.02; printf '\202\254'; printf '\251' >&2; done`)
	c.exited(x, 0, errs)
	require.Equal(c.t, strings.Repeat("€", 5), out, "the streams never mix bytes")
	require.Equal(c.t, strings.Repeat("Ω", 5), errs)
}

// whole runs case A31 in its full size, which takes minutes where each command is a connection's or a container's.
var whole = flag.Bool("whole", false, "case A31 with 200 MB and 2,000 commands for each driver, not a tenth of it")

// outputIsWhole is case A31: every byte of much output, and every command's little one.
func (c commandTest) outputIsWhole() {
	c.t.Helper()
	size, each := 20_000_000, 25
	if *whole {
		each *= 10
		if !c.k.Text { // whose output is one line of the wire, which ends at 128 MiB
			size *= 10
		}
	}
	x, out, errs := c.sh(`head -c "$1" /dev/zero | tr '\0' x; echo err >&2; exit 3`, strconv.Itoa(size))
	c.exited(x, 3, errs)
	require.Len(c.t, out, size)
	sum := sha256.Sum256(bytes.Repeat([]byte("x"), size))
	require.Equal(c.t, hex.EncodeToString(sum[:]), x.Output.Stdout.SHA256)
	require.Equal(c.t, int64(size), x.Output.Stdout.Bytes)
	require.Equal(c.t, "complete", x.Output.State)
	require.Equal(c.t, "err\n", errs)

	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range each {
				x, out, err := c.tryRun("echo", "hi")
				if err != nil || out != "hi\n" || x.Result.ExitCode == nil || *x.Result.ExitCode != 0 {
					c.t.Errorf("echo hi: output %q, exec %+v, error %v", out, x, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// tryRun is for goroutines, which must not end the test.
func (c commandTest) tryRun(argv ...string) (x wire.Exec, out string, err error) {
	x, err = c.e.Client.StartExec(context.Background(), c.lease, c.fence, wire.StartExec{Argv: argv})
	if err != nil {
		return x, "", err
	}
	for line, err := range c.e.Client.ExecOutput(context.Background(), x.ID, client.OutputOptions{Follow: true}) {
		if err != nil {
			return x, out, err
		}
		out += string(line.Data)
	}
	x, err = c.e.Client.Exec(context.Background(), x.ID, client.Wait(waitLong))
	if err == nil && x.Result == nil {
		err = errors.New("it does not end")
	}
	return x, out, err
}

// timeoutEndsTheTree is case A32.
func (c commandTest) timeoutEndsTheTree() {
	c.t.Helper()
	scripts := []string{`sleep %s & wait`, `sleep %s | cat`, `trap "" TERM; sleep %s; sleep %[1]s`}
	if !c.k.Text {
		scripts = append(scripts, `setsid sleep %s & wait`)
	}
	var wg sync.WaitGroup
	for _, script := range scripts {
		mark := fmt.Sprintf("6%d", uuid.New().ID())
		wg.Go(func() {
			began := time.Now()
			x, err := c.e.Client.StartExec(context.Background(), c.lease, c.fence, wire.StartExec{
				Argv: []string{"sh", "-c", "echo begun; " + fmt.Sprintf(script, mark)}, TimeoutMs: 1000,
			})
			for err == nil && x.Result == nil && time.Since(began) < waitLong {
				x, err = c.e.Client.Exec(context.Background(), x.ID, client.Wait(waitLong))
			}
			if err != nil || x.Result == nil || x.Result.End != wire.EndTimeout || x.Result.ExitCode != nil || x.Result.Leftovers != 0 {
				c.t.Errorf("%s: %+v, error %v", script, x.Result, err)
			}
			if !Gone("sleep", mark) {
				c.t.Errorf("%s: a process is alive", script)
			}
		})
	}
	wg.Wait()
	x, out, errs := c.sh("echo next")
	c.exited(x, 0, errs)
	require.Equal(c.t, "next\n", out)
}

// endsAreTold: what cannot be run has the same codes everywhere.
func (c commandTest) endsAreTold() {
	c.t.Helper()
	x, _, _ := c.run(wire.StartExec{Argv: []string{"no-such-command-here"}})
	c.exited(x, 127, "")
	x, _, _ = c.run(wire.StartExec{Argv: []string{"/etc/passwd"}})
	c.exited(x, 126, "")
}

// Gone waits until no process with exactly these arguments is alive on this machine. What was killed is seen until the kernel
// comes to it.
func Gone(argv ...string) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(waitLong)
	for Running(argv...) {
		select {
		case <-tick.C:
		case <-limit:
			return false
		}
	}
	return true
}

// Running reports whether a process with exactly these arguments is alive on this machine.
func Running(argv ...string) bool {
	want := strings.Join(argv, "\x00") + "\x00"
	for _, cmdline := range driverstest.Processes("cmdline") {
		if string(cmdline) == want {
			return true
		}
	}
	return false
}

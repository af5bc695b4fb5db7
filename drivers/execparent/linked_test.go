package execparent_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/drivers/execparent"
	"github.com/tenure-dev/tenure/drivers/internal/proc"
	"github.com/tenure-dev/tenure/drivers/journal"
)

// linkedArg turns the test binary into a linked parent.
const linkedArg = "__linked"

// pipes is a link to a child process. A test that breaks it and the code that finds it broken may both close it.
type pipes struct {
	io.Reader
	io.WriteCloser
	cmd    *exec.Cmd
	closed sync.Once
}

func (p *pipes) Words() string { return "words" }

func (p *pipes) Close() (err error) {
	p.closed.Do(func() { err = errors.Join(p.WriteCloser.Close(), p.Reader.(io.Closer).Close()) })
	return err
}

// linked returns options whose parent is another process of this binary, and the process once it is dialed.
func linked(t *testing.T) (execparent.LinkOptions, *pipes) {
	t.Helper()
	p := &pipes{}
	return execparent.LinkOptions{Dial: func(context.Context) (execparent.Link, error) {
		p.cmd = exec.CommandContext(t.Context(), "/proc/self/exe", linkedArg)
		out, err := p.cmd.StdoutPipe()
		if err != nil {
			return nil, err
		}
		in, err := p.cmd.StdinPipe()
		if err != nil {
			return nil, err
		}
		p.Reader, p.WriteCloser = out, in
		return p, p.cmd.Start()
	}}, p
}

func finished(t *testing.T, p *execparent.Linked) drivers.ExecResult {
	t.Helper()
	result, err := p.Wait(t.Context())
	require.NoError(t, err)
	return result
}

func TestALinkedParentTellsTheTrueEnd(t *testing.T) {
	t.Parallel()
	opts, parent := linked(t)
	dir := filepath.Join(t.TempDir(), "journal")
	s := spec(dir, "sh", "-c", `cat; head -c 3000000 /dev/zero; echo err >&2; exit 7`)
	s.Stdin = []byte("in\x00put")
	p, err := execparent.StartLinked(t.Context(), opts, s)
	require.NoError(t, err)
	result := finished(t, p)
	require.Equal(t, drivers.ExecExited, result.End)
	require.Equal(t, 7, result.ExitCode)
	require.Equal(t, drivers.OutputComplete, result.Output.State)
	stdout, stderr := driverstest.ReadOutput(t, dir)
	require.Equal(t, "in\x00put"+string(make([]byte, 3_000_000)), string(stdout))
	require.Equal(t, "err\n", string(stderr))
	seal, sealed, err := journal.ReadSeal(dir)
	require.NoError(t, err)
	require.True(t, sealed)
	require.Equal(t, result.Output, seal)
	require.NoError(t, p.Kill(t.Context(), "late"))
	require.NoError(t, parent.cmd.Wait(), "the parent ends when it is let go")
}

func TestALinkedCommandThatCannotStartSaysWhy(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "journal")
	opts, _ := linked(t)
	s := spec(dir, "true")
	s.Cwd = "/no/such/dir"
	_, err := execparent.StartLinked(t.Context(), opts, s)
	start, ok := errors.AsType[*drivers.StartError](err)
	require.True(t, ok)
	require.Equal(t, "cwd", start.Stage)
	require.Equal(t, "cwd_not_found", start.Code)
	_, sealed, err := journal.ReadSeal(dir)
	require.NoError(t, err)
	require.True(t, sealed, "nobody follows it for ever")

	opts, _ = linked(t)
	_, err = execparent.StartLinked(t.Context(), opts, spec(dir, "true"))
	start, ok = errors.AsType[*drivers.StartError](err)
	require.True(t, ok)
	require.Equal(t, "journal_exists", start.Code)

	opts, _ = linked(t)
	p, err := execparent.StartLinked(t.Context(), opts, spec(filepath.Join(t.TempDir(), "journal"), "no-such-command"))
	require.NoError(t, err)
	require.Equal(t, 127, finished(t, p).ExitCode)
}

func TestATimeoutOverALinkEndsTheWholeTree(t *testing.T) {
	t.Parallel()
	opts, _ := linked(t)
	s := spec(filepath.Join(t.TempDir(), "journal"), "sh", "-c", `trap "" TERM; setsid sleep 600.5 & echo begun; sleep 600`)
	s.Timeout, s.Grace = 5*time.Second, 100*time.Millisecond
	p, err := execparent.StartLinked(t.Context(), opts, s)
	require.NoError(t, err)
	main := p.Process()
	require.True(t, proc.Alive(main))
	result := finished(t, p)
	require.Equal(t, drivers.ExecTimedOut, result.End)
	require.Zero(t, result.Leftovers)
	require.False(t, proc.Alive(main))
}

func TestALinkThatBreaksMakesTheEndUnknownAndEndsTheCommand(t *testing.T) {
	t.Parallel()
	opts, parent := linked(t)
	opts.Lost = func(err error) string {
		require.Error(t, err)
		return "cable_pulled"
	}
	dir := filepath.Join(t.TempDir(), "journal")
	s := spec(dir, "sh", "-c", "echo begun; exec sleep 600")
	s.Grace = 100 * time.Millisecond
	p, err := execparent.StartLinked(t.Context(), opts, s)
	require.NoError(t, err)
	driverstest.AwaitOutput(t, &driverstest.Running{Exec: p, JournalDir: dir}, "begun")
	require.NoError(t, parent.Close())
	result := finished(t, p)
	require.Equal(t, drivers.ExecUnknown, result.End)
	require.Equal(t, "cable_pulled", result.Why)
	require.Equal(t, drivers.OutputLost, result.Output.State)
	require.EqualValues(t, len("begun\n"), result.Output.Stdout.Bytes)
	require.NoError(t, parent.cmd.Wait())
	require.False(t, proc.Alive(p.Process()), "its parent ended it")
}

func TestALinkedParentThatIsKilledMakesTheEndUnknown(t *testing.T) {
	t.Parallel()
	opts, parent := linked(t)
	p, err := execparent.StartLinked(t.Context(), opts, spec(filepath.Join(t.TempDir(), "journal"), "sleep", "600"))
	require.NoError(t, err)
	require.NoError(t, parent.cmd.Process.Kill())
	result := finished(t, p)
	require.Equal(t, drivers.ExecUnknown, result.End)
	require.Equal(t, "link_lost", result.Why)
	main := p.Process()
	require.NoError(t, proc.Signal(main.PID, main.StartTime, unix.SIGKILL)) // a container would end it
}

func TestALinkedStartThatIsCanceledLeavesNothingRunning(t *testing.T) {
	t.Parallel()
	cause := errors.New("the client gave up")
	for _, delay := range []time.Duration{0, 5 * time.Millisecond, 30 * time.Millisecond} {
		opts, parent := linked(t)
		ctx, cancel := context.WithCancelCause(t.Context())
		timer := time.AfterFunc(delay, func() { cancel(cause) })
		p, err := execparent.StartLinked(ctx, opts, spec(filepath.Join(t.TempDir(), "journal"), "sleep", "600"))
		timer.Stop()
		if err != nil {
			require.ErrorIs(t, err, cause)
		} else {
			require.NoError(t, p.Kill(t.Context(), "started after all"))
			finished(t, p)
		}
		require.NoError(t, parent.cmd.Wait())
	}
}

func TestSilenceOnALinkIsItsEnd(t *testing.T) {
	t.Parallel()
	opts, parent := linked(t)
	opts.Silence = 4 * time.Second // a busy machine may be silent for a while
	p, err := execparent.StartLinked(t.Context(), opts, spec(filepath.Join(t.TempDir(), "journal"), "sleep", "600"))
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 2*opts.Silence)
	defer cancel()
	_, err = p.Wait(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded, "both ends say that they live")

	require.NoError(t, parent.cmd.Process.Signal(unix.SIGSTOP))
	result := finished(t, p)
	require.Equal(t, drivers.ExecUnknown, result.End)
	require.True(t, proc.Alive(p.Process()))
	require.NoError(t, parent.cmd.Process.Signal(unix.SIGCONT))
	require.NoError(t, parent.cmd.Wait())
	require.False(t, proc.Alive(p.Process()), "the parent heard nothing either")
}

// scripted is a link to nobody: it says what it is told to.
type scripted struct {
	io.Reader
}

func (s *scripted) Write(p []byte) (int, error) { return len(p), nil }
func (s *scripted) Close() error                { return nil }
func (s *scripted) Words() string               { return "its last words" }

func frame(kind byte, data string) string {
	return string(binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(data)))) + data
}

const startedFrame = `{"started":{"pid":1,"startTime":2,"bootId":"b"}}`

func TestAParentThatLiesIsNotBelieved(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct{ says, start, why string }{
		"nothing":                  {says: "", start: "its last words"},
		"junk":                     {says: "Segmentation fault\n", start: "no frame"},
		"a result before a start":  {says: frame('s', `{"result":{"end":"exited"}}`), start: "out of turn"},
		"a frame of no kind":       {says: frame('s', startedFrame) + frame('?', "x"), why: "link_lost"},
		"two starts":               {says: frame('s', startedFrame) + frame('s', startedFrame), why: "link_lost"},
		"half a frame":             {says: frame('s', startedFrame) + frame('1', "abc")[:6], why: "link_lost"},
		"a result without an end":  {says: frame('s', startedFrame) + frame('s', `{"result":{}}`), why: "link_lost"},
		"more output than it sent": {says: frame('s', startedFrame) + frame('1', "ab") + frame('s', `{"result":{"end":"exited","output":{"state":"complete","stdout":{"bytes":3}}}}`), why: "output_lost"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := execparent.StartLinked(t.Context(), execparent.LinkOptions{
				Dial: func(context.Context) (execparent.Link, error) {
					return &scripted{Reader: strings.NewReader(row.says)}, nil
				},
			}, spec(filepath.Join(t.TempDir(), "journal"), "true"))
			if row.start != "" {
				start, ok := errors.AsType[*drivers.StartError](err)
				require.True(t, ok)
				require.Equal(t, "parent", start.Stage)
				require.ErrorContains(t, err, row.start)
				return
			}
			require.NoError(t, err)
			result := finished(t, p)
			require.Equal(t, drivers.ExecUnknown, result.End)
			require.Equal(t, row.why, result.Why)
		})
	}
}

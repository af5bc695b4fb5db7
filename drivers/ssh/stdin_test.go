package ssh

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/drivers/journal"
	"github.com/tenure-dev/tenure/drivers/ssh/sshtest"
)

// deaf is a channel whose other end takes nothing any more.
type deaf struct{ ssh.Channel }

func (deaf) Write([]byte) (int, error) { return 0, errors.New("closed") }

func TestALinkThatBreaksUnderStdinStillEndsTheCommand(t *testing.T) {
	t.Parallel()
	w, err := journal.Create(filepath.Join(t.TempDir(), "j"), journal.Options{})
	require.NoError(t, err)
	p := &process{journal: w, ch: &channel{Channel: deaf{}}, credit: make(chan int, 64), first: make(chan error, 1), done: make(chan struct{})}
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		p.feed([]byte("input"))
	}()
	read := make(chan error, 1)
	go func() {
		// What the parent said before the link broke is still to be read: that it took stdin, many times.
		_, err := p.read(bytes.NewReader(bytes.Repeat(frame('A', []byte{0, 0, 0, 1}), 1000)))
		read <- err
	}()
	select {
	case err := <-read:
		require.NoError(t, err)
	case <-time.After(time.Minute):
		t.Fatal("nobody takes what the parent says")
	}
	close(p.done)
	<-fed
	_, err = w.Seal(drivers.OutputComplete)
	require.NoError(t, err)
}

// A command that has no parent is sent its stdin whether it reads it or not.
func TestACommandThatLeavesItsStdinUnreadCanBeEnded(t *testing.T) {
	t.Parallel()
	s := sshtest.Start(t, sshtest.Options{})
	for name, end := range map[string]drivers.ExecEnd{"timeout": drivers.ExecTimedOut, "kill": drivers.ExecKilled} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := acquireOn(t, s, nil, Options{hide: []string{"perl"}})
			req := drivers.ExecRequest{
				Argv: []string{"sh", "-c", "echo begun; sleep 600"}, Stdin: bytes.Repeat([]byte("x"), 8<<20), Grace: 100 * time.Millisecond,
			}
			if end == drivers.ExecTimedOut {
				req.Timeout = time.Second
				done, _ := r.TimeOut(req)
				require.Equal(t, "begun\n", string(done.Stdout))
				require.Equal(t, end, done.End)
				return
			}
			e, err := r.Start(req)
			require.NoError(t, err)
			driverstest.AwaitOutput(t, e, "begun")
			killed := make(chan error, 1)
			go func() { killed <- e.Kill(t.Context(), "asked for") }()
			select {
			case err := <-killed:
				require.NoError(t, err)
			case <-time.After(time.Minute):
				t.Fatal("the kill does not return")
			}
			require.Equal(t, end, r.Finish(e, time.Now()).End)
		})
	}
}

package sshtest

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

// FakeOptions are the faults of a [Fake].
type FakeOptions struct {
	// HostKeyTypes are as in [Options].
	HostKeyTypes []string
	// Stall is the phase in which the server falls silent: "banner", "key_exchange", "auth", "session", "command_start".
	Stall string
	// Say is what the server says instead of an SSH banner.
	Say string
	// DropAfterAuth closes the connection as soon as the client has logged in.
	DropAfterAuth bool
	// NoExitStatus closes channels without saying how the command ended.
	NoExitStatus bool
	// ExitSignal is sent instead of an exit status.
	ExitSignal string
	// CutOutput closes the channel after so many bytes of output, without a word; 0 does not.
	CutOutput int
	// Swallow takes commands and what they get, runs nothing, and closes their channels without a word.
	Swallow bool
	// Hang takes commands and never ends them.
	Hang bool
	// MaxSessions is how many channels one connection may have; 0 is any number.
	MaxSessions int
}

// Fake is an SSH server whose faults can be chosen. It runs commands as whoever runs the test.
type Fake struct {
	Server
	// Attempts counts the tries to log in, the one without a credential included.
	Attempts atomic.Int64
	// Refused counts the channels that were refused.
	Refused atomic.Int64
	// Hung is closed when the first command hangs, with all that it was sent until then.
	Hung chan struct{}
	once sync.Once

	t       testing.TB
	opts    FakeOptions
	keys    sync.Mutex
	signers []ssh.Signer
	ctx     context.Context
	cancel  context.CancelFunc
}

// StartFake runs a server until t ends.
func StartFake(t testing.TB, o FakeOptions) *Fake {
	t.Helper()
	f := &Fake{t: t, opts: o, Hung: make(chan struct{}), Server: Server{Host: "127.0.0.1", User: "fake"}}
	f.PrivateKey, _ = NewKey(t)
	ctx, cancel := context.WithCancel(context.Background())
	f.ctx, f.cancel = ctx, cancel
	f.NewHostKeys(o.HostKeyTypes...)
	require.NoError(t, f.Listen(t.Context(), "127.0.0.1:0", f.serve))
	t.Cleanup(f.Stop)
	return f
}

// Stop ends the server, its connections and what it runs.
func (f *Fake) Stop() {
	f.cancel()
	f.Server.Stop()
}

// NewHostKeys gives the server other keys, which connections from now on see.
func (f *Fake) NewHostKeys(types ...string) {
	if len(types) == 0 {
		types = []string{"ed25519"}
	}
	f.keys.Lock()
	defer f.keys.Unlock()
	f.signers, f.HostKeys = nil, map[string]ssh.PublicKey{}
	for _, kind := range types {
		var private any
		var err error
		if kind == "ecdsa" {
			private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		} else {
			_, private, err = ed25519.GenerateKey(rand.Reader)
		}
		require.NoError(f.t, err)
		signer, err := ssh.NewSignerFromKey(private)
		require.NoError(f.t, err)
		f.signers = append(f.signers, signer)
		f.HostKeys[kind] = signer.PublicKey()
	}
}

// serve is one connection.
func (f *Fake) serve(c net.Conn) {
	defer c.Close()
	wait := func() { _, _ = io.Copy(io.Discard, c) } // until the client hangs up
	switch {
	case f.opts.Say != "":
		_, _ = io.WriteString(c, f.opts.Say)
		wait()
		return
	case f.opts.Stall == "banner":
		wait()
		return
	case f.opts.Stall == "key_exchange":
		_, _ = io.WriteString(c, "SSH-2.0-Fake\r\n")
		wait()
		return
	}
	config := &ssh.ServerConfig{
		PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) {
			if f.opts.Stall == "auth" {
				<-f.ctx.Done()
				return nil, errors.New("the test is over")
			}
			return &ssh.Permissions{}, nil
		},
		AuthLogCallback: func(ssh.ConnMetadata, string, error) { f.Attempts.Add(1) },
	}
	f.keys.Lock()
	for _, s := range f.signers {
		config.AddHostKey(s)
	}
	f.keys.Unlock()
	conn, chans, reqs, err := ssh.NewServerConn(c, config)
	if err != nil || f.opts.DropAfterAuth {
		return
	}
	defer conn.Close() //nolint:errcheck // the client is gone
	go ssh.DiscardRequests(reqs)
	var open atomic.Int64
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(f.ctx)
	defer cancel()
	for n := range chans {
		switch {
		case f.opts.Stall == "session":
		case n.ChannelType() == "direct-tcpip":
			running.Go(func() { forward(ctx, n) })
		case f.opts.MaxSessions > 0 && open.Load() >= int64(f.opts.MaxSessions):
			f.Refused.Add(1)
			_ = n.Reject(ssh.Prohibited, "open failed")
		default:
			open.Add(1)
			running.Go(func() {
				defer open.Add(-1)
				f.session(ctx, n)
			})
		}
	}
}

// forward is a connection on to somewhere else, as a jump host makes it.
func forward(ctx context.Context, n ssh.NewChannel) {
	var to struct {
		Host string
		Port uint32
		From string
		At   uint32
	}
	if err := ssh.Unmarshal(n.ExtraData(), &to); err != nil {
		_ = n.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(to.Host, fmt.Sprint(to.Port)))
	if err != nil {
		_ = n.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	ch, reqs, err := n.Accept()
	if err != nil {
		conn.Close()
		return
	}
	go ssh.DiscardRequests(reqs)
	var both sync.WaitGroup
	both.Go(func() { _, _ = io.Copy(ch, conn); _ = ch.Close() })
	both.Go(func() { _, _ = io.Copy(conn, ch); conn.Close() })
	both.Wait()
}

// session runs one command.
func (f *Fake) session(ctx context.Context, n ssh.NewChannel) {
	ch, reqs, err := n.Accept()
	if err != nil {
		return
	}
	defer ch.Close() //nolint:errcheck // the client may have closed it
	for r := range reqs {
		if r.Type != "exec" {
			_ = r.Reply(false, nil) // env above all
			continue
		}
		if f.opts.Stall == "command_start" {
			continue
		}
		var m struct{ Command string }
		if err := ssh.Unmarshal(r.Payload, &m); err != nil {
			_ = r.Reply(false, nil)
			return
		}
		_ = r.Reply(true, nil)
		go ssh.DiscardRequests(reqs)
		f.run(ctx, ch, m.Command)
		return
	}
}

func (f *Fake) run(ctx context.Context, ch ssh.Channel, command string) {
	if f.opts.Swallow {
		_, _ = io.ReadFull(ch, make([]byte, 4096))
		return
	}
	if f.opts.Hang {
		_, _ = ch.Read(make([]byte, 1)) // the script comes
		f.once.Do(func() { close(f.Hung) })
		_, _ = io.Copy(io.Discard, ch)
		<-ctx.Done()
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin"}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return
	}
	var out io.Writer = ch
	if f.opts.CutOutput > 0 {
		out = &cutter{w: ch, left: f.opts.CutOutput, cut: cancel}
	}
	cmd.Stdout, cmd.Stderr = out, ch.Stderr()
	go func() {
		_, _ = io.Copy(stdin, ch)
		_ = stdin.Close()
	}()
	err = cmd.Run()
	switch {
	case f.opts.NoExitStatus || f.opts.CutOutput > 0:
	case f.opts.ExitSignal != "":
		_, _ = ch.SendRequest("exit-signal", false, ssh.Marshal(struct {
			Signal      string
			Core        bool
			Error, Lang string
		}{Signal: f.opts.ExitSignal}))
	default:
		code := uint32(0)
		failed := &exec.ExitError{}
		if errors.As(err, &failed) {
			code = uint32(failed.ExitCode())
		}
		_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{code}))
	}
}

// cutter passes on so many bytes and then cuts.
type cutter struct {
	w    io.Writer
	left int
	cut  func()
}

func (c *cutter) Write(p []byte) (int, error) {
	n := min(len(p), c.left)
	c.left -= n
	if _, err := c.w.Write(p[:n]); err != nil {
		return 0, err
	}
	if c.left == 0 {
		c.cut()
		return n, io.ErrClosedPipe
	}
	return len(p), nil
}

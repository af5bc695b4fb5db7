package ssh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/tenure-dev/tenure/drivers"
)

// errNoRoom says that the server refused a channel; another connection may do.
var errNoRoom = errors.New("the server allows no further session on this connection")

// channel is one session: one command on the host.
type channel struct {
	ssh.Channel
	c *conn
	// ended is closed when the server has closed the channel; end is valid from then on.
	ended chan struct{}
	// reported is closed when the server has said how the command ended; output may still come.
	reported chan struct{}
	end      channelEnd
}

// channelEnd is what the server said of the command's end.
type channelEnd struct {
	// status says that code was sent; signal is set where a signal was. Neither: the channel was closed without a word.
	status bool
	code   int
	signal string
	core   bool
}

func (c *conn) limit() time.Duration {
	if c.p.target.timeout > 0 {
		return c.p.target.timeout
	}
	return c.p.opts.ConnectTimeout
}

// openChannel opens a session on a place that pick reserved. It gives the place back if that fails.
func (c *conn) openChannel(ctx context.Context) (*channel, error) {
	type opened struct {
		ch   ssh.Channel
		reqs <-chan *ssh.Request
		err  error
	}
	answer := make(chan opened, 1)
	go func() {
		ch, reqs, err := c.client.OpenChannel("session", nil)
		answer <- opened{ch, reqs, err}
	}()
	limit := time.NewTimer(c.limit())
	defer limit.Stop()
	var o opened
	select {
	case o = <-answer:
	case <-limit.C:
		// A server that does not even refuse is not alive. Closing the connection ends the question.
		c.close()
		<-answer
		c.release()
		return nil, failedAt(phaseSession, "session_timeout", fmt.Errorf("no answer within %s", c.limit()))
	case <-ctx.Done():
		go func() { // the place is free once the server has answered
			if o := <-answer; o.err == nil {
				go ssh.DiscardRequests(o.reqs)
				_ = o.ch.Close()
			}
			c.release()
		}()
		return nil, context.Cause(ctx)
	}
	if o.err == nil {
		c.p.mu.Lock()
		c.used = true
		c.p.mu.Unlock()
		ch := &channel{Channel: o.ch, c: c, ended: make(chan struct{}), reported: make(chan struct{})}
		go ch.listen(o.reqs)
		return ch, nil
	}
	refusal := &ssh.OpenChannelError{}
	if !errors.As(o.err, &refusal) {
		used := c.release()
		if !used {
			return nil, failedAt(phaseSession, "session_lost", errLinkLost)
		}
		return nil, errLinkLost
	}
	c.p.mu.Lock()
	c.open--
	fresh := !c.used && c.open == 0
	c.room = c.open
	unused := c.open == 0 && !c.gone
	if unused {
		c.leave() // nothing runs here, so nobody misses it
	}
	c.p.mu.Unlock()
	if unused {
		c.close()
	}
	if fresh {
		return nil, noSession(fmt.Errorf("the server refuses every session (%s): nothing was started", refusal.Reason))
	}
	return nil, errNoRoom
}

// listen takes the server's messages about the channel until it is closed.
func (ch *channel) listen(reqs <-chan *ssh.Request) {
	said := false
	for r := range reqs {
		switch r.Type {
		case "exit-status":
			var m struct{ Status uint32 }
			if ssh.Unmarshal(r.Payload, &m) == nil {
				ch.end.status, ch.end.code = true, int(m.Status)
			}
		case "exit-signal":
			var m struct {
				Signal      string
				Core        bool
				Error, Lang string
			}
			if ssh.Unmarshal(r.Payload, &m) == nil {
				ch.end.signal, ch.end.core = m.Signal, m.Core
			}
		}
		if !said && (ch.end.status || ch.end.signal != "") {
			said = true
			close(ch.reported)
		}
		if r.WantReply {
			_ = r.Reply(false, nil)
		}
	}
	_ = ch.Close()
	close(ch.ended)
	ch.c.release()
}

// lost reports, of a channel that has ended, whether that was because the connection below it is gone. A channel hears of
// it before the connection's own end is noticed, so one that ended without a word asks the server.
func (ch *channel) lost() bool {
	select {
	case <-ch.c.dead:
		return true
	default:
	}
	if ch.end.status || ch.end.signal != "" {
		return false
	}
	answer := make(chan error, 1)
	go func() {
		_, _, err := ch.c.client.SendRequest("keepalive@openssh.com", true, nil)
		answer <- err
	}()
	select {
	case err := <-answer:
		return err != nil
	case <-ch.c.dead: // the keepalive sees to that in time
		return true
	}
}

// start runs a command line, which the user's login shell reads.
func (ch *channel) start(ctx context.Context, command string) error {
	answer := make(chan error, 1)
	go func() {
		ok, err := ch.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{command}))
		if err == nil && !ok {
			err = errors.New("the server refuses to run commands")
		}
		answer <- err
	}()
	limit := time.NewTimer(ch.c.limit())
	defer limit.Stop()
	select {
	case err := <-answer:
		if err != nil {
			_ = ch.Close()
			return failedAt(phaseStart, "command_refused", err)
		}
		return nil
	case <-limit.C:
		ch.c.close()
		if err := <-answer; err == nil {
			return nil // it came at the last moment, and the end of the connection tells the rest
		}
		return failedAt(phaseStart, "command_timeout", fmt.Errorf("no answer within %s", ch.c.limit()))
	case <-ctx.Done():
		_ = ch.Close()
		return context.Cause(ctx)
	}
}

func failedAt(phase, code string, err error) error {
	return &drivers.Failure{
		Outcome: drivers.OutcomeRetryable, Code: code, Step: phase, Err: err,
		Remediation: "look at the log of the SSH server; its limits and its rules for this user decide",
	}
}

// notSent says of a failure that the host got no word of the script, so that an Acquire which ends with it has made nothing.
func notSent(err error) error {
	f, ok := errors.AsType[*drivers.Failure](err)
	if !ok || f.Outcome != drivers.OutcomeRetryable {
		return err
	}
	made := *f // the one that is shared by all who waited for a connection stays as it is
	made.NothingMade = true
	return &made
}

// output is what a short script said.
type output struct {
	stdout, stderr []byte
	end            channelEnd
}

// maxScriptOutput bounds the output of a script of ours.
const maxScriptOutput = 8 << 20

// script runs a script to its end: command reads it, and stdin is what it gets.
func (p *pool) script(ctx context.Context, pins []string, command string, stdin []byte) (output, *conn, error) {
	ch, err := p.channel(ctx, pins)
	if err != nil {
		return output{}, nil, notSent(err)
	}
	stop := context.AfterFunc(ctx, func() { _ = ch.Close() })
	defer stop()
	if err := ch.start(ctx, command); err != nil {
		return output{}, nil, notSent(err)
	}
	go func() {
		if _, err := ch.Write(stdin); err == nil {
			_ = ch.CloseWrite()
		}
	}()
	stdout, stderr := capped{left: maxScriptOutput}, capped{left: 64 << 10}
	read := make(chan struct{})
	go func() {
		defer close(read)
		var errs sync.WaitGroup
		errs.Go(func() { _, _ = io.Copy(&stderr, ch.Stderr()) })
		_, _ = io.Copy(&stdout, ch)
		errs.Wait()
		<-ch.ended
	}()
	select {
	case <-read:
	case <-ctx.Done():
		// Over a link that fell silent the channel ends when the connection is given up, which is not waited for.
		return output{}, nil, context.Cause(ctx)
	}
	if !ch.end.status && ch.end.signal == "" {
		if ctx.Err() != nil {
			return output{}, nil, context.Cause(ctx)
		}
		err := errLinkLost
		if !ch.lost() {
			err = errors.New("the server closed the session without saying how the command ended")
		}
		return output{}, nil, failedAt(phaseSession, "session_lost", err)
	}
	if stdout.left == 0 {
		return output{}, nil, failedAt(phaseSession, "answer_too_long", fmt.Errorf("the host's answer is %d bytes long or longer", maxScriptOutput))
	}
	return output{stdout.b.Bytes(), stderr.b.Bytes(), ch.end}, ch.c, nil
}

// capped keeps the first bytes and lets the rest go.
type capped struct {
	b    bytes.Buffer
	left int
}

func (c *capped) Write(p []byte) (int, error) {
	n := min(len(p), c.left)
	c.b.Write(p[:n])
	c.left -= n
	return len(p), nil
}

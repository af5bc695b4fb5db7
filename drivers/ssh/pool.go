package ssh

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/tenure-dev/tenure/drivers"
)

// pool holds the connections to one target with one set of credentials and one trust. Usually that is a single one, with
// a channel for each command; a server that refuses a channel gets another connection.
type pool struct {
	opts Options
	// target is a configuration of an environment that is reached this way; others may share the connections.
	target config

	mu      sync.Mutex
	conns   []*conn
	dialing map[string]*dialCall // by the keys that are wanted
	// changed is closed, and made anew, whenever somebody who waits should look again.
	changed chan struct{}
	// tools is what the last look at the host found; nil before that.
	tools  *tools
	closed bool
	// touched is when a verb last asked for the pool.
	touched time.Time
}

// conn is one connection of a pool.
type conn struct {
	*dialed
	p    *pool
	pins string // its keys
	// dead is closed when the connection has ended.
	dead chan struct{}

	// The rest is under the pool's lock.
	open int // channels, those about to be opened included
	room int // how many channels the server allows; -1 is not known
	idle *time.Timer
	gone bool
	used bool // a channel was opened
}

// dialCall is a dial under way; everybody who needs the connection waits for it. It ends when nobody does any more.
type dialCall struct {
	done    chan struct{}
	waiting int
	cancel  context.CancelCauseFunc
	// One of these is valid once done is closed.
	err  error
	conn *conn
}

// poolKey makes another pool of everything that decides which server is reached, as whom, and whether to believe it.
func poolKey(c config) string {
	h := sha256.New()
	for _, hop := range append(append([]hop{}, c.jumps...), c.hop) {
		fmt.Fprintf(h, "%q %q;", hop.addr(), hop.user)
		hop.credentials.hashInto(h)
	}
	fmt.Fprintf(h, "%v %s;", c.strict, c.timeout)
	for _, k := range c.knownHosts {
		fmt.Fprintf(h, "%s %q %s;", k.marker, k.patterns, ssh.FingerprintSHA256(k.key))
	}
	return string(h.Sum(nil))
}

// channel opens a session on a connection whose servers have the keys pins, if there are any. It waits where the server
// has no room; the error then says that nothing was started.
func (p *pool) channel(ctx context.Context, pins []string) (*channel, error) {
	wait := time.NewTimer(p.opts.SessionWait)
	defer wait.Stop()
	var last *dialCall
	for {
		c, call, changed, err := p.pick(strings.Join(pins, "\n"), pins)
		switch {
		case err != nil:
			return nil, err
		case c != nil:
			ch, err := c.openChannel(ctx)
			if err == nil {
				return ch, nil
			}
			if !errors.Is(err, errNoRoom) && !errors.Is(err, errLinkLost) {
				return nil, err
			}
		case call != nil:
			if last != nil && p.barren(last.conn) {
				lost := failedAt(phaseSession, "session_lost", errLinkLost) // for whoever waits for it, too
				p.abandon(call, lost)
				return nil, lost
			}
			if err := p.await(ctx, call); err != nil {
				return nil, err
			}
			last = call
		default:
			select {
			case <-changed:
			case <-wait.C:
				return nil, noSession(fmt.Errorf("no session became free within %s: nothing was started", p.opts.SessionWait))
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
	}
}

func noSession(err error) error {
	return &drivers.Failure{
		Outcome: drivers.OutcomeRetryable, Code: "session_limit", Step: phaseSession, Err: err,
		Remediation: "raise MaxSessions in the host's sshd_config, or run fewer commands at once",
	}
}

// pick reserves a channel on a connection with room, or else finds the dial to wait for, or what to wait for.
func (p *pool) pick(key string, pins []string) (*conn, *dialCall, <-chan struct{}, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, nil, &drivers.Failure{
			Outcome: drivers.OutcomeRetryable, Code: "closed", Step: phaseDial, Err: errors.New("the driver is closed"),
			Remediation: "ask an engine that runs",
		}
	}
	for _, c := range p.conns {
		if !c.gone && (key == "" || c.pins == key) && (c.room < 0 || c.open < c.room) {
			c.open++
			if c.idle != nil {
				c.idle.Stop()
			}
			return c, nil, nil, nil
		}
	}
	if call := p.dialing[key]; call != nil {
		call.waiting++
		return nil, call, nil, nil
	}
	if len(p.conns)+len(p.dialing) >= p.opts.MaxConnections {
		return nil, nil, p.changed, nil
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	call := &dialCall{done: make(chan struct{}), waiting: 1, cancel: cancel}
	p.dialing[key] = call
	go p.dial(ctx, key, pins, call)
	return nil, call, nil, nil
}

// dial makes a connection for all who wait for call.
func (p *pool) dial(ctx context.Context, key string, pins []string, call *dialCall) {
	d, err := dial(ctx, p.opts, p.target, pins)
	p.mu.Lock()
	delete(p.dialing, key)
	call.err = err
	switch {
	case err != nil:
	case p.closed:
		d.close()
	default:
		c := &conn{dialed: d, p: p, pins: strings.Join(d.keys, "\n"), dead: make(chan struct{}), room: -1}
		p.conns = append(p.conns, c)
		call.conn = c
		c.rest()
		go c.watch()
		go c.keepalive()
	}
	p.wake()
	p.mu.Unlock()
	call.cancel(nil)
	close(call.done)
}

func (p *pool) await(ctx context.Context, call *dialCall) error {
	select {
	case <-call.done:
		return call.err
	case <-ctx.Done():
		p.abandon(call, context.Cause(ctx))
		return context.Cause(ctx)
	}
}

// abandon is what a caller does that no longer waits for call.
func (p *pool) abandon(call *dialCall, why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if call.waiting--; call.waiting == 0 {
		call.cancel(why)
	}
}

// barren reports whether a connection ended before it was of any use; another would most likely do the same.
func (p *pool) barren(c *conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return c != nil && c.gone && !c.used
}

// wake lets all who wait look again. The pool is locked.
func (p *pool) wake() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// close ends all connections and whatever runs on them.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	conns := slices.Clone(p.conns)
	for _, call := range p.dialing {
		call.cancel(errors.New("the driver is closed"))
	}
	p.wake()
	p.mu.Unlock()
	for _, c := range conns {
		c.close()
		<-c.dead
	}
}

// rest starts the clock of a connection that nobody uses. The pool is locked.
func (c *conn) rest() {
	if c.open > 0 || c.gone {
		return
	}
	c.idle = time.AfterFunc(c.p.opts.Idle, func() {
		c.p.mu.Lock()
		unused := c.open == 0 && !c.gone
		if unused {
			c.leave()
		}
		c.p.mu.Unlock()
		if unused {
			c.close()
		}
	})
}

// leave takes the connection out of the pool. The pool is locked.
func (c *conn) leave() {
	c.gone = true
	if c.idle != nil {
		c.idle.Stop()
	}
	c.p.conns = slices.DeleteFunc(c.p.conns, func(other *conn) bool { return other == c })
	c.p.wake()
}

// release gives a channel's place back. It reports whether the connection was ever of use.
func (c *conn) release() (used bool) {
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	c.open--
	c.rest()
	c.p.wake()
	return c.used
}

// watch notices the end of the connection.
func (c *conn) watch() {
	_ = c.client.Wait() // why it ended is told by whoever used it
	c.p.mu.Lock()
	if !c.gone {
		c.leave()
	}
	c.p.mu.Unlock()
	c.close()
	close(c.dead)
}

// keepalive closes a connection that does not answer. Any byte counts as an answer: behind a large transfer the one to
// our question may be late.
func (c *conn) keepalive() {
	tick := time.NewTicker(c.p.opts.Keepalive)
	defer tick.Stop()
	answered := make(chan struct{}, 1)
	asked := false
	for {
		select {
		case <-c.dead:
			return
		case <-answered:
			asked = false
		case <-tick.C:
			if silence := time.Since(time.Unix(0, c.link.heard.Load())); asked && silence > 2*c.p.opts.Keepalive {
				c.close()
				return
			}
			if asked {
				continue
			}
			asked = true
			go func() {
				// It returns at the latest when the connection is closed.
				if _, _, err := c.client.SendRequest("keepalive@openssh.com", true, nil); err == nil {
					answered <- struct{}{}
				}
			}()
		}
	}
}

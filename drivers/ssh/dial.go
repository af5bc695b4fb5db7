package ssh

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/tenure-dev/tenure/drivers"
)

// The phases of a connection, as errors and probes name them. host_key is the part of key_exchange that is ours.
const (
	phaseDial     = "dial"
	phaseBanner   = "banner"
	phaseExchange = "key_exchange"
	phaseAuth     = "auth"
	phaseSession  = "session"
	phaseStart    = "command_start"
)

// link is the transport of one connection: it knows which phase the handshake is in and bounds each. The timeout of the
// library covers the dialling alone.
type link struct {
	net.Conn
	limit time.Duration
	// heard is when bytes last came, in nanoseconds of the Unix epoch.
	heard atomic.Int64

	mu    sync.Mutex
	phase string
	timer *time.Timer
	late  bool
	said  []byte // by the server, until its banner was complete
}

func newLink(c net.Conn, limit time.Duration) *link {
	l := &link{Conn: c, limit: limit}
	l.enter(phaseBanner)
	return l
}

// enter begins a phase; "" is the end of the handshake.
func (l *link) enter(phase string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer != nil {
		l.timer.Stop()
	}
	l.phase = phase
	if phase == "" {
		return
	}
	l.timer = time.AfterFunc(l.limit, func() {
		l.mu.Lock()
		late := l.phase == phase
		l.late = l.late || late
		l.mu.Unlock()
		if late {
			_ = l.Close() // a channel of another connection knows no deadline; closing is understood by all
		}
	})
}

// Read implements [net.Conn] and looks for the end of the banner.
func (l *link) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	if n > 0 {
		l.heard.Store(time.Now().UnixNano())
		l.mu.Lock()
		banner := l.phase == phaseBanner
		if banner && len(l.said) < 1024 {
			l.said = append(l.said, p[:n]...)
			banner = bytes.HasPrefix(l.said, []byte("SSH-")) || bytes.Contains(l.said, []byte("\nSSH-"))
			banner = banner && bytes.HasSuffix(l.said, []byte("\n"))
		} else {
			banner = false
		}
		l.mu.Unlock()
		if banner {
			l.enter(phaseExchange)
		}
	}
	return n, err
}

// failed turns the error of a handshake into one that names its phase.
func (l *link) failed(h hop, err error) error {
	l.mu.Lock()
	phase, late, said := l.phase, l.late, l.said
	l.mu.Unlock()
	f := &drivers.Failure{Outcome: drivers.OutcomeRetryable, Step: phase}
	cause := err
	if late {
		cause = fmt.Errorf("nothing came within %s: %w", l.limit, os.ErrDeadlineExceeded)
	}
	switch phase {
	case phaseBanner:
		f.Code, f.Remediation = "no_ssh_banner", "make sure that an SSH server listens on that port and is not overloaded"
		if len(said) > 0 && !bytes.HasPrefix(said, []byte("SSH-")) {
			cause = fmt.Errorf("%w; it said %q, which is not SSH", cause, clip(string(said), 60))
		}
	case phaseExchange:
		f.Code, f.Remediation = "key_exchange_failed", "make sure that the server is a current SSH server, and look at its log"
	default:
		f.Code, f.Remediation = "auth_interrupted", "look at the log of the SSH server"
		if !late && strings.Contains(err.Error(), "unable to authenticate") {
			f.Outcome, f.Code = drivers.OutcomeDefinite, "auth_failed"
			f.Remediation = "add the public key to the user's authorized_keys on the host, or correct the user and the key"
		}
	}
	f.Err = fmt.Errorf("connect to %s: %s: %w", h.addr(), strings.ReplaceAll(phase, "_", " "), cause)
	return f
}

// dialed is a connection that was just made, and what it went through.
type dialed struct {
	client *ssh.Client
	link   *link
	// keys are those that the servers showed, the jump hosts' first.
	keys []string
	// via are the connections below, to be closed with this one.
	via []io.Closer
}

func (d *dialed) close() {
	if d.client != nil {
		_ = d.client.Close()
	}
	for i := len(d.via) - 1; i >= 0; i-- {
		_ = d.via[i].Close()
	}
}

// dial connects to the target of c, through its jump hosts. pins are the keys that a lease has seen, if it has.
func dial(ctx context.Context, opts Options, c config, pins []string) (*dialed, error) {
	limit := c.timeout
	if limit == 0 {
		limit = opts.ConnectTimeout
	}
	d := &dialed{}
	hops := append(append([]hop{}, c.jumps...), c.hop)
	for i, h := range hops {
		pin := ""
		if i < len(pins) {
			pin = pins[i]
		}
		raw, err := d.reach(ctx, h, limit)
		if err == nil {
			err = d.shake(ctx, opts, newTrust(c, h, pin), newLink(raw, limit))
		}
		if err != nil {
			d.close()
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			return nil, err
		}
	}
	return d, nil
}

// reach opens the transport to a server, from here or from the server before it.
func (d *dialed) reach(ctx context.Context, h hop, limit time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer within %s", limit))
	defer cancel()
	var conn net.Conn
	var err error
	if d.client == nil {
		conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", h.addr())
	} else {
		conn, err = d.client.DialContext(ctx, "tcp", h.addr())
	}
	if err == nil {
		return conn, nil
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return nil, &drivers.Failure{
		Outcome: drivers.OutcomeRetryable, Code: "unreachable", Step: phaseDial, Err: fmt.Errorf("connect to %s: dial: %w", h.addr(), err),
		Remediation: "check host and port, and that a firewall lets the engine through",
	}
}

// shake makes an SSH connection of a transport.
func (d *dialed) shake(ctx context.Context, opts Options, t trust, l *link) error {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	methods, done, err := t.hop.credentials.methods(ctx, opts.AgentSocket, l.limit)
	if err != nil {
		l.enter("")
		_ = l.Close()
		return err
	}
	var refused error
	var key string
	conn, chans, reqs, err := ssh.NewClientConn(l, t.hop.addr(), &ssh.ClientConfig{
		User: t.hop.user, Auth: methods, HostKeyAlgorithms: t.algorithms(), ClientVersion: "SSH-2.0-Tenure",
		HostKeyCallback: func(addr string, remote net.Addr, k ssh.PublicKey) error {
			if key == "" { // later exchanges of this connection prove the same key, or the library ends them
				key = pinOf(k)
			}
			if refused = t.check(addr, remote, k); refused == nil {
				l.mu.Lock()
				first := l.phase != ""
				l.mu.Unlock()
				if first {
					l.enter(phaseAuth)
				}
			}
			return refused
		},
	})
	agentFailed := done()
	if err != nil {
		failure := l.failed(t.hop, err)
		l.enter("")
		_ = l.Close()
		return cmp.Or(refused, agentFailed, failure)
	}
	l.enter("")
	if d.client != nil {
		d.via = append(d.via, d.client)
	}
	d.client, d.link = ssh.NewClient(conn, chans, reqs), l
	d.keys = append(d.keys, key)
	return nil
}

// clip bounds foreign text in an error.
func clip(s string, most int) string {
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}

// errLinkLost says that the connection broke.
var errLinkLost = errors.New("the connection to the host is lost")

package sshtest

import (
	"context"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Proxy stands between a client and a server and breaks the link as networks do.
type Proxy struct {
	Port int

	ln      net.Listener
	target  string
	serving sync.WaitGroup

	mu     sync.Mutex
	conns  []net.Conn
	thaw   chan struct{} // open while nothing passes
	passed int64
	cutAt  int64
}

// StartProxy passes connections on to the server at target until t ends.
func StartProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &Proxy{Port: ln.Addr().(*net.TCPAddr).Port, ln: ln, target: target, thaw: make(chan struct{})}
	close(p.thaw)
	p.serving.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			p.serving.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		p.Thaw()
		p.Cut()
		p.serving.Wait()
	})
	return p
}

func (p *Proxy) serve(c net.Conn) {
	s, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", p.target)
	if err != nil {
		c.Close()
		return
	}
	p.mu.Lock()
	p.conns = append(p.conns, c, s)
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { p.copy(c, s) })
	both.Go(func() { p.copy(s, c) })
	both.Wait()
}

func (p *Proxy) copy(to, from net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		thaw := p.thaw
		p.passed += int64(n)
		cut := p.cutAt > 0 && p.passed >= p.cutAt
		if cut {
			p.cutAt = 0
		}
		p.mu.Unlock()
		<-thaw
		if cut {
			p.Cut()
		}
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	to.Close()
	from.Close()
}

// Freeze lets nothing pass, without a word to either side.
func (p *Proxy) Freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.thaw = make(chan struct{})
}

// Thaw lets everything pass again.
func (p *Proxy) Thaw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.thaw:
	default:
		close(p.thaw)
	}
}

// Cut resets every connection.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
	p.conns = nil
}

// CutAfter resets every connection once so many more bytes have passed, both ways together.
func (p *Proxy) CutAfter(bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cutAt = p.passed + bytes
}

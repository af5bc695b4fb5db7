package main

import (
	"context"
	"net"
	"sync"
	"time"
)

// deadFor is how long a link that carries nothing any more stays open at both ends.
const deadFor = 30 * time.Second

// gate is a way from one process to another, of bytes it does not understand, which can be broken in each way in which a network
// breaks: cut, refused, silent for a while, and silent for good on the links that were there.
type gate struct {
	listener net.Listener
	group    sync.WaitGroup

	mu                sync.Mutex
	network, upstream string
	refuse            bool
	// closed is not nil while nothing is carried; it ends when it is again.
	closed chan struct{}
	links  map[*link]bool
	over   bool
}

// link is one connection through a gate. dead ends when it shall never carry anything again, ended when it is over.
type link struct {
	client, server net.Conn
	dead, ended    chan struct{}
	die, end       sync.Once
}

// newGate opens a gate to an address, which may be said later.
func newGate(network, upstream string) (*gate, error) {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	g := &gate{listener: l, network: network, upstream: upstream, links: map[*link]bool{}}
	g.group.Go(g.serve)
	return g, nil
}

// port is where it is entered.
func (g *gate) port() int { return g.listener.Addr().(*net.TCPAddr).Port }

// lead makes new links go elsewhere.
func (g *gate) lead(network, upstream string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.network, g.upstream = network, upstream
}

// cut ends every link at once.
func (g *gate) cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for l := range g.links {
		l.finish()
	}
}

// refuseAll makes the other side unreachable, or reachable again.
func (g *gate) refuseAll(refuse bool) {
	g.mu.Lock()
	g.refuse = refuse
	g.mu.Unlock()
	if refuse {
		g.cut()
	}
}

// silence carries nothing until speak is called, and says so to nobody. What was sent meanwhile arrives then, however late, as
// from a network that repeats it; but not on links that are there now if they are to be lost, as behind a router that forgot them.
func (g *gate) silence(lose bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed == nil {
		g.closed = make(chan struct{})
	}
	if !lose {
		return
	}
	for l := range g.links {
		l.die.Do(func() {
			close(l.dead)
			time.AfterFunc(deadFor, l.finish)
		})
	}
}

// speak ends a silence.
func (g *gate) speak() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed != nil {
		close(g.closed)
		g.closed = nil
	}
}

// close ends the gate and waits for its links.
func (g *gate) close() {
	g.listener.Close()
	g.speak()
	g.mu.Lock()
	g.over = true
	g.mu.Unlock()
	g.cut()
	g.group.Wait()
}

func (g *gate) serve() {
	for {
		client, err := g.listener.Accept()
		if err != nil {
			return
		}
		g.group.Go(func() { g.carry(client) })
	}
}

// carry is the life of one link.
func (g *gate) carry(client net.Conn) {
	l := &link{client: client, dead: make(chan struct{}), ended: make(chan struct{})}
	defer l.finish()
	g.mu.Lock()
	if g.refuse || g.over {
		g.mu.Unlock()
		return
	}
	network, upstream := g.network, g.upstream
	g.mu.Unlock()
	server, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(context.Background(), network, upstream)
	if err != nil {
		return
	}
	l.server = server
	if !g.add(l) {
		return
	}
	defer g.remove(l)
	var pumps sync.WaitGroup
	pumps.Go(func() { g.pump(l, client, server) })
	pumps.Go(func() { g.pump(l, server, client) })
	pumps.Wait()
}

// add says false if the gate was closed meanwhile.
func (g *gate) add(l *link) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over || g.refuse {
		return false
	}
	g.links[l] = true
	return true
}

func (g *gate) remove(l *link) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.links, l)
}

// pump carries one direction until the link ends. The end of one side is the end of both.
func (g *gate) pump(l *link, from, to net.Conn) {
	defer l.finish()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if !g.passes(l) {
			return
		}
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// passes waits until the gate carries something; it says false if the link will not live to see that.
func (g *gate) passes(l *link) bool {
	for {
		select {
		case <-l.dead:
			<-l.ended
			return false
		case <-l.ended:
			return false
		default:
		}
		g.mu.Lock()
		closed := g.closed
		g.mu.Unlock()
		if closed == nil {
			return true
		}
		select {
		case <-closed:
		case <-l.dead:
		case <-l.ended:
		}
	}
}

func (l *link) finish() {
	l.end.Do(func() {
		close(l.ended)
		l.client.Close()
		if l.server != nil {
			l.server.Close()
		}
	})
}

package pgtest

import (
	"bufio"
	"context"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// Proxy stands before Postgres, knows where each message of the protocol begins, and spoils the link on demand.
type Proxy struct {
	network, upstream string
	listener          net.Listener

	mu      sync.Mutex
	links   map[*link]bool
	trap    *Trap
	swallow int
	refuse  bool
	silent  bool
	group   sync.WaitGroup
}

// NewProxy starts a proxy before the server of url; it returns the connection string that goes through it.
func NewProxy(t testing.TB, url string) (*Proxy, string) {
	t.Helper()
	dir := socketDir(t)
	return newProxy(t, url, dir), throughHost(url, dir)
}

// socketDir is a short path, as a socket needs, without the commas that a test's name may have.
func socketDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tenure-link-") //nolint:usetesting // see above
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func newProxy(t testing.TB, url, dir string) *Proxy {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	require.NoError(t, err)
	p := &Proxy{links: map[*link]bool{}}
	p.network, p.upstream = networkAddress(config)
	// A socket in a directory, named as libpq names it, keeps the rest of the connection string as it is.
	p.listener, err = (&net.ListenConfig{}).Listen(context.Background(), "unix", dir+"/.s.PGSQL.5432")
	require.NoError(t, err)
	p.group.Go(p.serve)
	t.Cleanup(func() {
		p.listener.Close()
		p.Cut()
		p.group.Wait()
	})
	return p
}

func networkAddress(c *pgx.ConnConfig) (network, address string) {
	port := strconv.Itoa(int(c.Port))
	if strings.HasPrefix(c.Host, "/") {
		return "unix", c.Host + "/.s.PGSQL." + port
	}
	return "tcp", net.JoinHostPort(c.Host, port)
}

// throughHost replaces the host; of two equal keywords the later one counts.
func throughHost(url, dir string) string {
	if strings.Contains(url, "://") {
		return url + "&host=" + dir + "&port=5432"
	}
	return url + " host=" + dir + " port=5432"
}

// SwallowReplies lets the next n messages of the server vanish and cuts each link on which it happened: what the client
// had sent arrives and is done, and nobody hears of it.
func (p *Proxy) SwallowReplies(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.swallow = n
}

// Swallowed reports whether all replies that were to vanish did.
func (p *Proxy) Swallowed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.swallow == 0
}

// Refuse makes the server unreachable, or reachable again.
func (p *Proxy) Refuse(refuse bool) {
	p.mu.Lock()
	p.refuse = refuse
	p.mu.Unlock()
	if refuse {
		p.Cut()
	}
}

// Silence makes the server take everything and answer nothing, as a network does that drops every packet, until it is called
// with false. Links that were there then carry nothing any more, now or later, and neither end learns of it.
func (p *Proxy) Silence(silent bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.silent = silent
	for l := range p.links {
		l.kill()
	}
}

// Cut ends every link.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.cut()
	}
}

// Set sets a trap in the place of the one before.
func (p *Proxy) Set(t *Trap) *Trap {
	p.mu.Lock()
	defer p.mu.Unlock()
	t.sprung = make(chan struct{})
	p.trap = t
	return t
}

func (p *Proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.group.Go(func() { p.serveLink(client) })
	}
}

func (p *Proxy) serveLink(client net.Conn) {
	defer client.Close()
	p.mu.Lock()
	refuse, silent := p.refuse, p.silent
	p.mu.Unlock()
	switch {
	case refuse:
		return
	case silent:
		p.hold(client)
		return
	}
	server, err := (&net.Dialer{}).DialContext(context.Background(), p.network, p.upstream)
	if err != nil {
		return
	}
	l := newLink(p, client, server)
	defer p.add(l)()
	p.group.Go(func() { l.pump(FromClient) })
	l.pump(FromServer)
}

// hold takes what a client says until the client gives up.
func (p *Proxy) hold(client net.Conn) {
	defer p.add(newLink(p, client, client))()
	_, _ = io.Copy(io.Discard, client)
}

// add counts a link as there; what it returns takes it off again.
func (p *Proxy) add(l *link) (remove func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.links[l] = true
	if p.silent {
		l.kill()
	}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.links, l)
	}
}

// link is one connection of a client and the one to the server that belongs to it.
type link struct {
	proxy          *Proxy
	client, server net.Conn
	endOnce        sync.Once
	ended          chan struct{}
	// dead is closed when the link carries nothing any more although both ends are open.
	deadOnce sync.Once
	dead     chan struct{}

	// Guarded by the proxy's lock: the statements that the client named, and how many messages of each side came since the
	// trap was set.
	statements strings.Builder
	trap       *Trap
	count      [2]int
}

func newLink(p *Proxy, client, server net.Conn) *link {
	return &link{proxy: p, client: client, server: server, ended: make(chan struct{}), dead: make(chan struct{})}
}

func (l *link) cut() {
	l.endOnce.Do(func() {
		close(l.ended)
		l.client.Close()
		l.server.Close()
	})
}

// kill lets both ends stand and carries nothing between them, as a network does that drops everything.
func (l *link) kill() { l.deadOnce.Do(func() { close(l.dead) }) }

// pump carries messages of one side until the link ends. A link that is dead ends with the proxy only: neither end learns
// that the other one is gone.
func (l *link) pump(from Side) {
	src, dst := l.client, l.server
	if from == FromServer {
		src, dst = dst, src
	}
	r := bufio.NewReaderSize(src, 64<<10)
	l.carry(from, r, dst)
	select {
	case <-l.dead:
		<-l.ended
	default:
		l.cut()
	}
}

// carry returns when there is no more to carry.
func (l *link) carry(from Side, r *bufio.Reader, dst io.Writer) {
	if from == FromClient && l.pass(r, dst, nil) != nil {
		return // only the first message has no type
	}
	for {
		kind, err := r.ReadByte()
		if err != nil || l.pass(r, dst, &header{from: from, kind: kind}) != nil {
			return
		}
	}
}

package pgtest

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// Proxy stands before Postgres and spoils the link on demand.
type Proxy struct {
	network, upstream string
	listener          net.Listener

	mu      sync.Mutex
	conns   map[net.Conn]bool
	swallow int
	refuse  bool
	group   sync.WaitGroup
}

// NewProxy starts a proxy before the server of url; it returns the connection string that goes through it.
func NewProxy(t testing.TB, url string) (*Proxy, string) {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	require.NoError(t, err)
	p := &Proxy{conns: map[net.Conn]bool{}}
	p.network, p.upstream = pgxNetworkAddress(config)
	// A socket in a directory, named as libpq names it, keeps the rest of the connection string as it is.
	dir := t.TempDir()
	p.listener, err = (&net.ListenConfig{}).Listen(context.Background(), "unix", dir+"/.s.PGSQL.5432")
	require.NoError(t, err)
	p.group.Go(p.serve)
	t.Cleanup(func() {
		p.listener.Close()
		p.Cut()
		p.group.Wait()
	})
	return p, throughHost(url, dir)
}

func pgxNetworkAddress(c *pgx.ConnConfig) (network, address string) {
	if strings.HasPrefix(c.Host, "/") {
		return "unix", c.Host + "/.s.PGSQL.5432"
	}
	return "tcp", net.JoinHostPort(c.Host, "5432")
}

// throughHost replaces the host; of two equal keywords the later one counts.
func throughHost(url, dir string) string {
	if strings.Contains(url, "://") {
		return url + "&host=" + dir + "&port=5432"
	}
	return url + " host=" + dir + " port=5432"
}

// SwallowReplies lets the next n writes of the server vanish and cuts each link on which it happened: what the client had
// sent arrives and is done, and nobody hears of it.
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

// Cut ends every link.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

func (p *Proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.group.Go(func() { p.link(client) })
	}
}

func (p *Proxy) link(client net.Conn) {
	defer client.Close()
	p.mu.Lock()
	refuse := p.refuse
	p.mu.Unlock()
	if refuse {
		return
	}
	server, err := (&net.Dialer{}).DialContext(context.Background(), p.network, p.upstream)
	if err != nil {
		return
	}
	defer server.Close()
	p.mu.Lock()
	p.conns[client], p.conns[server] = true, true
	p.mu.Unlock()
	p.group.Go(func() {
		_, _ = io.Copy(server, client)
		server.Close()
	})
	buf := make([]byte, 64<<10)
	for {
		n, err := server.Read(buf)
		if n > 0 && p.take() {
			break
		}
		if n > 0 {
			if _, err := client.Write(buf[:n]); err != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	p.mu.Lock()
	delete(p.conns, client)
	delete(p.conns, server)
	p.mu.Unlock()
}

// take reports whether this reply is to vanish.
func (p *Proxy) take() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.swallow == 0 {
		return false
	}
	p.swallow--
	return true
}

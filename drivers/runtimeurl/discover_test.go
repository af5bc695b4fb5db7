package runtimeurl_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tenure-dev/tenure/drivers/runtimeurl"
)

// resolver is a name service: names to addresses.
type resolver map[string][]string

func (r resolver) resolve(_ context.Context, host string) ([]netip.Addr, error) {
	var addrs []netip.Addr
	for _, a := range r[host] {
		addrs = append(addrs, netip.MustParseAddr(a))
	}
	if len(addrs) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return addrs, nil
}

// network is what a runtime sees: addresses with a port to the servers behind them. It has a dialer, and no program at all.
type network struct {
	*shell
	reach map[string]string

	mu     sync.Mutex
	dialed []string
}

func newNetwork(t *testing.T, reach map[string]string) *network {
	t.Helper()
	return &network{shell: newShell(t, "dash"), reach: reach}
}

// seen are the addresses that were dialed.
func (n *network) seen() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.dialed)
}

func (n *network) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	n.mu.Lock()
	n.dialed = append(n.dialed, addr)
	n.mu.Unlock()
	to, ok := n.reach[addr]
	if !ok {
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	}
	return (&net.Dialer{}).DialContext(ctx, network, to)
}

// interfacesOf a machine with loopback, link-local and two addresses of its own.
func interfacesOf(list ...string) func() ([]net.Addr, error) {
	return func() ([]net.Addr, error) {
		var addrs []net.Addr
		for _, cidr := range list {
			ip, ipnet, err := net.ParseCIDR(cidr)
			if err != nil {
				return nil, err
			}
			addrs = append(addrs, &net.IPNet{IP: ip, Mask: ipnet.Mask})
		}
		return addrs, nil
	}
}

// The matrix of case A30.
func TestARuntimeGetsAURLThatItReaches(t *testing.T) {
	t.Parallel()
	plain := httptest.NewServer(http.HandlerFunc(healthy))
	t.Cleanup(plain.Close)
	secure := httptest.NewTLSServer(http.HandlerFunc(healthy))
	t.Cleanup(secure.Close)
	roots := x509.NewCertPool()
	roots.AddCert(secure.Certificate())

	const unset, noPort, noWay, ownPort = "", "https://example.com", "https://gone.example.com", "https://example.com:8443/base"
	remoteOnly := map[string]string{unset: "", noPort: noPort, noWay: "", ownPort: ""}
	byInterface := map[string]string{unset: "http://192.0.2.5:3100", noPort: noPort, noWay: "http://192.0.2.5:3100", ownPort: "http://192.0.2.5:3100"}
	for _, row := range []struct {
		bind   string
		local  string
		remote map[string]string
	}{
		{"127.0.0.1:3100", "http://127.0.0.1:3100", remoteOnly},
		{"[::1]:3100", "http://[::1]:3100", remoteOnly},
		{"localhost:3100", "http://localhost:3100", remoteOnly},
		{"0.0.0.0:3100", "http://127.0.0.1:3100", byInterface},
		{"[::]:3100", "http://[::1]:3100", byInterface},
		{":3100", "http://127.0.0.1:3100", byInterface},
		{"192.0.2.5:3100", "http://192.0.2.5:3100", byInterface},
	} {
		for _, public := range []string{unset, noPort, noWay, ownPort} {
			for _, local := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s public=%s local=%v", row.bind, public, local), func(t *testing.T) {
					t.Parallel()
					d := newDiscoverer(t, func(o *runtimeurl.Options) {
						o.Listen, o.PublicURL, o.RootCAs = row.bind, public, roots
						o.AllowedHosts = []string{"example.com", "gone.example.com"}
						o.Interfaces = interfacesOf("127.0.0.1/8", "::1/128", "169.254.7.7/16", "fe80::1/64", "2001:db8::5/64", "192.0.2.5/24")
						o.Resolve = resolver{
							"example.com": {"203.0.113.9"}, "gone.example.com": {"203.0.113.10"}, "localhost": {"127.0.0.1", "::1"},
						}.resolve
					})
					at := plain.Listener.Addr().String()
					reach := map[string]string{"203.0.113.9:443": secure.Listener.Addr().String()}
					want := row.remote[public]
					switch {
					case local:
						want = row.local
						// Everything answers, so that only the order decides.
						for _, addr := range []string{"127.0.0.1:3100", "[::1]:3100", "192.0.2.5:3100"} {
							reach[addr] = at
						}
						require.Equal(t, row.local, d.Loopback())
					case !strings.HasPrefix(row.bind, "127.") && !strings.HasPrefix(row.bind, "[::1]") && !strings.HasPrefix(row.bind, "localhost"):
						reach["192.0.2.5:3100"] = at
					}
					n := newNetwork(t, reach)
					got := d.Discover(t.Context(), n, runtimeurl.Query{Local: local})
					require.Equal(t, want, got.URL, "%s", got)
					for _, o := range got.Tried {
						require.NotContains(t, o.URL, "0.0.0.0")
						require.NotContains(t, o.URL, "[::]")
						if host, ok := strings.CutPrefix(public, "https://"); ok {
							host, _, _ = strings.Cut(host, ":")
							require.NotEqual(t, "http://"+host+":3100", o.URL, "a public name at the local port")
						}
						if !local {
							require.NotContains(t, o.URL, "127.0.0.1")
							require.NotContains(t, o.URL, "169.254.")
							require.NotContains(t, o.URL, "fe80")
						}
					}
					if public == noWay && want == "" {
						require.Contains(t, got.String(), "https://gone.example.com: refused")
					}
				})
			}
		}
	}
}

func TestCandidatesComeInOrderAndOnce(t *testing.T) {
	t.Parallel()
	d := newDiscoverer(t, func(o *runtimeurl.Options) {
		o.EnvJSON = `["http://10.0.0.1:1/", "http://10.0.0.2"]`
		o.Listen, o.PublicURL = "0.0.0.0:3100", "https://10.0.0.4/tenure/"
		o.AllowedHosts = []string{"10.0.0.5", "10.0.0.6:81", "https://10.0.0.7", "10.0.0.3"}
		o.Interfaces = interfacesOf("2001:db8::1/64", "10.0.0.8/8", "10.0.0.5/8")
	})
	got := d.Discover(t.Context(), newNetwork(t, nil), runtimeurl.Query{Configured: []string{
		"http://10.0.0.2:80x", "http://10.0.0.3:3100", "http://10.0.0.1:1",
	}})
	want := []runtimeurl.Outcome{
		{URL: "http://10.0.0.1:1", Source: runtimeurl.SourceEnv, Status: runtimeurl.StatusRefused},
		{URL: "http://10.0.0.2", Source: runtimeurl.SourceEnv, Status: runtimeurl.StatusRefused},
		{Source: runtimeurl.SourceConfigured, Status: runtimeurl.StatusInvalid, Detail: "is not a URL"},
		{URL: "http://10.0.0.3:3100", Source: runtimeurl.SourceConfigured, Status: runtimeurl.StatusRefused},
		{URL: "https://10.0.0.4/tenure", Source: runtimeurl.SourcePublicURL, Status: runtimeurl.StatusRefused},
		{URL: "http://10.0.0.5:3100", Source: runtimeurl.SourceDerived, Status: runtimeurl.StatusRefused},
		{URL: "http://10.0.0.6:81", Source: runtimeurl.SourceDerived, Status: runtimeurl.StatusRefused},
		{URL: "https://10.0.0.7", Source: runtimeurl.SourceDerived, Status: runtimeurl.StatusRefused},
		{URL: "http://10.0.0.8:3100", Source: runtimeurl.SourceDerived, Status: runtimeurl.StatusRefused},
	}
	require.Equal(t, want, got.Tried)
}

func TestWhatIsDerivedForARemoteRuntimeNamesNoAddressOfItsOwn(t *testing.T) {
	t.Parallel()
	hosts := []string{"localhost", "api.localhost:80", "127.0.0.1", "[::1]:81", "169.254.1.1", "http://0.0.0.0:82", "10.0.0.9"}
	for bind, want := range map[string][]string{
		"0.0.0.0:3100":     {"http://10.0.0.9:3100", "http://10.0.0.8:3100"},
		"169.254.3.3:3100": {"http://10.0.0.9:3100"},
		"127.0.0.1:3100":   nil,
	} {
		d := newDiscoverer(t, func(o *runtimeurl.Options) {
			o.Listen, o.PublicURL, o.AllowedHosts = bind, "http://localhost:3100", hosts
			o.Interfaces = interfacesOf("127.0.0.1/8", "169.254.7.7/16", "10.0.0.8/8")
		})
		var got []string
		for _, o := range d.Discover(t.Context(), newNetwork(t, nil), runtimeurl.Query{}).Tried {
			got = append(got, o.URL)
		}
		require.Equal(t, want, got, bind)
	}
}

func TestWhoIsRefusedIsTriedAgain(t *testing.T) {
	t.Parallel()
	good := newAPI(t, healthy)
	n := &lateNetwork{network: newNetwork(t, map[string]string{"10.0.0.1:80": good.Listener.Addr().String()})}
	got := newDiscoverer(t, nil).Discover(t.Context(), n, runtimeurl.Query{Configured: []string{"http://10.0.0.1"}})
	require.Equal(t, "http://10.0.0.1", got.URL, "%s", got)
	require.EqualValues(t, 3, n.calls.Load())
}

// lateNetwork refuses the first two connections, as a server does that starts.
type lateNetwork struct {
	*network
	calls atomic.Int64
}

func (n *lateNetwork) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	if n.calls.Add(1) < 3 {
		return nil, syscall.ECONNREFUSED
	}
	return n.network.DialContext(ctx, network, addr)
}

func TestTheBudgetBoundsEverything(t *testing.T) {
	t.Parallel()
	d := newDiscoverer(t, func(o *runtimeurl.Options) { o.Budget, o.PerTry = 300*time.Millisecond, 200*time.Millisecond })
	begin := time.Now()
	got := d.Discover(t.Context(), deaf{}, runtimeurl.Query{Configured: []string{"http://10.0.0.1", "http://10.0.0.2"}})
	require.Empty(t, got.URL)
	require.Less(t, time.Since(begin), time.Minute)
	require.Equal(t, []runtimeurl.Status{runtimeurl.StatusNotTried, runtimeurl.StatusNotTried}, statuses(got))
	require.Contains(t, got.String(), "budget")
}

// deaf is a runtime in which nothing ever ends.
type deaf struct{}

func (deaf) RunScript(ctx context.Context, _ string, _ []byte) ([]byte, error) {
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

func TestOneThatNeverAnswersLeavesTimeForThoseBehindIt(t *testing.T) {
	t.Parallel()
	good := newAPI(t, healthy)
	n := &silentNetwork{network: newNetwork(t, map[string]string{"10.0.0.4:80": good.Listener.Addr().String()})}
	d := newDiscoverer(t, func(o *runtimeurl.Options) { o.Budget, o.PerTry = 10*time.Second, 8*time.Second })
	got := d.Discover(t.Context(), n, runtimeurl.Query{Configured: []string{"http://10.0.0.1", "http://10.0.0.2", "http://10.0.0.4"}})
	require.Equal(t, "http://10.0.0.4", got.URL, "%s", got)
	require.Equal(t, []runtimeurl.Status{runtimeurl.StatusTimeout, runtimeurl.StatusTimeout, runtimeurl.StatusAnswered}, statuses(got))
}

func TestOneThatNeverAnswersIsTriedOnceMore(t *testing.T) {
	t.Parallel()
	n := &silentNetwork{network: newNetwork(t, nil)}
	d := newDiscoverer(t, func(o *runtimeurl.Options) { o.Budget, o.PerTry = time.Minute, 50*time.Millisecond })
	got := d.Discover(t.Context(), n, runtimeurl.Query{Configured: []string{"http://10.0.0.1"}})
	require.Equal(t, []runtimeurl.Status{runtimeurl.StatusTimeout}, statuses(got), "%s", got)
	require.Len(t, n.seen(), 2)
}

// silentNetwork drops what goes to where nobody is.
type silentNetwork struct{ *network }

func (n *silentNetwork) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := n.network.DialContext(ctx, network, addr)
	if err != nil {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	return conn, nil
}

func TestADialerThatMayNotDialLeavesItToTheScript(t *testing.T) {
	t.Parallel()
	good := newAPI(t, healthy)
	r := forbidden{newShell(t, "dash", "curl", "head")}
	got := newDiscoverer(t, nil).Discover(t.Context(), r, runtimeurl.Query{Configured: []string{good.URL}})
	require.Equal(t, good.URL, got.URL, "%s", got)
	r = forbidden{newShell(t, "dash")}
	got = newDiscoverer(t, nil).Discover(t.Context(), r, runtimeurl.Query{Configured: []string{good.URL}})
	require.Contains(t, got.String(), "administratively prohibited")
}

type forbidden struct{ *shell }

func (forbidden) DialContext(context.Context, string, string) (net.Conn, error) {
	return nil, errors.New("ssh: rejected: administratively prohibited (open failed)")
}

func TestOverADialerTheSameRulesHold(t *testing.T) {
	t.Parallel()
	far := newAPI(t, healthy)
	away := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, far.URL+"/api/health", http.StatusFound)
	})
	var written atomic.Int64
	huge := newAPI(t, func(w http.ResponseWriter, _ *http.Request) {
		block := []byte(strings.Repeat("x", 1<<16))
		for written.Load() < 1<<30 {
			n, err := w.Write(block)
			written.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
	silent := newAPI(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	other := httptest.NewUnstartedServer(http.HandlerFunc(healthy))
	other.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	other.StartTLS()
	t.Cleanup(other.Close)
	n := newNetwork(t, map[string]string{
		"10.0.0.1:80": away.Listener.Addr().String(), "10.0.0.2:80": huge.Listener.Addr().String(),
		"10.0.0.3:80": silent.Listener.Addr().String(), "10.0.0.4:443": other.Listener.Addr().String(),
	})
	d := newDiscoverer(t, func(o *runtimeurl.Options) { o.PerTry = 3 * time.Second })
	got := d.Discover(t.Context(), n, runtimeurl.Query{Configured: []string{
		"http://10.0.0.1", "http://10.0.0.2", "http://10.0.0.3", "https://10.0.0.4",
	}})
	require.Equal(t, []runtimeurl.Status{
		runtimeurl.StatusWrongStatus, runtimeurl.StatusNotOurs, runtimeurl.StatusTimeout, runtimeurl.StatusUnreachable,
	}, statuses(got), "%s", got)
	require.Zero(t, far.hits.Load())
	require.Less(t, written.Load(), int64(64<<20))
	require.Contains(t, got.Tried[3].Detail, "certificate")
}

func TestTheTableOfAllowedAndDenied(t *testing.T) {
	t.Parallel()
	names := resolver{
		"metadata.google.internal": {"169.254.169.254"}, "rebind.example.com": {"203.0.113.9", "169.254.169.254"},
		"ok.example.com": {"203.0.113.9"}, "bad.example.com": {"203.0.113.9"}, "mapped.example.com": {"::ffff:169.254.169.254"},
		"loop.example.com": {"127.0.0.1"},
	}
	for _, row := range []struct {
		url         string
		allow, deny []string
		want        runtimeurl.Status
	}{
		{url: "http://169.254.169.254", want: runtimeurl.StatusDenied},
		{url: "http://169.254.169.254", allow: []string{"169.254.0.0/16"}, want: runtimeurl.StatusDenied},
		{url: "http://169.254.169.254", allow: []string{"169.254.169.254"}, want: runtimeurl.StatusRefused},
		{url: "http://169.254.169.254", allow: []string{"169.254.169.254"}, deny: []string{"169.254.169.254"}, want: runtimeurl.StatusDenied},
		{url: "http://[fd00:ec2::254]", want: runtimeurl.StatusDenied},
		{url: "http://100.100.100.200", want: runtimeurl.StatusDenied},
		{url: "http://[::ffff:169.254.169.254]", want: runtimeurl.StatusDenied},
		{url: "http://[64:ff9b::169.254.169.254]", want: runtimeurl.StatusDenied},
		{url: "http://[2002:a9fe:a9fe::1]", want: runtimeurl.StatusDenied},
		{url: "http://2852039166", want: runtimeurl.StatusInvalid},
		{url: "http://0xa9fea9fe", want: runtimeurl.StatusInvalid},
		{url: "http://169.254.43518", want: runtimeurl.StatusInvalid},
		{url: "http://0251.0376.0251.0376", want: runtimeurl.StatusInvalid},
		{url: "http://metadata.google.internal.", want: runtimeurl.StatusInvalid},
		{url: "http://METADATA.google.internal", want: runtimeurl.StatusDenied},
		{url: "http://metadata.google.internal", allow: []string{"metadata.google.internal"}, want: runtimeurl.StatusDenied},
		{url: "http://metadata.google.internal", allow: []string{"metadata.google.internal", "169.254.169.254"}, want: runtimeurl.StatusRefused},
		{url: "http://rebind.example.com", want: runtimeurl.StatusDenied},
		{url: "http://mapped.example.com", want: runtimeurl.StatusDenied},
		{url: "http://169.254.1.1", want: runtimeurl.StatusDenied},
		{url: "http://169.254.1.1", allow: []string{"169.254.1.0/24"}, want: runtimeurl.StatusRefused},
		{url: "http://[fe80::1]", want: runtimeurl.StatusDenied},
		{url: "http://[fe80::1%25eth0]", want: runtimeurl.StatusInvalid},
		{url: "http://0.0.0.0:3100", allow: []string{"0.0.0.0", "0.0.0.0/0"}, want: runtimeurl.StatusDenied},
		{url: "http://0.1.2.3:3100", want: runtimeurl.StatusDenied},
		{url: "http://[::]:3100", allow: []string{"::"}, want: runtimeurl.StatusDenied},
		{url: "http://[::ffff:0.0.0.0]:3100", want: runtimeurl.StatusDenied},
		{url: "http://224.0.0.1", want: runtimeurl.StatusDenied},
		{url: "http://255.255.255.255", want: runtimeurl.StatusDenied},
		{url: "http://10.1.2.3", want: runtimeurl.StatusRefused},
		{url: "http://10.1.2.3", deny: []string{"10.0.0.0/8"}, want: runtimeurl.StatusDenied},
		{url: "http://10.1.2.3", deny: []string{"10.0.0.0/8"}, allow: []string{"10.1.0.0/16"}, want: runtimeurl.StatusRefused},
		{url: "http://10.1.2.3", deny: []string{"10.1.0.0/16"}, allow: []string{"10.0.0.0/8"}, want: runtimeurl.StatusDenied},
		{url: "http://bad.example.com", deny: []string{"*.example.com"}, want: runtimeurl.StatusDenied},
		{url: "http://ok.example.com", deny: []string{"*.example.com"}, allow: []string{"ok.example.com"}, want: runtimeurl.StatusRefused},
		{url: "http://ok.example.com", deny: []string{"*.example.com", "203.0.113.9"}, allow: []string{"ok.example.com"}, want: runtimeurl.StatusDenied},
		{url: "http://loop.example.com", want: runtimeurl.StatusRefused}, // written down: a tunnel may end there
		{url: "http://nobody.example.com", want: runtimeurl.StatusUnresolved},
		{url: "http://nobody.example.com", allow: []string{"nobody.example.com"}, want: runtimeurl.StatusRefused},
	} {
		t.Run(fmt.Sprint(row.url, row.allow, row.deny), func(t *testing.T) {
			t.Parallel()
			d := newDiscoverer(t, func(o *runtimeurl.Options) { o.Allow, o.Deny, o.Resolve = row.allow, row.deny, names.resolve })
			n := newNetwork(t, nil)
			got := d.Discover(t.Context(), n, runtimeurl.Query{Configured: []string{row.url}})
			require.Equal(t, []runtimeurl.Status{row.want}, statuses(got), "%s", got)
			require.Equal(t, row.want == runtimeurl.StatusRefused, len(n.seen()) > 0, "dialed %v", n.seen())
		})
	}
}

func TestAPublicNameThatLeadsToTheRuntimeItselfIsNotTried(t *testing.T) {
	t.Parallel()
	d := newDiscoverer(t, func(o *runtimeurl.Options) {
		o.PublicURL, o.Resolve = "http://here.example.com", resolver{"here.example.com": {"127.0.1.1"}}.resolve
	})
	n := newNetwork(t, nil)
	got := d.Discover(t.Context(), n, runtimeurl.Query{})
	require.Equal(t, []runtimeurl.Status{runtimeurl.StatusDenied}, statuses(got), "%s", got)
	require.Empty(t, n.seen())
}

// ward is a set of servers on loopback addresses that count who comes, and may send away to each other.
type ward struct {
	port int

	mu    sync.Mutex
	hits  map[string]int
	hosts map[string]int
	away  map[string]string
}

func newWard(t *testing.T) *ward {
	t.Helper()
	w := &ward{}
	l, err := net.Listen("tcp", "0.0.0.0:0")
	require.NoError(t, err)
	w.port = l.Addr().(*net.TCPAddr).Port
	server := httptest.NewUnstartedServer(w)
	server.Listener.Close()
	server.Listener = l
	server.Start()
	t.Cleanup(server.Close)
	return w
}

func (w *ward) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	local := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr).IP.String()
	host, _, err := net.SplitHostPort(r.Host)
	w.mu.Lock()
	w.hits[local]++
	if err == nil {
		w.hosts[host]++
	}
	to, ok := w.away[local]
	w.mu.Unlock()
	if ok {
		http.Redirect(rw, r, "http://"+net.JoinHostPort(to, strconv.Itoa(w.port))+"/api/health", http.StatusFound)
		return
	}
	http.NotFound(rw, r) // nobody ends the search
}

func TestNothingDeniedIsEverContacted(t *testing.T) {
	t.Parallel()
	w := newWard(t)
	busybox, dialing := newShell(t, "dash", "busybox:wget", "head", "sleep"), direct{newShell(t, "dash")}
	runners := []runtimeurl.Runner{
		newShell(t, "dash", "curl", "head", "sleep"), newShell(t, "dash", "wget", "head", "sleep"), newShell(t, "dash", "bash", "sleep"),
		busybox, dialing, dialing, dialing, dialing, // which is much faster
	}
	rapid.Check(t, func(rt *rapid.T) {
		addr := rapid.Map(rapid.IntRange(1, 6), func(n int) string { return fmt.Sprintf("127.0.0.%d", n) })
		name := rapid.Map(rapid.IntRange(1, 4), func(n int) string { return fmt.Sprintf("n%d.example.com", n) })
		rule := rapid.OneOf(addr, name, rapid.SampledFrom([]string{"127.0.0.0/30", "127.0.0.4/31", "127.0.0.0/8", "*.example.com", "*.com"}))
		allow, deny := rapid.SliceOfN(rule, 0, 3).Draw(rt, "allow"), rapid.SliceOfN(rule, 0, 3).Draw(rt, "deny")
		names := resolver{}
		for i := 1; i <= 4; i++ {
			names[fmt.Sprintf("n%d.example.com", i)] = rapid.SliceOfN(addr, 1, 2).Draw(rt, "addresses")
		}
		hosts := rapid.SliceOfN(rapid.OneOf(addr, name), 1, 4).Draw(rt, "candidates")
		away := rapid.MapOfN(addr, addr, 0, 3).Draw(rt, "redirects")
		runner := rapid.SampledFrom(runners).Draw(rt, "runner")

		w.mu.Lock()
		w.hits, w.hosts, w.away = map[string]int{}, map[string]int{}, away
		w.mu.Unlock()
		d := newDiscoverer(t, func(o *runtimeurl.Options) { o.Allow, o.Deny, o.Resolve = allow, deny, names.resolve })
		var urls []string
		for _, h := range hosts {
			urls = append(urls, fmt.Sprintf("http://%s:%d", h, w.port))
		}
		got := d.Discover(t.Context(), runner, runtimeurl.Query{Configured: urls})

		w.mu.Lock()
		defer w.mu.Unlock()
		for a := range w.hits {
			if ruled(allow, a) < ruled(deny, a) || ruled(deny, a) > 0 && ruled(allow, a) == ruled(deny, a) {
				rt.Fatalf("%s was contacted; allow %v, deny %v: %s", a, allow, deny, got)
			}
		}
		for h := range w.hosts {
			if runner == busybox && slices.Contains(slices.Collect(maps.Values(away)), h) {
				continue // it asks the same address for what a redirect names
			}
			if ruled(allow, h) < ruled(deny, h) || ruled(deny, h) > 0 && ruled(allow, h) == ruled(deny, h) {
				rt.Fatalf("%s was asked for; allow %v, deny %v: %s", h, allow, deny, got)
			}
		}
		for _, o := range got.Tried {
			if o.Status == runtimeurl.StatusDenied {
				continue
			}
			if o.Status != runtimeurl.StatusWrongStatus {
				rt.Fatalf("what is allowed was not tried: %s", got)
			}
		}
	})
}

// direct is a runtime in the test's own network, without any program.
type direct struct{ *shell }

func (direct) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, network, addr)
}

// ruled is how specifically the rules speak of an address or name, written apart from the code under test: the rules above
// are nested, so that their rank is known.
func ruled(rules []string, what string) int {
	rank := 0
	for _, r := range rules {
		switch {
		case r == what:
			rank = max(rank, 9)
		case r == "127.0.0.0/8" && strings.HasPrefix(what, "127."), r == "*.com" && strings.HasSuffix(what, ".com"):
			rank = max(rank, 1)
		case r == "127.0.0.0/30" && strings.Contains(" 127.0.0.1 127.0.0.2 127.0.0.3 ", " "+what+" "),
			r == "*.example.com" && strings.HasSuffix(what, ".example.com"):
			rank = max(rank, 2)
		case r == "127.0.0.4/31" && strings.Contains(" 127.0.0.4 127.0.0.5 ", " "+what+" "):
			rank = max(rank, 3)
		}
	}
	return rank
}

func TestOptionsNameWhatIsAtFault(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		change func(*runtimeurl.Options)
		want   string
	}{
		{func(o *runtimeurl.Options) { o.EnvJSON = `{"a":1}` }, "PAPERCLIP_RUNTIME_API_CANDIDATES_JSON: is not a JSON array of URLs"},
		{func(o *runtimeurl.Options) { o.EnvJSON = `["http://a", 3]` }, "PAPERCLIP_RUNTIME_API_CANDIDATES_JSON"},
		{func(o *runtimeurl.Options) { o.EnvJSON = `["http://a", "ftp://b"]` }, "entry 1: is not a URL that begins with"},
		{func(o *runtimeurl.Options) { o.EnvJSON = `["http://user:hunter2@a"]` }, "entry 0: must not hold a user or password"},
		{func(o *runtimeurl.Options) { o.Listen = "127.0.0.1" }, "option Listen"},
		{func(o *runtimeurl.Options) { o.Listen = "127.0.0.1:0" }, "option Listen"},
		{func(o *runtimeurl.Options) { o.PublicURL = "example.com" }, "option PublicURL"},
		{func(o *runtimeurl.Options) { o.AllowedHosts = []string{"a", "a b"} }, "option AllowedHosts[1]"},
		{func(o *runtimeurl.Options) { o.Deny = []string{"10.0.0.0/33"} }, `Deny: "10.0.0.0/33"`},
	} {
		o := runtimeurl.Options{Listen: "127.0.0.1:3100"}
		row.change(&o)
		_, err := runtimeurl.New(o)
		require.ErrorContains(t, err, row.want)
		require.NotContains(t, err.Error(), "hunter2")
	}
}

func FuzzAURLThatIsTakenHasNoCharacterToRun(f *testing.F) {
	for _, seed := range []string{"http://a", "https://[::1]:3/x/~y", "http://a/$(x)", "http://a\n", "HTTP://A:80/", "http://a/%24"} {
		f.Add(seed)
	}
	d, err := runtimeurl.New(runtimeurl.Options{Listen: "127.0.0.1:1", Deny: []string{"0.0.0.0/0", "::/0"}, Resolve: resolver{}.resolve})
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, raw string) {
		r := &recorder{}
		got := d.Discover(t.Context(), r, runtimeurl.Query{Configured: []string{raw}})
		require.NotEmpty(t, got.Tried)
		if u := got.Tried[0].URL; strings.Trim(u, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._~-/:[]") != "" {
			t.Fatalf("%q became %q", raw, u)
		}
		for _, o := range got.Tried {
			require.NoError(t, runtimeurl.CheckURL(o.URL+strings.Repeat("http://a", btoi(o.URL == ""))))
		}
	})
}

type recorder struct{}

func (*recorder) RunScript(context.Context, string, []byte) ([]byte, error) { return nil, nil }

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

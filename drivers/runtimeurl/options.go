package runtimeurl

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// EnvCandidates is the variable whose JSON array of URLs comes before all other candidates.
const EnvCandidates = "PAPERCLIP_RUNTIME_API_CANDIDATES_JSON"

// Options say what the server knows of the ways to itself.
type Options struct {
	// EnvJSON is the value of [EnvCandidates]; "" for none.
	EnvJSON string
	// Listen is the address that the server listens on, with the port that it got: "127.0.0.1:3100", "[::]:3100", ":3100".
	Listen string
	// PublicURL is the server's base URL for others, taken as written; "" for none.
	PublicURL string
	// AllowedHosts are further hosts by which the server is reached: "host" (at the local port), "host:port", or a URL.
	AllowedHosts []string
	// Interfaces lists the machine's addresses; nil is [net.InterfaceAddrs].
	Interfaces func() ([]net.Addr, error)

	// Allow and Deny decide who may be tried, by name ("api.example.org", "*.example.org"), address or prefix
	// ("10.0.0.0/8"). Where both match, the more specific wins, and Deny of two equals. What neither matches may be tried,
	// except:
	//   - the metadata services of clouds, by address or name: only if Allow holds that very address or name, and both for
	//     a name that leads to such an address;
	//   - other link-local addresses: only if Allow matches them;
	//   - unspecified, multicast and broadcast addresses: never.
	Allow, Deny []string

	// Budget bounds one Discover, all tries included; 0 is 8 s.
	Budget time.Duration
	// PerTry bounds one try of one candidate; 0 is 2 s. Among many candidates it is less, down to 1 s, so that one that never
	// answers does not use up the budget of those behind it. From a script it counts in whole seconds, rounded up.
	PerTry time.Duration
	// Resolve finds the addresses of a name; nil is the engine's own resolver.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	// RootCAs verify https over a [Dialer]; nil is the engine's own.
	RootCAs *x509.CertPool
}

// Defaults fills in what is not set.
func (o Options) Defaults() Options {
	if o.Budget <= 0 {
		o.Budget = 8 * time.Second
	}
	if o.PerTry <= 0 {
		o.PerTry = 2 * time.Second
	}
	if o.Interfaces == nil {
		o.Interfaces = net.InterfaceAddrs
	}
	if o.Resolve == nil {
		o.Resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	return o
}

// New checks o. The error names every option, and the variable, that is at fault.
func New(o Options) (*Discoverer, error) {
	d := &Discoverer{opts: o.Defaults()}
	var problems []error
	bad := func(what string, err error) {
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", what, err))
		}
	}
	var err error
	d.fromEnv, err = parseEnv(o.EnvJSON)
	bad("variable "+EnvCandidates, err)
	d.listen, err = parseListen(o.Listen)
	bad("option Listen", err)
	if o.PublicURL != "" {
		d.public, err = parseTarget(o.PublicURL)
		bad("option PublicURL", err)
	}
	for i, host := range o.AllowedHosts {
		t, err := parseAllowedHost(host, d.listen.port)
		bad(fmt.Sprintf("option AllowedHosts[%d]", i), err)
		d.hosts = append(d.hosts, t)
	}
	d.table, err = newTable(o.Allow, o.Deny)
	bad("options Allow and Deny", err)
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return d, nil
}

// CheckURL says whether raw can be a candidate; the drivers check their configurations with it.
func CheckURL(raw string) error {
	_, err := parseTarget(raw)
	return err
}

func parseEnv(raw string) ([]target, error) {
	if raw == "" {
		return nil, nil
	}
	var list []string
	if err := json.Unmarshal([]byte(raw), &list); err != nil {
		return nil, errors.New("is not a JSON array of URLs") // the decoder's words may hold part of the value
	}
	targets := make([]target, 0, len(list))
	for i, entry := range list {
		t, err := parseTarget(entry)
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", i, err)
		}
		targets = append(targets, t)
	}
	return targets, nil
}

// listener is where the server listens.
type listener struct {
	addr netip.Addr
	// name is set instead for a host that is no address, such as localhost.
	name string
	port string
	// any: the host was left out, which is every address of both families.
	any bool
}

func parseListen(raw string) (listener, error) {
	host, port, err := net.SplitHostPort(raw)
	if err != nil {
		return listener{}, fmt.Errorf("%q is not host:port", raw)
	}
	if n := portNumber(port); n == 0 {
		return listener{}, fmt.Errorf("%q has no port that was listened on", raw)
	}
	l := listener{port: port}
	if host == "" {
		l.any, l.addr = true, netip.IPv6Unspecified()
		return l, nil
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		l.addr = addr.Unmap()
		return l, nil
	}
	if err := checkHost(host); err != nil {
		return listener{}, err
	}
	l.name = host
	return l, nil
}

func parseAllowedHost(raw, port string) (target, error) {
	if strings.Contains(raw, "://") {
		return parseTarget(raw)
	}
	u := url.URL{Scheme: "http", Host: raw}
	if addr, err := netip.ParseAddr(strings.Trim(raw, "[]")); err == nil {
		u.Host = net.JoinHostPort(addr.String(), port)
	} else if _, _, err := net.SplitHostPort(raw); err != nil {
		u.Host = net.JoinHostPort(raw, port)
	}
	return parseTarget(u.String())
}

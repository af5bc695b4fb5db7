package runtimeurl

import (
	"net"
	"net/netip"
	"slices"
)

// Source says where a candidate comes from.
type Source string

// The sources, in their order.
const (
	SourceEnv        Source = "env"
	SourceConfigured Source = "configured"
	SourcePublicURL  Source = "public_url"
	SourceDerived    Source = "derived"
)

// candidate is a target with its source, or what is wrong with what somebody wrote.
type candidate struct {
	target
	source Source
	// problem says why it is none; url is "" then, since what is no URL may hold a password.
	problem string
}

// candidates lists them in order, each URL once.
func (d *Discoverer) candidates(q Query) []candidate {
	var list []candidate
	seen := map[string]bool{}
	add := func(source Source, t target) {
		if !seen[t.url] {
			seen[t.url] = true
			list = append(list, candidate{target: t, source: source})
		}
	}
	for _, t := range d.fromEnv {
		add(SourceEnv, t)
	}
	for _, raw := range q.Configured {
		t, err := parseTarget(raw)
		if err != nil {
			list = append(list, candidate{source: SourceConfigured, problem: err.Error()})
			continue
		}
		add(SourceConfigured, t)
	}
	if q.Local {
		add(SourceDerived, httpTarget(d.loopbackHost(), d.listen.port))
	}
	if d.public.url != "" && (q.Local || derivable(d.public)) {
		add(SourcePublicURL, d.public)
	}
	for _, t := range d.derived(q.Local) {
		add(SourceDerived, t)
	}
	return list
}

// derived are the URLs that follow from where the server listens.
func (d *Discoverer) derived(local bool) []target {
	var list []target
	if !d.listen.wildcard() {
		list = append(list, httpTarget(d.listen.host(), d.listen.port))
	}
	onLoopback := !d.listen.wildcard() && loopbackHost(d.listen.host())
	if onLoopback && !local {
		return nil
	}
	for _, t := range d.hosts {
		// A public name at the local port is nobody's address: something stands between the two.
		if t.host != d.public.host || t.port == d.public.port {
			list = append(list, t)
		}
	}
	if d.listen.wildcard() {
		list = append(list, d.interfaces()...)
	}
	return slices.DeleteFunc(list, func(t target) bool { return !local && !derivable(t) })
}

// interfaces are the machine's own addresses. Without them there are just fewer candidates.
func (d *Discoverer) interfaces() []target {
	addrs, err := d.opts.Interfaces()
	if err != nil {
		return nil
	}
	var list []target
	for _, a := range addrs {
		addr, ok := ipOf(a)
		if !ok || addr.IsLoopback() || addr.IsLinkLocalUnicast() || d.listen.addr.Is4() && !addr.Is4() {
			continue
		}
		list = append(list, httpTarget(addr.String(), d.listen.port))
	}
	// IPv4 first: a runtime without IPv6 is more frequent than one without IPv4.
	slices.SortStableFunc(list, func(a, b target) int {
		switch {
		case a.addr.Is4() == b.addr.Is4():
			return 0
		case a.addr.Is4():
			return -1
		default:
			return 1
		}
	})
	return list
}

func ipOf(a net.Addr) (netip.Addr, bool) {
	var ip net.IP
	switch a := a.(type) {
	case *net.IPNet:
		ip = a.IP
	case *net.IPAddr:
		ip = a.IP
	}
	addr, ok := netip.AddrFromSlice(ip)
	return addr.Unmap(), ok
}

// derivable is the filter of what the server derives of itself for a remote runtime.
func derivable(t target) bool {
	return !loopbackHost(t.host) && !t.addr.IsLinkLocalUnicast() && !t.addr.IsUnspecified()
}

func loopbackHost(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap().IsLoopback()
	}
	return host == "localhost" || len(host) > len(".localhost") && host[len(host)-len(".localhost"):] == ".localhost"
}

func (l listener) wildcard() bool { return l.addr.IsValid() && l.addr.IsUnspecified() }

func (l listener) host() string {
	if l.name != "" {
		return l.name
	}
	return l.addr.String()
}

// loopbackHost is the host by which a process of this machine reaches the listener.
func (d *Discoverer) loopbackHost() string {
	switch {
	case d.listen.any:
		return "127.0.0.1"
	case !d.listen.wildcard():
		return d.listen.host()
	case d.listen.addr.Is4():
		return "127.0.0.1"
	default:
		return "::1"
	}
}

// Loopback is the URL of the API for runtimes in the engine's own network namespace: loopback, or the one address that the
// server listens on.
func (d *Discoverer) Loopback() string {
	return httpTarget(d.loopbackHost(), d.listen.port).url
}

package runtimeurl

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// target is a candidate taken apart. None of its parts holds a character that a shell, a header or a tool's configuration
// could take for something else.
type target struct {
	// url is the base as written, without a slash at its end.
	url    string
	scheme string
	// host is a name in lower case, or an address without brackets.
	host string
	// addr is host if that is an address.
	addr netip.Addr
	port string
	// authority is host and port as written.
	authority string
	// path is that of the health route.
	path string
}

var (
	hostPattern = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$`)
	pathPattern = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)*/?$`)
	// numberPattern is what C libraries take for an address in another notation, such as 0xa9fea9fe.
	numberPattern = regexp.MustCompile(`^(0x[0-9a-f]*|[0-9]+)$`)
)

func parseTarget(raw string) (target, error) {
	if len(raw) > 2048 {
		return target{}, errors.New("is longer than 2048 bytes")
	}
	u, err := url.Parse(raw)
	if err != nil {
		return target{}, errors.New("is not a URL") // the parser's words hold the value, and that may hold a password
	}
	scheme := strings.ToLower(u.Scheme)
	switch {
	case scheme != "http" && scheme != "https":
		return target{}, errors.New("is not a URL that begins with http:// or https://")
	case u.User != nil:
		return target{}, errors.New("must not hold a user or password")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.HasSuffix(raw, "#"):
		return target{}, errors.New("must not hold a query or fragment")
	case !pathPattern.MatchString(u.EscapedPath()):
		return target{}, errors.New("has a path with other characters than letters, digits and ._~-/")
	}
	for part := range strings.SplitSeq(u.Path, "/") {
		if part == "." || part == ".." {
			return target{}, errors.New("has . or .. in its path")
		}
	}
	t := target{scheme: scheme, host: strings.ToLower(u.Hostname()), authority: strings.ToLower(u.Host), port: u.Port()}
	if err := checkHost(t.host); err != nil {
		return target{}, err
	}
	if addr, err := netip.ParseAddr(t.host); err == nil {
		t.addr = addr.Unmap()
	}
	switch {
	case strings.HasSuffix(u.Host, ":") || t.port != "" && portNumber(t.port) == 0:
		return target{}, errors.New("has a port that is none")
	case t.port == "" && scheme == "https":
		t.port = "443"
	case t.port == "":
		t.port = "80"
	}
	base := strings.TrimRight(u.EscapedPath(), "/")
	t.url = scheme + "://" + t.authority + base
	t.path = base + "/api/health"
	return t, nil
}

// checkHost refuses what is neither an address nor a name, and addresses that are written so that only some read them.
func checkHost(host string) error {
	host = strings.ToLower(host)
	if addr, err := netip.ParseAddr(host); err == nil {
		if addr.Zone() != "" {
			return errors.New("has an address with a zone")
		}
		return nil
	}
	if len(host) > 253 || !hostPattern.MatchString(host) {
		return errors.New("has a host that is neither a name nor an address")
	}
	last := host[strings.LastIndexByte(host, '.')+1:]
	if numberPattern.MatchString(last) {
		return fmt.Errorf("has the host %q, which is an address in a notation that not everybody reads alike", host)
	}
	return nil
}

// portNumber is 0 for what is no port.
func portNumber(port string) int {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return 0
	}
	return int(n)
}

// isName reports whether the host has to be resolved.
func (t target) isName() bool { return !t.addr.IsValid() }

func httpTarget(host, port string) target {
	authority := net.JoinHostPort(host, port)
	t := target{
		url: "http://" + authority, scheme: "http", host: host, port: port, authority: authority, path: "/api/health",
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		t.addr = addr
	}
	return t
}

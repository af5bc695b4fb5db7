package runtimeurl

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// metadataAddrs are where clouds hand out credentials to whoever asks.
var metadataAddrs = []netip.Addr{
	netip.MustParseAddr("169.254.169.254"), // most clouds
	netip.MustParseAddr("169.254.170.2"),   // AWS ECS
	netip.MustParseAddr("169.254.170.23"),  // AWS EKS
	netip.MustParseAddr("169.254.0.23"),    // Tencent
	netip.MustParseAddr("100.100.100.200"), // Alibaba
	netip.MustParseAddr("168.63.129.16"),   // Azure
	netip.MustParseAddr("192.0.0.192"),     // Oracle
	netip.MustParseAddr("fd00:ec2::254"),   // AWS
	netip.MustParseAddr("fd00:ec2::23"),    // AWS EKS
	netip.MustParseAddr("fd20:ce::254"),    // Google
}

var metadataNames = []string{
	"metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal",
	"metadata.tencentyun.com", "metadata.azure.internal", "metadata.oraclecloud.com",
}

// table decides who may be tried.
type table struct{ allow, deny []entry }

// entry matches an address or a name.
type entry struct {
	prefix netip.Prefix
	// name is exact, or a suffix with its dot for "*.example.org".
	name   string
	suffix bool
}

func newTable(allow, deny []string) (table, error) {
	var t table
	var problems []error
	parse := func(what string, raw []string) []entry {
		var list []entry
		for _, r := range raw {
			e, err := parseEntry(r)
			if err != nil {
				problems = append(problems, fmt.Errorf("%s: %q: %w", what, r, err))
			}
			list = append(list, e)
		}
		return list
	}
	t.allow, t.deny = parse("Allow", allow), parse("Deny", deny)
	return t, errors.Join(problems...)
}

func parseEntry(raw string) (entry, error) {
	raw = strings.ToLower(raw)
	if addr, err := netip.ParseAddr(raw); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return entry{prefix: netip.PrefixFrom(addr, addr.BitLen())}, nil
	}
	if prefix, err := netip.ParsePrefix(raw); err == nil {
		if prefix.Addr().Is4In6() {
			return entry{}, errors.New("write a prefix of IPv4 as one")
		}
		return entry{prefix: prefix.Masked()}, nil
	}
	name, suffix := strings.CutPrefix(raw, "*.")
	if checkHost(name) != nil {
		return entry{}, errors.New("is no name, address or prefix")
	}
	if suffix {
		name = "." + name
	}
	return entry{name: name, suffix: suffix}, nil
}

// name returns why host may not be tried; "" if it may. It says nothing of the addresses that it leads to.
func (t table) nameDenied(host string) string {
	allow, deny := bestName(t.allow, host), bestName(t.deny, host)
	if deny > 0 && deny >= allow {
		return "the name is in the table of denied ones"
	}
	for _, m := range metadataNames {
		if host == m && allow != exactName {
			return "it is a metadata service"
		}
	}
	return ""
}

// names reports whether Allow holds this very name.
func (t table) names(host string) bool { return bestName(t.allow, host) == exactName }

// addrDenied returns why addr may not be tried; "" if it may.
func (t table) addrDenied(addr netip.Addr) string {
	why := t.oneDenied(addr)
	if inner, ok := embedded(addr); ok && why == "" {
		return t.oneDenied(inner)
	}
	return why
}

func (t table) oneDenied(addr netip.Addr) string {
	addr = addr.Unmap()
	broadcast := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	if addr.IsUnspecified() || addr.IsMulticast() || addr == broadcast || addr.Is4() && addr.As4()[0] == 0 {
		return addr.String() + " is the address of nobody in particular"
	}
	allow, deny := bestPrefix(t.allow, addr), bestPrefix(t.deny, addr)
	if deny >= 0 && deny >= allow {
		return addr.String() + " is in the table of denied ones"
	}
	for _, m := range metadataAddrs {
		if addr == m && allow != addr.BitLen() {
			return addr.String() + " is a metadata service"
		}
	}
	if addr.IsLinkLocalUnicast() && allow < 0 {
		return addr.String() + " is link-local"
	}
	return ""
}

// embedded is the IPv4 address that a translator or relay would reach for addr.
func embedded(addr netip.Addr) (netip.Addr, bool) {
	if !addr.Is6() {
		return netip.Addr{}, false
	}
	b := addr.As16()
	switch {
	case netip.MustParsePrefix("64:ff9b::/96").Contains(addr):
		return netip.AddrFrom4([4]byte(b[12:16])), true
	case netip.MustParsePrefix("2002::/16").Contains(addr):
		return netip.AddrFrom4([4]byte(b[2:6])), true
	}
	return netip.Addr{}, false
}

// exactName is more specific than any suffix can be, since a host has at most 253 characters.
const exactName = 1000

// bestName is how specifically the entries match host; 0 is not at all.
func bestName(entries []entry, host string) int {
	best := 0
	for _, e := range entries {
		switch {
		case e.name == "":
		case !e.suffix && e.name == host:
			best = exactName
		case e.suffix && strings.HasSuffix(host, e.name):
			best = max(best, len(e.name))
		}
	}
	return best
}

// bestPrefix is how many bits of addr the entries match; -1 is not at all.
func bestPrefix(entries []entry, addr netip.Addr) int {
	best := -1
	for _, e := range entries {
		if e.prefix.IsValid() && e.prefix.Contains(addr) {
			best = max(best, e.prefix.Bits())
		}
	}
	return best
}

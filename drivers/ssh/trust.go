package ssh

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1" // the format of hashed names in known_hosts; nothing is kept secret by it
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/tenure-dev/tenure/drivers"
)

// knownHost is one line of known_hosts.
type knownHost struct {
	marker   string // "cert-authority", "revoked" or ""
	patterns []string
	key      ssh.PublicKey
}

// parseKnownHosts returns the lines of a known_hosts file, or the number of its first bad line.
func parseKnownHosts(text []byte) (lines []knownHost, bad int) {
	n := 0
	for line := range bytes.Lines(text) {
		n++
		marker, hosts, key, _, _, err := ssh.ParseKnownHosts(line)
		if errors.Is(err, io.EOF) {
			continue // empty, or a comment
		}
		if err != nil {
			return nil, n
		}
		lines = append(lines, knownHost{marker: marker, patterns: hosts, key: key})
	}
	return lines, 0
}

// matches reports whether the line is about this server.
func (k knownHost) matches(h hop) bool {
	name := knownhosts.Normalize(net.JoinHostPort(h.host, strconv.Itoa(h.port)))
	found := false
	for _, pattern := range k.patterns {
		if strings.HasPrefix(pattern, "|1|") {
			found = found || matchesHash(pattern, name)
			continue
		}
		pattern, negated := strings.CutPrefix(pattern, "!")
		// A pattern in brackets names a port; "[" would begin a class to path.Match.
		ok, err := path.Match(strings.ReplaceAll(strings.ToLower(pattern), "[", `\[`), strings.ToLower(name))
		if err != nil || !ok {
			continue
		}
		if negated {
			return false
		}
		found = true
	}
	return found
}

func matchesHash(pattern, name string) bool {
	parts := strings.Split(pattern, "|")
	if len(parts) != 4 {
		return false
	}
	salt, err1 := base64.StdEncoding.DecodeString(parts[2])
	want, err2 := base64.StdEncoding.DecodeString(parts[3])
	mac := hmac.New(sha1.New, salt)
	mac.Write([]byte(name))
	return err1 == nil && err2 == nil && hmac.Equal(mac.Sum(nil), want)
}

// trust decides about the key of one server.
type trust struct {
	hop    hop
	known  []knownHost // the lines about this server
	strict bool
	pinned string // the key that the lease has seen first; "" before that
}

func newTrust(c config, h hop, pinned string) trust {
	t := trust{hop: h, strict: c.strict, pinned: pinned}
	for _, k := range c.knownHosts {
		if k.matches(h) {
			t.known = append(t.known, k)
		}
	}
	return t
}

// recorded are the keys that the server may show.
func (t trust) recorded() []ssh.PublicKey {
	var keys []ssh.PublicKey
	for _, k := range t.known {
		if k.marker == "" {
			keys = append(keys, k.key)
		}
	}
	if len(keys) == 0 && !t.authority() && t.pinned != "" {
		if key, err := parsePin(t.pinned); err == nil {
			keys = append(keys, key)
		}
	}
	return keys
}

// authority reports whether certificates of hosts are trusted.
func (t trust) authority() bool {
	return slices.ContainsFunc(t.known, func(k knownHost) bool { return k.marker == "cert-authority" })
}

func parsePin(pin string) (ssh.PublicKey, error) {
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(pin))
	return key, err
}

func pinOf(key ssh.PublicKey) string { return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))) }

// algorithms are all host key algorithms, those of the recorded types first: a server that has a recorded key shows it,
// and one that does not still says what it has instead.
func (t trust) algorithms() []string {
	var first []string
	all := ssh.SupportedAlgorithms().HostKeys
	var certs, plain []string
	for _, name := range all {
		if strings.Contains(name, "-cert-") {
			certs = append(certs, name)
		} else {
			plain = append(plain, name)
		}
	}
	if t.authority() {
		first = append(first, certs...)
	}
	for _, key := range t.recorded() {
		if key.Type() == ssh.KeyAlgoRSA {
			first = append(first, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
			continue
		}
		first = append(first, key.Type())
	}
	var order []string
	for _, name := range append(first, plain...) {
		if !slices.Contains(order, name) {
			order = append(order, name)
		}
	}
	return order
}

// check is the host key callback: it runs before any credential is sent.
func (t trust) check(_ string, remote net.Addr, key ssh.PublicKey) error {
	cert, certified := key.(*ssh.Certificate)
	shown := []ssh.PublicKey{key}
	if certified {
		shown = append(shown, cert.Key, cert.SignatureKey)
	}
	for _, k := range t.known {
		for _, s := range shown {
			if k.marker == "revoked" && bytes.Equal(k.key.Marshal(), s.Marshal()) {
				return t.refuse("host_key_revoked", "the key "+describe(s)+" is revoked in knownHosts",
					"do not use this host until its key is replaced")
			}
		}
	}
	if certified && t.authority() {
		return t.checkCertificate(cert, remote)
	}
	recorded := t.recorded()
	for _, r := range recorded {
		if bytes.Equal(r.Marshal(), key.Marshal()) {
			return nil
		}
	}
	switch {
	case len(recorded) > 0:
		where, mend := "knownHosts", "record its new key in knownHosts"
		if t.pinned != "" && len(t.known) == 0 {
			where, mend = "this lease", "acquire a new lease"
		}
		names := make([]string, len(recorded))
		for i, r := range recorded {
			names[i] = describe(r)
		}
		return t.refuse("host_key_mismatch", fmt.Sprintf("%s has recorded %s, and the server offers %s",
			where, strings.Join(names, " and "), describe(key)),
			"find out why the key differs; if the host was set up anew, "+mend)
	case t.authority():
		return t.refuse("host_key_mismatch", "knownHosts wants a certificate, and the server offers "+describe(key),
			"give the host a certificate of the authority in knownHosts, or record its key")
	case t.strict:
		return t.refuse("host_key_unknown", "no key is recorded for it, and the server offers "+describe(key),
			"compare the fingerprint with the host's, and add to knownHosts: "+knownhosts.Line([]string{net.JoinHostPort(t.hop.host, strconv.Itoa(t.hop.port))}, key))
	}
	return nil
}

func (t trust) checkCertificate(cert *ssh.Certificate, remote net.Addr) error {
	checker := ssh.CertChecker{IsHostAuthority: func(authority ssh.PublicKey, _ string) bool {
		return slices.ContainsFunc(t.known, func(k knownHost) bool {
			return k.marker == "cert-authority" && bytes.Equal(k.key.Marshal(), authority.Marshal())
		})
	}}
	if err := checker.CheckHostKey(t.hop.addr(), remote, cert); err != nil {
		return t.refuse("host_key_mismatch", "the certificate of the host is not accepted: "+err.Error(),
			"renew the host's certificate, or record the authority that signed it")
	}
	return nil
}

func (t trust) refuse(code, why, remediation string) error {
	return &drivers.Failure{
		Outcome: drivers.OutcomeDefinite, Code: code, Step: "host_key", Remediation: remediation,
		Err: fmt.Errorf("host key of %s: %s", t.hop.addr(), why),
	}
}

func describe(key ssh.PublicKey) string { return key.Type() + " " + ssh.FingerprintSHA256(key) }

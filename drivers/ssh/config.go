package ssh

import (
	"encoding/json"
	"net"
	"net/netip"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/crypto/ssh"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/runtimeurl"
)

// hop is one server on the way, the last of which is the target.
type hop struct {
	host        string
	port        int
	user        string
	credentials credentials
}

func (h hop) addr() string { return net.JoinHostPort(h.host, strconv.Itoa(h.port)) }

// config is the configuration of an SSH environment.
type config struct {
	hop
	jumps      []hop
	root       string // remoteWorkspacePath
	knownHosts []knownHost
	strict     bool
	perLease   bool
	timeout    time.Duration // of each phase; 0 is the driver's
	urlNeeded  bool
	candidates []string
}

// decodeConfig is strict: every field that is unknown, missing or cannot work is named; with decrypt also a passphrase that
// does not fit its key, which else is found when a connection is made. Unresolved references are fine, as they are where
// nothing is to be reached.
func decodeConfig(raw json.RawMessage, decrypt bool) (config, error) {
	var problems []drivers.FieldProblem
	c := config{strict: true}
	if f, ok := open("config", raw, &problems); ok {
		f.decrypt = decrypt
		c.decode(f)
		f.rest()
	}
	if len(problems) > 0 {
		return config{}, &drivers.ConfigError{Problems: problems}
	}
	return c, nil
}

func (c *config) decode(f *fields) {
	c.hop = decodeHop(f, nil)
	c.root = f.text("remoteWorkspacePath")
	switch {
	case !path.IsAbs(c.root):
		f.problem("remoteWorkspacePath", "is not an absolute path", "write the path of a directory on the host, such as /srv/work")
	case strings.ContainsFunc(c.root, unicode.IsControl):
		f.problem("remoteWorkspacePath", "contains a control character", "choose a directory without them in its name")
	case strings.Contains(c.root+"/", "/../") || path.Clean(c.root) == "/":
		f.problem("remoteWorkspacePath", "is the root directory or contains '..'", "name a directory of its own for the work")
	default:
		c.root = path.Clean(c.root)
	}
	c.decodeJumps(f)
	f.take("strictHostKeyChecking", "true or false", &c.strict)
	c.decodeKnownHosts(f)
	switch mode := f.text("workspaceMode"); mode {
	case "", "shared":
	case "per_lease":
		c.perLease = true
	default:
		f.problem("workspaceMode", "is neither shared nor per_lease", "write shared or per_lease")
	}
	var ms int64
	if f.take("connectTimeoutMs", "a whole number of milliseconds", &ms) {
		c.timeout = time.Duration(ms) * time.Millisecond
		if ms < 1 || ms > 600_000 {
			f.problem("connectTimeoutMs", "is not between 1 and 600000", "write for example 15000")
		}
	}
	switch need := f.text("runtimeUrl"); need {
	case "", "optional":
	case "required":
		c.urlNeeded = true
	default:
		f.problem("runtimeUrl", "is neither optional nor required", "write optional or required")
	}
	f.take("runtimeApiCandidates", "a list of URLs", &c.candidates)
	for i, candidate := range c.candidates {
		if err := runtimeurl.CheckURL(candidate); err != nil {
			f.problem(index("runtimeApiCandidates", i), err.Error(), "write for example https://tenure.example.org")
		}
	}
}

// isHost reports whether s may be a host's name or an address. What a resolver knows may look odd, so only what can be none is
// refused.
func isHost(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil { // with a zone, too
		return true
	}
	return s != "" && s[0] != '-' && !strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || strings.ContainsRune("@/[]:", r)
	})
}

// decodeHop reads a server. A hop on the way may leave out what it has in common with the target.
func decodeHop(f *fields, target *hop) hop {
	h := hop{port: 22}
	h.host = f.text("host")
	if !isHost(h.host) {
		f.problem("host", "is not the name or the address of a host", "write for example build.example.org; a port has a field of its own")
	}
	if f.take("port", "a whole number", &h.port) && (h.port < 1 || h.port > 65535) {
		f.problem("port", "is not between 1 and 65535", "write the port of the SSH server, usually 22")
	}
	if h.user = f.text("username"); h.user == "" && target != nil {
		h.user = target.user
	}
	if h.user == "" || strings.ContainsFunc(h.user, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
		f.problem("username", "is missing or contains a space", "name the user to log in as")
	}
	h.credentials = decodeCredentials(f)
	if !h.credentials.given() {
		if target == nil {
			f.problem("privateKey", "is missing, and the agent is not to be used", "give privateKey or privateKeySecretRef, or set useAgent")
		} else {
			h.credentials = target.credentials
		}
	}
	return h
}

func (c *config) decodeJumps(f *fields) {
	var raw []json.RawMessage
	f.take("jumpHosts", "a list of objects", &raw)
	for i, r := range raw {
		sub, ok := open(f.at+"."+index("jumpHosts", i), r, f.problems)
		if !ok {
			continue
		}
		sub.decrypt = f.decrypt
		c.jumps = append(c.jumps, decodeHop(sub, &c.hop))
		sub.rest()
	}
}

func (c *config) decodeKnownHosts(f *fields) {
	text := f.text("knownHosts")
	var bad int
	if c.knownHosts, bad = parseKnownHosts([]byte(text)); bad > 0 {
		f.problem("knownHosts", "has a bad line, number "+strconv.Itoa(bad),
			"write lines such as those of ssh-keyscan: host, key type, key")
	}
}

// remoteCwd is where the commands of a runtime start.
func (c *config) remoteCwd(runtimeID string) string {
	if c.perLease {
		return c.root + "/" + runtimeID
	}
	return c.root
}

func (c *config) tmp(runtimeID string) string    { return c.root + "/.tenure/tmp/" + runtimeID }
func (c *config) marker(runtimeID string) string { return c.root + "/.tenure/leases/" + runtimeID }
func (c *config) lock(runtimeID string) string {
	return c.root + "/.tenure/leases/." + runtimeID + ".lock"
}

// own says, to a script, whether the working directory of a runtime is its own.
func (c *config) own() string {
	if c.perLease {
		return "yes"
	}
	return "no"
}

// SecretFields implements [drivers.SecretHolder].
func (d *Driver) SecretFields(raw json.RawMessage) []drivers.SecretField {
	var found []drivers.SecretField
	look := func(at string, fields map[string]json.RawMessage) {
		for _, name := range []string{"privateKey", "passphrase"} {
			_, value := fields[name]
			_, ref := fields[name+"SecretRef"]
			if value || ref {
				found = append(found, drivers.SecretField{Value: at + "/" + name, Ref: at + "/" + name + "SecretRef"})
			}
		}
	}
	var top map[string]json.RawMessage
	if json.Unmarshal(raw, &top) != nil {
		return nil
	}
	look("", top)
	var jumps []map[string]json.RawMessage
	if json.Unmarshal(top["jumpHosts"], &jumps) == nil {
		for i, jump := range jumps {
			look("/jumpHosts/"+strconv.Itoa(i), jump)
		}
	}
	return found
}

// parseCertificate reads a certificate in the form of an authorized_keys line.
func parseCertificate(text string) (*ssh.Certificate, bool) {
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(text))
	if err != nil {
		return nil, false
	}
	cert, ok := key.(*ssh.Certificate)
	return cert, ok
}

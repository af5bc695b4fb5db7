package ssh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/runtimeurl"
)

// host is one host as [runtimeurl.Runner] and [runtimeurl.Dialer] see it, over the connection that an acquire used.
type host struct {
	p   place
	via *conn
}

// RunScript implements [runtimeurl.Runner].
func (h host) RunScript(ctx context.Context, script string, stdin []byte) ([]byte, error) {
	mark := "tenure-" + uuid.NewString()
	script = group("echo " + mark + "\n" + script)
	command, input := shell, []byte(script)
	if stdin != nil {
		command, input = "exec sh -c '"+fmt.Sprintf(shLoader, len(script))+"'", append(input, stdin...)
	}
	out, _, err := h.p.script(ctx, strings.Split(h.via.pins, "\n"), command, input)
	if err != nil {
		return nil, err
	}
	_, said, ok := bytes.Cut(out.stdout, []byte(mark+"\n"))
	if !ok {
		return nil, noShell(out)
	}
	if out.end.code != 0 || out.end.signal != "" {
		return said, fmt.Errorf("the script ended with exit code %d %s", out.end.code, out.end.signal)
	}
	return said, nil
}

// DialContext implements [runtimeurl.Dialer].
func (h host) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	return h.via.client.DialContext(ctx, network, addr)
}

// discover finds the URL at which the host reaches the API.
func (d *Driver) discover(ctx context.Context, p place, via *conn) runtimeurl.Result {
	if d.opts.RuntimeURL == nil {
		return runtimeurl.Result{}
	}
	return d.opts.RuntimeURL.Discover(ctx, host{p, via}, runtimeurl.Query{Configured: p.c.candidates, Local: p.c.loopback()})
}

// loopback reports whether the host is this machine, so that its loopback is the engine's.
func (c *config) loopback() bool {
	ip := net.ParseIP(c.host)
	return len(c.jumps) == 0 && (strings.EqualFold(c.host, "localhost") || ip != nil && ip.IsLoopback())
}

// urlMissing is the failure of an environment that needs a URL, where none answers.
func urlMissing(r runtimeurl.Result) *drivers.Failure {
	return &drivers.Failure{
		Outcome: drivers.OutcomeDefinite, Code: "runtime_url_unreachable", Step: "discover_runtime_url",
		Err:         errors.New("no URL of the API answers from the host: " + r.String()),
		Remediation: "let the host reach one of the candidates, name another in runtimeApiCandidates, or make runtimeUrl optional",
	}
}

// urlDiagnostics are what a probe says about the candidates.
func urlDiagnostics(r runtimeurl.Result) []drivers.Diagnostic {
	found := make([]drivers.Diagnostic, 0, len(r.Tried))
	for _, o := range r.Tried {
		diagnostic := drivers.Diagnostic{Severity: drivers.SeverityInfo, Code: "runtime_url_" + string(o.Status), Message: o.String()}
		if o.Status != runtimeurl.StatusAnswered {
			diagnostic.Severity, diagnostic.Remediation = drivers.SeverityWarning, "let the host reach this URL, or remove it from the candidates"
		}
		found = append(found, diagnostic)
	}
	return found
}

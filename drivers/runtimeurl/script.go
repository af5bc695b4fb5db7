package runtimeurl

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	_ "embed"
)

// script tries what it reads from its standard input; see probe.sh.
//
//go:embed probe.sh
var script string

// attempt is one try of one candidate at one address.
type attempt struct {
	item *item
	// addr is not valid if the runtime has to resolve the name.
	addr netip.Addr
}

// scriptInput is what the script reads: the seconds per try, then one line for each attempt. Every field comes from a
// [target] or is a number, so none holds a space, a quote or anything else that means something to a shell.
func scriptInput(perTry time.Duration, attempts []attempt) []byte {
	var b bytes.Buffer
	fmt.Fprintln(&b, int((perTry+time.Second-1)/time.Second))
	for i, a := range attempts {
		t := a.item.target
		addr, kind := "-", "name"
		if a.addr.IsValid() {
			addr = bracketed(a.addr)
		}
		if !t.isName() {
			kind = "addr"
		}
		fmt.Fprintln(&b, i, t.scheme, kind, t.host, t.port, t.authority, t.path, addr)
	}
	return b.Bytes()
}

func bracketed(a netip.Addr) string {
	if a.Is4() {
		return a.String()
	}
	return "[" + a.String() + "]"
}

// reply is a line of the script: what one tool said of one attempt.
type reply struct {
	index int
	tool  string
	// text is what the tool printed, its lines separated by tabs; the last is the tool's exit code.
	text string
}

// parseReplies takes the lines that are replies to one of n attempts. The rest is what a runtime's shell may print on its
// own.
func parseReplies(stdout []byte, n int) []reply {
	var replies []reply
	for line := range bytes.SplitSeq(stdout, []byte{'\n'}) {
		parts := strings.SplitN(string(line), "\t", 4)
		if len(parts) != 4 || parts[0] != "tenure-url" {
			continue
		}
		if i, err := strconv.Atoi(parts[1]); err == nil && i >= 0 && i < n {
			replies = append(replies, reply{index: i, tool: parts[2], text: parts[3]})
		}
	}
	return replies
}

// judge reads what a tool printed.
func (r reply) judge() (Status, string) {
	if r.tool == "none" {
		return StatusNoTool, clean(r.text)
	}
	text, rc := r.text, ""
	if i := strings.LastIndex(text, "\trc="); i >= 0 {
		text, rc = text[:i], text[i+len("\trc="):]
	}
	code, body := 0, ""
	for line := range strings.SplitSeq(text, "\t") {
		line = strings.TrimSpace(line)
		switch c := statusCode(line); {
		case body != "":
			body += " " + line
		case c >= 200:
			code = max(code, c) // busybox follows a redirect to the same address, and shows both
		case code == 200 && !headerPattern.MatchString(line) && line != busyboxNoise:
			body = line
		}
	}
	if code != 0 {
		return judgeAnswer(code, body)
	}
	lower := strings.ToLower(text)
	switch {
	case strings.Contains(lower, "refused"):
		return StatusRefused, ""
	case r.tool == "curl" && rc == "7":
		return StatusRefused, clean(text) // newer ones do not say which
	case strings.Contains(lower, "timed out") || rc == "137" || r.tool == "curl" && rc == "28":
		return StatusTimeout, ""
	case rc == "126" || rc == "127" || r.tool == "bash" && strings.Contains(lower, "no such file or directory"):
		return StatusNoTool, r.tool + ": " + clean(text)
	}
	return StatusUnreachable, r.tool + " ended with " + clean(rc) + ": " + clean(text)
}

// headerPattern is a line of a header; busyboxNoise is what busybox says between header and body.
var headerPattern = regexp.MustCompile(`^[A-Za-z0-9_-]+:|^$`)

const busyboxNoise = "writing to stdout"

// statusCode reads a line such as "HTTP/1.1 200 OK"; 0 is none.
func statusCode(line string) int {
	version, rest, ok := strings.Cut(line, " ")
	if !ok || !strings.HasPrefix(version, "HTTP/") {
		return 0
	}
	digits, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	code, err := strconv.Atoi(digits)
	if err != nil || len(digits) != 3 {
		return 0
	}
	return code
}

// judgeAnswer decides whether an answer is that of our health route.
func judgeAnswer(code int, body string) (Status, string) {
	if code != 200 {
		return StatusWrongStatus, strconv.Itoa(code)
	}
	var health struct{ Status, Version string }
	if err := json.NewDecoder(strings.NewReader(body[:min(len(body), maxBody)])).Decode(&health); err != nil ||
		health.Status != "ok" || health.Version == "" {
		return StatusNotOurs, "the body is not that of /api/health"
	}
	return StatusAnswered, ""
}

// clean makes words from inside a runtime fit to be shown.
func clean(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\uFFFD' }), " ")
	const limit = 160
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return strings.ToValidUTF8(s, "")
}

// hostPort joins for a dialer.
func (a attempt) hostPort() string {
	if a.addr.IsValid() {
		return net.JoinHostPort(a.addr.String(), a.item.port)
	}
	return net.JoinHostPort(a.item.host, a.item.port)
}

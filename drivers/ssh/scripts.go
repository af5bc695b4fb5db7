package ssh

import (
	"bytes"
	"context"
	_ "embed" // the scripts
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/drivers"
)

//go:embed acquire.sh
var acquireScript string

//go:embed release.sh
var releaseScript string

//go:embed list.sh
var listScript string

//go:embed hold.sh
var holdScript string

//go:embed stop.sh
var stopScript string

//go:embed common.sh
var commonScript string

// shell reads a script from its stdin. Every login shell understands these two words, and sh is the same on each.
const shell = "exec sh"

// quote makes one word of s for sh.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// variable is a value that a script gets. It travels on stdin, in no argument list.
type variable struct{ name, value string }

// reply is what one of our scripts said: lines of its own words, the first of which says how it went.
type reply struct {
	lines []string
	conn  *conn
}

// run runs one of our scripts. Whatever the login shell prints before it is cut off by a mark.
func (p *pool) run(ctx context.Context, pins []string, body string, vars ...variable) (reply, error) {
	mark := "tenure-" + uuid.NewString()
	var b strings.Builder
	for _, v := range vars {
		fmt.Fprintf(&b, "%s=%s\n", v.name, quote(v.value))
	}
	fmt.Fprintf(&b, "hide=%s\n", quote(" "+strings.Join(p.opts.hide, " ")+" "))
	b.WriteString(group("echo " + mark + "\n" + commonScript + body))
	limited, cancel := context.WithTimeoutCause(ctx, p.opts.ScriptLimit, fmt.Errorf("no answer within %s", p.opts.ScriptLimit))
	defer cancel()
	if body == releaseScript {
		limited = ctx // a large workspace takes its time to remove
	}
	out, c, err := p.script(limited, pins, shell, []byte(b.String()))
	if err != nil {
		if limited.Err() != nil && ctx.Err() == nil {
			return reply{}, failedAt("run_script", "host_timeout", err)
		}
		return reply{}, err
	}
	_, said, ok := bytes.Cut(out.stdout, []byte(mark+"\n"))
	if !ok || len(said) == 0 {
		return reply{}, noShell(out)
	}
	r := reply{lines: strings.Split(strings.TrimSuffix(string(said), "\n"), "\n"), conn: c}
	if step, ok := strings.CutPrefix(r.lines[0], "fail "); ok {
		return r, hostFailure(step, strings.Join(r.lines[1:], "\n"))
	}
	if out.end.code != 0 || out.end.signal != "" {
		return r, noShell(out)
	}
	return r, nil
}

// noShell says that the account does not run our scripts.
func noShell(out output) error {
	said := strings.TrimSpace(string(out.stdout) + "\n" + string(out.stderr))
	return &drivers.Failure{
		Outcome: drivers.OutcomeRetryable, Code: "no_shell", Step: phaseStart,
		Err:         fmt.Errorf("the account did not run a shell script (exit code %d): %q", out.end.code, clip(said, 200)),
		Remediation: "give the user a login shell that runs commands, and sh in its PATH",
	}
}

// hostFailure turns the words of a program on the host into an error that says what to do.
func hostFailure(step, said string) error {
	f := &drivers.Failure{Outcome: drivers.OutcomeRetryable, Code: "io_error", Step: step, Err: errors.New(clip(strings.TrimSpace(said), 300))}
	switch {
	case step == drivers.CodeStaleFence:
		f.Outcome, f.Code, f.Step = drivers.OutcomeDefinite, step, "check_fence"
		f.Remediation = "nothing: the runtime belongs to a newer holder, and was left as it is"
	case step == "lock":
		f.Code, f.Remediation = "runtime_busy", "wait until it is done; if it is stopped, let it go on or end it"
	case step == "find_workspace":
		f.Code, f.Remediation = "workspace_missing", "mount or make remoteWorkspacePath on the host, or release the lease"
	case step == "check_host":
		f.Outcome, f.Code, f.Remediation = drivers.OutcomeDefinite, "unsupported_host", "use a Linux host that has /proc mounted"
	case step == "end_processes":
		f.Code, f.Remediation = "processes_left", "the release is tried again; a process that does not end is stuck in the kernel"
	case step == "free_space", strings.Contains(said, "No space left"), strings.Contains(said, "quota exceeded"):
		f.Code, f.Remediation = "disk_full", "free some space on the host below remoteWorkspacePath"
	case strings.Contains(said, "Read-only file system"):
		f.Code, f.Remediation = "read_only", "mount the file system of remoteWorkspacePath writable, or choose another path"
	case strings.Contains(said, "Permission denied"):
		f.Code, f.Remediation = "permission_denied", "let the user on the host write to remoteWorkspacePath"
	case strings.Contains(said, "Not a directory"), strings.Contains(said, "File exists"):
		f.Code, f.Remediation = "not_a_directory", "choose a remoteWorkspacePath that is a directory, or can be made as one"
	default:
		f.Remediation = "look at the host; the message is that of its own program"
	}
	return f
}

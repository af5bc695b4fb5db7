package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
	"time"
)

// account is whom the server runs as.
type account struct {
	name     string // for people; "uid 12345" if it has no name
	uid, gid int
	drop     bool // the engine is root and has to become this user
	named    bool // it has a passwd entry
}

// resolveAccount: Postgres refuses root, so root becomes the named user; everybody else stays who they are.
func resolveAccount(userName string) (account, error) {
	if euid := os.Geteuid(); euid != 0 {
		u, err := user.LookupId(strconv.Itoa(euid))
		if err != nil {
			return account{name: fmt.Sprintf("uid %d", euid), uid: euid, gid: os.Getegid()}, nil //nolint:nilerr // a user without an entry goes by number
		}
		return account{name: u.Username, uid: euid, gid: os.Getegid(), named: true}, nil
	}
	const remediation = "install PostgreSQL, which makes user postgres (Debian: apt-get install postgresql), or name another user that is used for nothing else"
	u, err := user.Lookup(userName)
	if err != nil {
		return account{}, &Error{
			Code: CodeNoAccount, What: fmt.Sprintf("the engine runs as root, Postgres refuses that, and user %s does not exist", userName),
			Remediation: remediation,
		}
	}
	uid, errUID := strconv.Atoi(u.Uid)
	gid, errGID := strconv.Atoi(u.Gid)
	if err := errors.Join(errUID, errGID); err != nil {
		return account{}, fmt.Errorf("look up user %s: %w", userName, err)
	}
	if uid == 0 {
		return account{}, &Error{Code: CodeNoAccount, What: fmt.Sprintf("Postgres refuses to run as %s, whose uid is 0", userName), Remediation: remediation}
	}
	return account{name: userName, uid: uid, gid: gid, drop: true, named: true}, nil
}

// peerName is the engine's own name, which peer authentication compares, or "" if there is none that an ident map can hold.
func peerName() string {
	u, err := user.LookupId(strconv.Itoa(os.Geteuid()))
	if err != nil || !identSafe(u.Username) {
		return ""
	}
	return u.Username
}

// identSafe excludes what pg_ident.conf reads as more than a name: quotes, a leading slash (a pattern), a leading + or @.
func identSafe(name string) bool {
	for i, r := range name {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' && i > 0 || r == '.'
		if !letter {
			return false
		}
	}
	return name != ""
}

// command runs a Postgres program as the account: in a session of its own, so that the engine's Ctrl-C does not reach it, without
// the engine's environment, groups or files.
func (a account) command(ctx context.Context, dir, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	cmd.Env = cleanEnv("/usr/bin")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if a.drop {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// cleanEnv is the whole environment of every Postgres program. The locale is C on purpose: it exists on every machine, and its
// order cannot change under the indexes with the next glibc.
func cleanEnv(binDir string) []string {
	return []string{"PATH=" + binDir + ":/usr/local/bin:/usr/bin:/bin", "LANG=C", "LC_ALL=C", "TZ=UTC"}
}

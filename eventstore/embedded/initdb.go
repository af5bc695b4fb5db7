package embedded

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// initialize makes the cluster. It is made in a directory beside and renamed when it is whole and on disk, so a crash at any point
// leaves either no cluster or a good one.
func (c *cluster) initialize(ctx context.Context, timeout time.Duration, noSync bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("initdb took longer than %s", timeout))
	defer cancel()
	if err := c.removeHalfMade(); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(c.dataDir, initPrefix)
	if err != nil {
		return dataDirError(c.dataDir, err)
	}
	defer os.RemoveAll(tmp) //nolint:errcheck // what stays is removed by the next removeHalfMade
	secret := rand.Text()
	pwfile := filepath.Join(tmp, "pw")
	if err := errors.Join(
		os.WriteFile(pwfile, []byte(secret+"\n"), 0o600), os.Chown(pwfile, c.acct.uid, c.acct.gid), os.Chown(tmp, c.acct.uid, c.acct.gid),
	); err != nil {
		return dataDirError(tmp, err)
	}
	made := filepath.Join(tmp, "cluster")
	args := []string{"-D", made, "-U", roleName, "--pwfile", pwfile, "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-instructions"}
	if noSync {
		args = append(args, "--no-sync")
	}
	if err := c.runInitdb(ctx, tmp, args); err != nil {
		return err
	}
	if err := replaceFile(c.passwordPath(), "*:*:*:"+roleName+":"+secret+"\n"); err != nil {
		return dataDirError(c.dataDir, err)
	}
	// An empty directory that somebody made in advance is in the way of the rename only if it belongs to another user.
	if err := os.Remove(c.dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return dataDirError(c.dir, err)
	}
	if err := os.Rename(made, c.dir); err != nil {
		return dataDirError(c.dataDir, err)
	}
	return syncDir(c.dataDir)
}

// removeHalfMade removes what a start that was killed in the middle left. A straggling initdb cannot write into the next attempt,
// whose directory has another name.
func (c *cluster) removeHalfMade() error {
	left, err := filepath.Glob(filepath.Join(globQuote(c.dataDir), initPrefix+"*"))
	if err != nil {
		return dataDirError(c.dataDir, err)
	}
	for _, dir := range left {
		if err := os.RemoveAll(dir); err != nil && !errors.Is(err, syscall.ENOTEMPTY) {
			return dataDirError(dir, err)
		}
	}
	return nil
}

// runInitdb runs initdb, for a uid without a passwd entry a second time under a borrowed one: initdb insists on looking its uid up,
// while the server does not. In a user namespace the same uid goes by a number that has an entry; the files stay the uid's own.
func (c *cluster) runInitdb(ctx context.Context, dir string, args []string) error {
	cmd := c.acct.command(ctx, dir, c.bins.initdb, args...)
	if c.acct.named {
		return runTied(ctx, cmd)
	}
	err := runTied(ctx, cmd)
	if err == nil || ctx.Err() != nil {
		return err
	}
	borrowed, ok := anyNamedUID("/etc/passwd")
	if !ok {
		return noEntry(c.acct, "/etc/passwd has none to borrow")
	}
	cmd = c.acct.command(ctx, dir, c.bins.initdb, args...)
	cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
	cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: borrowed, HostID: c.acct.uid, Size: 1}}
	cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: c.acct.gid, HostID: c.acct.gid, Size: 1}}
	err = whileDumpable(func() error { return runTied(ctx, cmd) })
	if err != nil && cmd.Process == nil {
		return noEntry(c.acct, "user namespaces, with which it could borrow one, are not allowed here")
	}
	return err
}

// whileDumpable lets do start a process in a user namespace: the kernel lets an unprivileged process write the id maps of
// its child only while it is dumpable itself, which an engine is not.
func whileDumpable(do func() error) error {
	before, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil || before == 1 {
		return do()
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0); err != nil {
		return do()
	}
	return errors.Join(do(), unix.Prctl(unix.PR_SET_DUMPABLE, uintptr(before), 0, 0, 0))
}

func noEntry(acct account, obstacle string) error {
	return &Error{
		Code: CodeNoAccount, What: acct.name + " has no passwd entry, initdb needs one, and " + obstacle,
		Remediation: fmt.Sprintf("add one to /etc/passwd (tenure:x:%d:%d::/:/bin/false), or use a server of yours with --database-url", acct.uid, acct.gid),
	}
}

// runTied runs cmd so that it dies with the engine. The kernel ties it to the thread that forked it, hence the locked thread.
func runTied(ctx context.Context, cmd *exec.Cmd) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	err := cmd.Run()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if reason := lastReason(output.String()); reason != "" {
		err = fmt.Errorf("%w: %s", err, reason)
	}
	if isNoSpace(err) {
		return NoSpace(filepath.Dir(cmd.Dir), err)
	}
	return &Error{
		Code: CodeInitFailed, What: "initdb cannot make the database cluster", Cause: err,
		Remediation: "nothing was left behind; correct the cause and start again",
	}
}

// lastReason is the line of a Postgres program's output that says why it gave up.
func lastReason(output string) string {
	var last, other string
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if strings.Contains(line, "error:") || strings.Contains(line, "FATAL:") || strings.Contains(line, "PANIC:") {
			last = line
		} else if line != "" && !strings.Contains(line, "LOG:") {
			other = line
		}
	}
	return cmp.Or(last, other)
}

// anyNamedUID is a uid other than root's that has an entry.
func anyNamedUID(passwd string) (int, bool) {
	text, err := os.ReadFile(passwd)
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Split(line, ":")
		if len(f) < 7 {
			continue
		}
		if uid, err := strconv.Atoi(f[2]); err == nil && uid > 0 {
			return uid, true
		}
	}
	return 0, false
}

// replaceFile writes a file of the engine's own, mode 0600, so that it is there whole or not at all.
func replaceFile(path, text string) error {
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// globQuote makes a path match only itself.
func globQuote(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

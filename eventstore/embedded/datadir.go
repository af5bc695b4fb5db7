package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// makeDataDir makes the directory if it is missing and returns its real path, after proof that this process may write there.
func makeDataDir(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", dataDirError(dir, err)
	}
	if err := mkdirs(abs); err != nil {
		return "", dataDirError(abs, err)
	}
	real, err := filepath.EvalSymlinks(abs)
	if err != nil {
		return "", dataDirError(abs, err)
	}
	info, err := os.Stat(real)
	if err != nil {
		return "", dataDirError(real, err)
	}
	if !info.IsDir() {
		return "", dataDirError(real, syscall.ENOTDIR)
	}
	// Whoever owns the directory can swap the cluster for another one. Root may own it: that is how volumes are mounted.
	if owner := ownerOf(info); os.Geteuid() != 0 && owner != 0 && owner != os.Geteuid() {
		return "", foreignOwner(real, owner, os.Geteuid())
	}
	if err := unix.Access(real, unix.W_OK|unix.X_OK); err != nil {
		return "", dataDirError(real, err)
	}
	return real, nil
}

// mkdirs is MkdirAll without the umask: as root the server's own user has to pass through what is made here.
func mkdirs(dir string) error {
	if info, err := os.Stat(dir); err == nil {
		if !info.IsDir() {
			return &fs.PathError{Op: "mkdir", Path: dir, Err: syscall.ENOTDIR}
		}
		return nil
	}
	if err := mkdirs(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	}
	if os.Geteuid() == 0 {
		return os.Chmod(dir, 0o711)
	}
	return nil
}

// checkDataDir refuses, for root, a directory of somebody who is neither root nor the server's user, and one that the server's user
// cannot reach. The attempt is made for real, as that user: mode bits do not tell about ACLs and mounts.
func checkDataDir(ctx context.Context, dir string, acct account, bins binaries) error {
	if !acct.drop {
		return nil
	}
	info, err := os.Stat(dir)
	if err != nil {
		return dataDirError(dir, err)
	}
	if owner := ownerOf(info); owner != 0 && owner != acct.uid {
		return foreignOwner(dir, owner, 0)
	}
	enter := func(dir string) error { return acct.command(ctx, dir, bins.postgres, "--version").Run() }
	if enter(dir) == nil {
		return nil
	}
	if err := enter("/"); err != nil {
		return &Error{
			Code: CodeNoAccount, What: fmt.Sprintf("user %s cannot run %s", acct.name, bins.postgres), Cause: err,
			Remediation: "make it executable for that user, or set another user or binary directory",
		}
	}
	for _, parent := range parents(dir) {
		if err := enter(parent); err != nil {
			return &Error{
				Code: CodeDataDirAccess, What: fmt.Sprintf("user %s, as whom Postgres runs, cannot enter %s", acct.name, parent),
				Remediation: fmt.Sprintf("run `chmod o+x %s`, or choose a data directory elsewhere", parent),
			}
		}
	}
	return nil
}

// parents lists dir and everything above it, from the root down.
func parents(dir string) []string {
	if dir == filepath.Dir(dir) {
		return []string{dir}
	}
	return append(parents(filepath.Dir(dir)), dir)
}

// dataDirError says in one line why the directory cannot be used.
func dataDirError(dir string, cause error) error {
	e := &Error{Code: CodeDataDirAccess, What: fmt.Sprintf("data directory %s cannot be used", dir), Cause: cause}
	switch {
	case errors.Is(cause, syscall.EROFS):
		e.Cause, e.Remediation = errors.New("its file system is read-only"), "choose a data directory on a writable file system"
	case errors.Is(cause, fs.ErrPermission):
		e.Remediation = fmt.Sprintf("give uid %d write permission there, or choose another data directory", os.Geteuid())
	case errors.Is(cause, syscall.ENOTDIR):
		e.Cause, e.Remediation = errors.New("it, or something above it, is not a directory"), "choose another data directory"
	case isNoSpace(cause):
		return NoSpace(dir, cause)
	}
	return e
}

func foreignOwner(dir string, owner, want int) error {
	return &Error{
		Code: CodeDataDirOwner, What: fmt.Sprintf("%s belongs to uid %d, not to uid %d", dir, owner, want),
		Remediation: fmt.Sprintf("run the engine as the user it belongs to, run `chown -R %d %s`, or choose another data directory", want, dir),
	}
}

func ownerOf(info fs.FileInfo) int { return int(info.Sys().(*syscall.Stat_t).Uid) }

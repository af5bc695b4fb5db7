package execparent

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// child is the main process of the command.
type child struct{ pid int }

// start executes the command with files as its descriptors from 0 on. It returns exactly one of its results.
func start(s wireSpec, files []uintptr) (*child, *notRun, *startFailed) {
	type answer struct {
		c  *child
		nr *notRun
		sf *startFailed
	}
	done := make(chan answer)
	go func() {
		// The thread takes on the command's view of the files and no-new-privileges, and is never used again: the
		// goroutine ends without unlocking it.
		runtime.LockOSThread()
		c, nr, sf := startOnThread(s, files)
		done <- answer{c, nr, sf}
		if s.Sandbox != nil {
			select {} // a sandbox that dies with its parent dies with this thread
		}
	}()
	a := <-done
	return a.c, a.nr, a.sf
}

func startOnThread(s wireSpec, files []uintptr) (*child, *notRun, *startFailed) {
	if sf := becomeLike(s.Credential, s.inPlace); sf != nil {
		return nil, nil, sf
	}
	if err := unix.Chdir(string(s.Cwd)); err != nil {
		return nil, nil, cwdFailed(string(s.Cwd), err)
	}
	argv, env := toStrings(s.Argv), toStrings(s.Env)
	program, nr := lookup(argv[0], valueOf(env, "PATH"))
	if nr != nil {
		return nil, nr, nil
	}
	attr := &syscall.ProcAttr{Env: env, Files: files, Sys: &syscall.SysProcAttr{Setsid: true}}
	if s.Credential != nil {
		attr.Sys.Credential = &syscall.Credential{Uid: s.Credential.UID, Gid: s.Credential.GID}
	}
	if s.Inside != nil {
		// What the worker has in its session keyring is not the command's. A kernel without keyrings has none to leave.
		_, _ = unix.KeyctlJoinSessionKeyring("")
		s.Inside.prepare(attr.Sys)
	}
	pid, err := syscall.ForkExec(program, argv, attr)
	if err == nil {
		if s.Inside != nil {
			if sf := s.Inside.join(pid); sf != nil {
				return nil, nil, sf
			}
		}
		return &child{pid: pid}, nil, nil
	}
	if sf := s.Inside.notLimited(err, attr); sf != nil {
		return nil, nil, sf
	}
	return startError(argv[0], err)
}

// becomeLike gives the calling thread, and no other, a working directory of its own and the file permissions of cred.
// Only the file system ids change, so that the thread cannot be signalled by whoever has that uid.
//
// In place, the whole process gets the working directory: where a filter of system calls forbids to unshare it.
func becomeLike(cred *Credential, inPlace bool) *startFailed {
	failed := func(what string, err error) *startFailed {
		return &startFailed{Stage: "process", Code: "credentials", Message: fmt.Sprintf("%s: %v", what, err), Remediation: "let the server run as root, which may become the commands' user"}
	}
	if !inPlace {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return failed("unshare the working directory", err)
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return failed("set no-new-privileges", err)
	}
	if cred == nil {
		return nil
	}
	// These calls report no error; asking again tells what holds.
	_, _ = unix.SetfsgidRetGid(int(cred.GID))
	_, _ = unix.SetfsuidRetUid(int(cred.UID))
	gid, err1 := unix.SetfsgidRetGid(-1)
	uid, err2 := unix.SetfsuidRetUid(-1)
	if gid != int(cred.GID) || uid != int(cred.UID) {
		return failed(fmt.Sprintf("act as uid %d, gid %d", cred.UID, cred.GID),
			errors.Join(errors.New("the kernel refused"), err1, err2))
	}
	return nil
}

func cwdFailed(cwd string, err error) *startFailed {
	sf := &startFailed{
		Stage: "cwd", Code: "cwd_unusable", Message: fmt.Sprintf("%q: %v", cwd, err),
		Remediation: "name a directory that exists and that the command's user may enter",
	}
	if errors.Is(err, unix.ENOENT) {
		sf.Code = "cwd_not_found"
	}
	return sf
}

// startError tells a program that the kernel will not run from a process that could not be made.
func startError(name string, err error) (*child, *notRun, *startFailed) {
	switch {
	case errors.Is(err, unix.E2BIG):
		return nil, nil, &startFailed{
			Stage: "environment", Code: "too_large", Message: "arguments and environment are too large: " + err.Error(),
			Remediation: "pass large data on stdin or in a file",
		}
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOMEM), errors.Is(err, unix.EPERM),
		errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENFILE), errors.Is(err, unix.EMFILE):
		return nil, nil, &startFailed{Stage: "process", Code: "fork_failed", Message: err.Error(), Remediation: seeMachine}
	case errors.Is(err, unix.ENOENT):
		return nil, &notRun{exitNotExecutable, name + ": its interpreter or loader does not exist"}, nil
	default:
		return nil, &notRun{exitNotExecutable, name + ": " + wordsFor(err)}, nil
	}
}

// valueOf is the value of a variable of env, whose names are unique.
func valueOf(env []string, name string) string {
	for _, v := range env {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

// stdinFile makes a file of the next n bytes of r. A file in memory, sealed against writing, needs nobody to feed it.
func stdinFile(r io.Reader, n int64, cred *Credential) (*os.File, error) {
	if n == 0 {
		return os.Open(os.DevNull)
	}
	fd, err := unix.MemfdCreate("stdin", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "stdin")
	err = func() error {
		if _, err := io.CopyN(f, r, n); err != nil {
			return err
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		if cred != nil {
			if err := unix.Fchown(fd, int(cred.UID), int(cred.GID)); err != nil {
				return err
			}
		}
		_, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL)
		return err
	}()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// outputPipe makes a pipe for one stream. The command's end blocks, as programs expect; it belongs to cred, or opening
// /dev/stdout would be refused.
func outputPipe(cred *Credential) (r *os.File, w uintptr, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, 0, err
	}
	err = unix.SetNonblock(fds[0], true)
	if err == nil && cred != nil {
		err = unix.Fchown(fds[1], int(cred.UID), int(cred.GID))
	}
	if err != nil {
		return nil, 0, errors.Join(err, unix.Close(fds[0]), unix.Close(fds[1]))
	}
	return os.NewFile(uintptr(fds[0]), "output"), uintptr(fds[1]), nil
}

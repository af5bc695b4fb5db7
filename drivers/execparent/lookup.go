package execparent

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// The exit codes of a command that could not be executed, as every shell has them.
const (
	exitNotFound      = 127
	exitNotExecutable = 126
)

// notRun says why a command was not executed, in the words that go to its standard error.
type notRun struct {
	exitCode int
	message  string
}

// lookup finds the program called name: as it is if it has a slash, else in path. It asks with the permissions and in
// the working directory of the calling thread.
func lookup(name, path string) (string, *notRun) {
	if strings.Contains(name, "/") {
		if problem := executable(name); problem != nil {
			return "", &notRun{codeOf(problem), name + ": " + wordsFor(problem)}
		}
		return name, nil
	}
	var refused error
	for dir := range strings.SplitSeq(path, ":") {
		if dir == "" {
			dir = "."
		}
		candidate := dir + "/" + name
		err := executable(candidate)
		if err == nil {
			return candidate, nil
		}
		if codeOf(err) == exitNotExecutable {
			refused = err
		}
	}
	if path == "" || refused == nil {
		return "", &notRun{exitNotFound, name + ": command not found"}
	}
	return "", &notRun{exitNotExecutable, name + ": " + wordsFor(refused)}
}

func executable(path string) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return unix.EISDIR
	}
	return unix.Faccessat(unix.AT_FDCWD, path, unix.X_OK, unix.AT_EACCESS)
}

func codeOf(err error) int {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ENAMETOOLONG) {
		return exitNotFound
	}
	return exitNotExecutable
}

func wordsFor(err error) string {
	switch {
	case errors.Is(err, unix.EISDIR):
		return "is a directory"
	case errors.Is(err, unix.ENOEXEC):
		return "not a program (a script needs a first line such as #!/bin/sh)"
	default:
		return err.Error()
	}
}

package driverstest

import (
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// ParentArg as the first argument turns a test binary whose TestMain is [Main] into an exec parent.
const ParentArg = "__execparent"

// Main is the TestMain of a package that runs the suite. With [ParentArg] it runs parent; otherwise it starts the tests
// in a process image that has the marker in its environment, as an engine has its secrets.
func Main(m *testing.M, parent func() int) {
	if len(os.Args) > 1 && os.Args[1] == ParentArg {
		// Not os.Exit: a binary with the race detector sleeps a second in there, for each command that was run.
		syscall.Exit(parent())
	}
	if os.Getenv(MarkerName) == "" {
		// Setenv would not do: /proc/PID/environ shows the environment that the process began with.
		err := unix.Exec("/proc/self/exe", os.Args, append(os.Environ(), MarkerName+"="+Marker))
		panic(err)
	}
	os.Exit(m.Run())
}

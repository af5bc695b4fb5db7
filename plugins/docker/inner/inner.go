// Package inner is what runs of Tenure inside a container: a process 1 that only waits, and the parents of commands. It is
// the engine's own static binary under a hidden subcommand, mounted or copied read-only to [Path], so it works in an image
// that has neither a shell nor a C library. It imports nothing of the engine.
package inner

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/drivers/execparent"
)

// Command as the first argument asks for [Main].
const Command = "__docker"

// Dir is where a container has the program, and Path is the program.
const (
	Dir  = "/.tenure"
	Path = Dir + "/tenure"
)

// The roles, as the argument after [Command].
const (
	// Pause waits for ever.
	Pause = "pause"
	// Exec is the parent of one command; it speaks on its standard streams.
	Exec = "exec"
	// Check exits with 0: the program can be run here.
	Check = "check"
)

// Main is the hidden subcommand; args are those after [Command]. Leave with syscall.Exit and its result.
func Main(args []string) int {
	role := ""
	if len(args) == 1 {
		role = args[0]
	}
	switch role {
	case Pause:
		return pause()
	case Exec:
		return execparent.MainLinked()
	case Check:
		return 0
	default:
		fmt.Fprintln(os.Stderr, "this is an internal command of tenure; it is started in containers only")
		return 2
	}
}

// pause is process 1. It ignores every signal, so that no command ends the container, and that of its children too, which
// makes the kernel reap what is left to it. The runtime gets all threads that it may ever need at once: later, the
// commands may have used up the container's processes.
func pause() int {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "this is no process 1: the container has another init")
		return 2
	}
	signal.Ignore()
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(-1) // there is no garbage, and nobody to collect it
	execparent.ReserveThreads(4)
	// Commands under the same user see nothing of it in /proc.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, "become non-dumpable:", err)
		return 1
	}
	for {
		_ = unix.Pause()
	}
}

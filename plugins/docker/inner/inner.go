// Package inner is what runs of Tenure inside a container: a process 1 that only waits, and the parents of commands. It is
// the engine's own static binary under a hidden subcommand, mounted or copied read-only to [Path], so it works in an image
// that has neither a shell nor a C library. It imports nothing of the engine.
package inner

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

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
	// Pause waits for ever and reaps what is left to process 1.
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

// pause is process 1. The kernel delivers no signal to it that it does not handle, so only the engine ends it.
func pause() int {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "this is no process 1: the container has another init")
		return 2
	}
	children := make(chan os.Signal, 1)
	signal.Notify(children, unix.SIGCHLD)
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, unix.SIGTERM)
	for {
		select {
		case <-children:
			reap()
		case <-terminated:
			return 0 // docker stop
		}
	}
}

// reap takes note of every child that has ended: one signal may stand for many.
func reap() {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
	}
}

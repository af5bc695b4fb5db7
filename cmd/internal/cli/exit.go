package cli

import (
	"fmt"
	"slices"
)

// The exit codes. They are an interface: scripts branch on them, so a code never changes its meaning.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitNotSignedIn = 4
	exitForbidden   = 5
	exitConflict    = 6
	exitNotGranted  = 7
	exitUnbalanced  = 9
	exitUnreachable = 10
	exitTimeout     = 124
	// exitOurs is what run and exec answer with when they, and not the command, went wrong.
	exitOurs        = 125
	exitInterrupted = 130
)

// exitText describes a code in a help text.
func exitText(code int) string {
	switch code {
	case exitDone:
		return "done"
	case exitFailed:
		return "failed"
	case exitUsage:
		return "usage: the command line or the request is wrong"
	case exitNotFound:
		return "not found"
	case exitNotSignedIn:
		return "not signed in: no key, or one that is not valid"
	case exitForbidden:
		return "forbidden to this key"
	case exitConflict:
		return "conflict: the present state does not allow it"
	case exitNotGranted:
		return "not granted: there was no room, or the lease ended before it was active, or did not become active in time"
	case exitUnbalanced:
		return "a runtime is accounted for by nothing"
	case exitUnreachable:
		return "server unreachable"
	case exitTimeout:
		return "timeout"
	case exitOurs:
		return "Tenure itself failed: no server, no lease, or an end that nobody saw"
	case exitInterrupted:
		return "interrupted"
	}
	return fmt.Sprintf("code %d", code)
}

// exitsOfCalls are what every verb that calls the server may end with.
var exitsOfCalls = []int{exitDone, exitFailed, exitUsage, exitNotFound, exitNotSignedIn, exitForbidden, exitConflict, exitUnreachable, exitInterrupted}

// exitsOfLocal are those of a verb that calls no server.
var exitsOfLocal = []int{exitDone, exitFailed, exitUsage}

// withCode adds a code in its place.
func withCode(codes []int, more ...int) []int {
	all := append(slices.Clone(codes), more...)
	slices.Sort(all)
	return all
}

// exitStatus ends the process with the code of a remote command. It is no failure of ours, so nothing is printed.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

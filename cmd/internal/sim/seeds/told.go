// Package seeds builds the simulation and runs it on many seeds, in as many processes as there are cores.
package seeds

import "github.com/tenure-dev/tenure/cmd/internal/check"

// Prefix begins a line that a process writes of a seed.
const Prefix = "story "

// Told is what a process says of a seed.
type Told struct {
	Seed       uint64
	VirtualMs  int64
	Steps      int
	Events     int
	Calls      int
	Finished   int
	Faults     map[string]int
	Looked     map[check.Rule]int
	Violations []check.Violation
	// Hash is that of the whole trace.
	Hash string
}

//go:build !faults

package faults

// Enabled says that the program was built to be ended at a point.
const Enabled = false

// Arm tells where to end, from the process's environment.
func Arm(func(variable string) string) {}

// Point passes a point.
func Point(string) {}

// Of passes the point of a step for one subject, the name of an event.
func Of(_, _ string) {}

// Each passes the point of a step for each item that subject gives a name.
func Each[T any](string, []T, func(T) string) {}

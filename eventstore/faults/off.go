//go:build !faults

package faults

import "time"

// Enabled says that the program was built to be ended at a point.
const Enabled = false

// Arm tells where to end and how wrong the clock is, from the process's environment.
func Arm(func(variable string) string) {}

// Point passes a point.
func Point(string) {}

// Of passes the point of a step for one subject, the name of an event.
func Of(_, _ string) {}

// Each passes the point of a step for each item that subject gives a name.
func Each[T any](string, []T, func(T) string) {}

// Now is the machine's time.
func Now() time.Time { return time.Now() }

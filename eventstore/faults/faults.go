// Package faults names the steps at which a crash must do no harm, so that a test can end the engine at each of them.
//
//	faults.Point("driver.acquire.before")            // the point driver.acquire.before
//	faults.Of("append.before", events[0].Name)       // the points append.before:LeaseRequested, append.before:LeaseGranted …
//	faults.Now()                                     // what the machine's clock shows
//
// Without the build tag faults all of it is nothing: the calls are inlined away. With the tag, the environment variable
// TENURE_FAULT_POINT names a point and a passage, such as "append.before:LeaseRequested@1"; the process ends itself by
// SIGKILL there. An absolute path in its place names a file that says so, or nothing, and may be replaced while the process runs;
// passages are counted from then on. TENURE_FAULT_TRACE names a file to which every passage is written. TENURE_FAULT_HOLD names a point and a
// file, such as "local.acquire.built=FILE"; the first one to pass waits there as long as the file exists. TENURE_FAULT_DELAY
// names a step and a time, such as "append.before=50ms": every passage of it takes that long at most, by chance. TENURE_FAULT_CLOCK
// names a file that says how wrong the machine's clock is, such as "-1h"; it may be replaced while the process runs.
//
// A step is given as a literal string: the list of all points, [Points], is made from the calls in the source and from the
// catalog of events.
package faults

//go:generate go run ../../cmd/internal/devtool/faultpoints -o points_generated.go

// The variables that say what is to go wrong. The engine takes its environment out of the process image at its start, so
// they reach this package through [Arm].
const (
	PointVariable = "TENURE_FAULT_POINT"
	TraceVariable = "TENURE_FAULT_TRACE"
	HoldVariable  = "TENURE_FAULT_HOLD"
	ClockVariable = "TENURE_FAULT_CLOCK"
	DelayVariable = "TENURE_FAULT_DELAY"
)

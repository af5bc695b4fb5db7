// Package plugintest helps to test plugins: a driver across the wire, through the same host and the same seam as in an
// engine, and a provider on the published npm SDK.
//
//	func TestMain(m *testing.M) { plugintest.Main(m, execparent.Main, nil) }
//
//	driverstest.Run(t, driverstest.Features{New: func(t *testing.T) drivers.Driver { return plugintest.Wire(t, newDriver(t)) }})
//
// [Wire] leaves the driver in the test's process, so that a test can look into it; what crosses a process is the wire. With
// [Process] the driver is in a worker of its own.
//
// The suite for workers in any language, which needs no Go, is plugintest/conformance.
package plugintest

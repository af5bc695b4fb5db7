// Package plugins is the side of Tenure that speaks to provider plugins: processes that make and drive runtimes.
//
// A plugin is a process of its own. The engine talks to it over its standard input and output, in newline-delimited
// JSON-RPC 2.0, the protocol of Paperclip's published TypeScript SDK, so that a provider written on that SDK runs
// unmodified. The packages below are
//
//	protocol    frames, methods and error codes of the wire
//	manifest    what a plugin says of itself before it runs
//	host        starts, watches and ends the processes; implements provider.Workers for them
//	sdk         lets an author in Go serve a drivers.Driver
//	plugintest  runs the conformance suite of the drivers across the wire
//
// and one for each provider that comes in the same binary.
//
// They may import package drivers and nothing else of this module: an author of a plugin must not need the engine, and
// the engine must not be able to reach around the wire.
//
// What the engine's drivers need of a plugin they declare themselves, as [github.com/tenure-dev/tenure/drivers/provider.Workers];
// the words of the wire stay on this side of it.
package plugins

// Package local is the driver that makes runtimes on the engine's own machine: a workspace directory per lease, and
// commands as processes under drivers/execparent.
//
// Options.Root holds one directory per runtime, as package rundir lays it out: the workspace, which is HOME and the default
// working directory, and a directory for TMPDIR.
//
// Started as root, commands run under Options.UID and GID and the isolation is "uid": a command cannot read or signal the
// engine, but commands of different leases share that user. Otherwise they run as the engine's own user and the isolation
// is "none": whoever may run commands here owns the engine's files.
//
// Release ends every process of the runtime: those under an exec parent, and whatever else has the runtime's id in its
// environment or works below its directory. A process that its exec parent lost (because somebody killed that) and that
// also cleared its environment and left the workspace is not found.
package local

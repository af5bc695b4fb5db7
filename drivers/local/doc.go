// Package local is the driver that makes runtimes on the engine's own machine: a workspace directory per lease, and
// commands as processes under drivers/execparent.
//
// Options.Root holds one directory per runtime, named by its id, which appears complete or not at all:
//
//	ROOT/<runtime id>/          0711  renamed into place, so that a repeated Acquire finds it or makes it
//	    marker.json             0600  whose it is: installation, epoch, lease, fence
//	    parents/                0700  one file per exec parent that lives
//	    workspace/              0700  of the command's user; HOME and the default working directory
//	    tmp/                    0700  of the command's user; TMPDIR
//	ROOT/.new-<runtime id>-*    an Acquire that did not finish
//	ROOT/.gone-<runtime id>-*   a Release that did not finish; still listed, since its marker goes last
//
// Started as root, commands run under Options.UID and GID and the isolation is "uid": a command cannot read or signal the
// engine, but commands of different leases share that user. Otherwise they run as the engine's own user and the isolation
// is "none": whoever may run commands here owns the engine's files.
//
// Release ends every process of the runtime: those under an exec parent, and whatever else has the runtime's id in its
// environment or works below its directory. A process that its exec parent lost (because somebody killed that) and that
// also cleared its environment and left the workspace is not found.
package local

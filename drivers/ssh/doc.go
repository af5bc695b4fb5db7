// Package ssh is the driver that makes runtimes on hosts reached by SSH. It is the only part that uses x/crypto/ssh.
//
// On the host, below the environment's remoteWorkspacePath:
//
//	ROOT/                            the working directory of every lease, unless the environment asks for one of its own
//	ROOT/<runtime id>/               that one, in workspaceMode per_lease
//	ROOT/.tenure/leases/<runtime id>  the marker: installation, epoch, lease, fence, identity; it appears whole or not at all
//	ROOT/.tenure/leases/.<runtime id>.lock   the lock of who holds it
//	ROOT/.tenure/leases/.<runtime id>.place  which directory the working directory was, in workspaceMode per_lease
//	ROOT/.tenure/leases/<runtime id>.gone  a Release that did not finish; still listed
//	ROOT/.tenure/tmp/<runtime id>/   TMPDIR
//
// Release removes all but ROOT itself and what commands left in a shared one. ROOT/.tenure goes with the last lease.
//
// # Connections
//
// One connection serves all commands of one target, with one set of credentials and one trust; where the server's
// MaxSessions refuses a channel, another connection is made or the command waits. Each phase of a connection (dial, banner,
// key_exchange, auth, session, command_start) has its own deadline and is named in errors. The host key is checked before
// any credential is sent: against knownHosts, whose types of key are asked for first; or, without strictHostKeyChecking,
// against what the same lease has seen first, which its metadata holds. A refusal is definite. A connection that stays
// silent is given up.
//
// # Commands
//
// Nothing depends on the login shell: it reads one line of plain words and single quotes. Everything else, the scripts, the
// command, its arguments and its environment, travels on stdin, so no value of a variable is ever in an argument list or a
// file, on either machine.
//
// A host with perl gives each command a parent (runner.pl): it makes the command's pipes, is the subreaper of what the
// command starts, tells exit codes from signals, ends the whole tree at the timeout, on request and when the channel closes.
// A host with python3 alone, or neither, starts commands by a launcher that becomes the command. There the server tells how
// it ended; its tree is ended over a second channel, by the id in the environment of its processes; a descendant that
// cleared its environment is not found; a command over a broken link runs until the release; and /dev/stdout cannot be
// opened, since the server gives commands sockets. Without both, a variable whose name a shell cannot pass on refuses the
// command.
//
// A command whose channel closes without an exit status, or whose parent does not speak its last word, ends unknown, with
// the output so far; so does one whose link is lost. It is never started again.
//
// # Holders
//
// The marker says whose the runtime is: the fence, and whether it is kept. Whoever starts a command holds the runtime's lock
// shared from the look at the marker until the command is executed; who changes the marker holds it alone until what runs is
// ended. The lock is the kernel's flock, by the program of that name, perl or python3. A host with none of them does without: the
// marker is written before what runs is ended, and a command looks at it right before it is executed, when it can be found
// already. So one that slips in is ended; what remains is that a release and a resume at once may both go on. Commands are of
// the account that the files belong to: they could change them.
//
// Release ends whatever has the runtime's id in its environment. The host must be Linux with /proc and a POSIX sh.
package ssh

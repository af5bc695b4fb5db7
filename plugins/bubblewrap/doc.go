// Package bubblewrap is a provider that makes sandboxes of this machine's own kernel: a workspace per runtime, and for each
// command namespaces of its own, made by the program bwrap without any privilege.
//
// # What a command sees
//
//	/usr /bin /sbin /lib*     the machine's, read-only; so are config.readOnlyPaths
//	/etc                      of the machine only what programs need to load and to talk: see etcFiles, which are as they were
//	                          when the command started, etcTrees, and etcOfNetwork with the host's network; passwd, group and
//	                          nsswitch.conf are made up, as is hosts without network, and know root, nobody and the
//	                          command's user
//	/workspace                writable, of the runtime: HOME and the default working directory
//	/tmp                      writable, of the runtime
//	/dev                      null, zero, full, random, urandom, tty, pts, and a /dev/shm of its own
//	/proc                     of its own pid namespace
//
// and nothing else: no /home, /root, /var, /run, /sys, no other runtime, no process of anybody else. The network is none
// (a loopback of its own) or the host's. Every command has a user, mount, pid, ipc, uts and, with cgroup v1, cgroup
// namespace; no capability, no-new-privileges, and no way to make further user namespaces. It has the environment that it
// is given and no more; neither bwrap's arguments nor its environment hold anything of it (see execparent.Sandbox).
//
// # What lasts
//
// The workspace and /tmp last from command to command, processes do not: they end with the command that started them.
// On disk a runtime is what package rundir says. Where limits are asked for, it has a cgroup as well, which all its commands
// share; bwrap and the small process of ours inside the sandbox are not counted. Limits that cannot be kept are refused,
// unless the configuration says best_effort: then the metadata names them.
//
// # Whose processes
//
// Started as root, bwrap and the commands run as Options.UID, and nothing of the sandbox is ever root. Otherwise they are
// this process's own user's. All runtimes share that user; what keeps them apart are the namespaces.
package bubblewrap

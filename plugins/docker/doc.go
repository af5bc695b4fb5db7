// Package docker makes runtimes of containers, through the API of a Docker engine.
//
// A runtime is a container and its volumes, all with labels (see labels.go) that say whose they are; the engine keeps no
// other record of them.
//
//	container tenure-<runtime id>              process 1 only waits (package inner); commands are execs beside it
//	volume    tenure-<runtime id>-workspace    /workspace: HOME and the default working directory
//	volume    tenure-<runtime id>-tmp          /tmp: TMPDIR
//	volume    tenure-<runtime id>-inner        /.tenure, only where the engine's program cannot be mounted (helper.go)
//	volume    tenure-<runtime id>-own          only with a read-only root and a user other than root (owner.go)
//	volume    tenure-<runtime id>-fence-<n>    an empty one per later holder, for lists: labels of a container cannot be changed
//
// A later holder renames the container, and so does one that gives it back or removes it: see hold.go.
//
// The container's name makes Acquire idempotent: the second create of a name is a conflict, and then the container is
// found and adopted if its labels are ours and its fence is not newer. A container is started last, so one that runs is
// complete, and one that is only created is completed by whoever finds it. Docker's own volume prune may take the fence
// volumes, which are mounted nowhere; who holds the container is in its name.
//
// What the engine is still making is in no list, and it goes on though the worker that asked for it is dead. So a release
// that finds no container asks whether its name is taken (making.go).
//
// Commands have no capability at all and no-new-privileges, the default seccomp filter, and no network unless the
// configuration says bridge. There is no exception. What the engine cannot limit or connect is refused, never left out.
//
// A command is an exec of package inner, which is the parent of the command as on the driver local: it gets argv,
// environment and stdin through the exec's stdin (they are in no argument list, no file and not in the engine's records),
// sends both outputs in frames, and tells how the command ended; so 127, 126 and signals are exact. When the link to it is
// lost the end of the command is unknown, and the parent ends the command.
//
// Who may use a Docker engine is root on its machine: the worker with this driver is, the commands in its containers are
// not.
package docker

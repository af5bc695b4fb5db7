// Package embedded finds an installed PostgreSQL and runs one server for one data directory, so that an engine started without a
// database URL has a database that nobody else can reach.
//
// What is where, below the engine's data directory:
//
//	tenure.lock         flock: who holds it owns the directory (Lock)
//	postgres/           the cluster; made beside as postgres.init-* and renamed, so it is whole or absent
//	postgres.log        what the server says, bounded in size
//	postgres.password   a random password, mode 0600, used only where peer authentication cannot work
//	run/                mode 0700: the server's socket; when that path is too long for a socket, a directory in /run or /tmp
//
// Who may connect: only the operating system user the engine runs as, over the socket (peer). A uid without a passwd entry has no
// name that peer could match; it proves itself with the password file (scram-sha-256). There is no trust and no TCP.
//
// What survives what:
//
//	engine killed      the server keeps running in its own session; the next Start adopts it, also in the middle of crash recovery
//	server killed      the supervisor waits for orphaned backends, clears the stale pid file and starts it again; ConnString stays
//	both killed        Start does the same
//	killed in initdb   a postgres.init-* directory stays and the next Start removes it
//
// A process is this directory's server only if its executable is postgres and its working directory is the cluster: a pid in a file
// proves nothing, it may have been given to somebody else. A socket is this server's only if the kernel names that process as the
// listener and the server itself names the cluster as its data directory.
//
// The package needs Linux with /proc.
package embedded

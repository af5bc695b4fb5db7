// Package execparent is the small parent process of one local command, and the client that starts it.
//
//	engine ──spec, stdin, kill──► parent ──fork, exec──► command
//	       ◄──started, result────    │ ◄──stdout, stderr──┘
//	                                 └──► journal directory: frames, seal.json, result.json
//
// The parent is the engine's own binary under a hidden subcommand ([Main]). It is started with an empty environment and
// gets everything, secrets included, through an inherited pipe; it makes itself non-dumpable, so that a command can read
// nothing in /proc/$PPID. It is a child subreaper: every process that the command leaves behind becomes its child, in
// whatever session or group it hides.
//
// A command's tree ends with the command. When the main process exits, what is left may finish its output during a
// bounded drain and is then killed; if it still held the output open at that time, the output is abandoned, not complete.
// At the deadline, on a kill request, on a signal to the parent, or when the engine dies (the pipe from it ends), the
// main process gets SIGTERM, after the grace its group SIGKILL, then every descendant SIGKILL, again and again until none
// is left or a limit is reached; those are counted as leftovers. The end of the process never waits for the end of the
// output.
//
// The command runs in a session of its own, with no-new-privileges, descriptors 0, 1 and 2 and nothing else. Started as
// root it runs under the uid and gid of the spec without supplementary groups, and the working directory and the program
// are looked up with that uid's permissions.
//
// A command may run inside a program that builds a sandbox around it ([Sandbox]). Then there is a second, inner parent, and
// all the above holds: the outer one keeps the journal and the time, the inner one looks up, starts, asks to end and reaps.
//
// Where parent and engine share neither pipes nor a directory, as in a container, the parent is linked ([MainLinked],
// [StartLinked]): it speaks over its standard streams, the journal is on the engine's side, and both ends take silence for
// the other's end. A linked parent may be of another version than the engine, so what they say to each other only grows.
//
// The result goes to the engine and, as a file that is renamed into place, to the journal directory ([ReadResult]).
package execparent

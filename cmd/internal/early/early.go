// Package early is the role of the program that is started for every command of a lease, its parent. That needs next to nothing
// of what the binary is made of, and begins before it. Package container, below, is the same for what runs in a container.
//
// A program starts with the initialization of every package that is linked in, used or not, which takes the engine's
// dependencies several milliseconds: a schema library compiles its schemas, a parser of names its expressions. Go initializes
// packages in the order of their paths as soon as their imports are ready, so this one, which imports a part of the standard
// library and little else, comes before nearly all of those: what it starts does not pay for them.
//
// So nothing may be imported here, or by the role, that imports more. The test says which package would be paid for.
package early

import (
	"os"
	"syscall"

	"github.com/tenure-dev/tenure/drivers/execparent"
)

// ExecParent is the hidden subcommand that is the parent of a command.
const ExecParent = "__execparent"

// init does not return in a process that has this role. Nothing of the engine has run in it then, and nothing of it runs at
// its end.
func init() { //nolint:gochecknoinits // the point of the package: main comes too late
	if len(os.Args) > 1 && os.Args[1] == ExecParent {
		syscall.Exit(execparent.Main())
	}
}

// Package container is the role of the program within a container, as early as it can be; see the package above. It is one of
// its own because that role imports a little more, and so comes a little later.
package container

import (
	"os"
	"syscall"

	"github.com/tenure-dev/tenure/plugins/docker/inner"
)

// init does not return in a process that has this role.
func init() { //nolint:gochecknoinits // the point of the package: main comes too late
	if len(os.Args) > 1 && os.Args[1] == inner.Command {
		syscall.Exit(inner.Main(os.Args[2:]))
	}
}

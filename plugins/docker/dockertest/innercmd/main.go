// Command innercmd is the program in the containers of tests: there, the test binary is not static.
package main

import (
	"os"
	"syscall"

	"github.com/tenure-dev/tenure/plugins/docker/inner"
)

func main() {
	if len(os.Args) < 2 || os.Args[1] != inner.Command {
		syscall.Exit(2)
	}
	syscall.Exit(inner.Main(os.Args[2:]))
}

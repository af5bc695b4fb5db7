// Command tenure is the engine and its command line.
package main

import (
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/tenure-dev/tenure/cmd/internal/app"
	"github.com/tenure-dev/tenure/cmd/internal/cli"
)

// version is set by the build.
var version = "dev"

func main() {
	if len(os.Args) > 1 && os.Args[1] == app.PluginCommand {
		os.Exit(app.ServePlugin(os.Args[2:]))
	}
	env := os.Getenv
	if mayServe(os.Args[1:]) {
		taken, err := app.TakeEnvironment()
		if err != nil {
			fmt.Fprintln(os.Stderr, "tenure:", err)
			os.Exit(1)
		}
		env = taken.Get
	}
	os.Exit(cli.Main(context.Background(), cli.Deps{
		Version: version, Serve: app.Serve(version), Drain: app.Drain, Keysets: app.Keysets{}, Conformance: app.Conformance, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Env: env,
	}, os.Args[1:]))
}

// mayServe reports whether these arguments may start an engine: flags can stand before the verb. A false alarm costs a
// millisecond.
func mayServe(args []string) bool {
	if end := slices.Index(args, "--"); end >= 0 {
		args = args[:end]
	}
	return slices.ContainsFunc(args, func(a string) bool { return a == "serve" || a == "api" || a == "worker" })
}

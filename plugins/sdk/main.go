package sdk

import (
	"context"
	"fmt"
	"io"
	"os"
)

// manifestFlag asks a worker for its manifest.
const manifestFlag = "--manifest"

// Main is the whole main function of a plugin: it serves p on standard input and output and ends the process, with 1 if that
// failed. With the argument --manifest it writes to standard output instead what belongs into the plugin's manifest.json.
func Main(p Plugin) { os.Exit(run(p, os.Args[1:], os.Stdout, os.Stderr)) }

func run(p Plugin, args []string, stdout, stderr io.Writer) int {
	err := func() error {
		if len(args) != 1 || args[0] != manifestFlag {
			return Serve(context.Background(), p)
		}
		manifest, err := p.ManifestJSON()
		if err == nil {
			_, err = fmt.Fprintf(stdout, "%s\n", manifest)
		}
		return err
	}()
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	return 0
}

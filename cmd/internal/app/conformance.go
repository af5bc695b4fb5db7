package app

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/tenure-dev/tenure/cmd/internal/cli"
	"github.com/tenure-dev/tenure/plugins/plugintest/conformance"
)

// Conformance checks a plugin and writes the report. failed is how many checks did not hold.
func Conformance(ctx context.Context, o cli.ConformanceOptions, w io.Writer) (failed int, err error) {
	target := conformance.Target{Command: o.Target}
	if info, err := os.Stat(o.Target[0]); len(o.Target) == 1 && err == nil && info.IsDir() {
		target = conformance.Target{Dir: o.Target[0]}
	}
	if o.ManifestFile != "" {
		if target.Manifest, err = os.ReadFile(o.ManifestFile); err != nil {
			return 0, fmt.Errorf("--manifest: %w", err)
		}
	}
	report, err := conformance.Run(ctx, target, conformance.Options{
		Drivers: o.Drivers, Config: o.Config, NoExtension: o.NoExtension, CallTimeout: o.CallTimeout,
		Progress: func(r conformance.Result) { fmt.Fprintf(o.Progress, "%-14s %s: %s\n", r.Status, r.Check, r.Sentence) },
	})
	if err != nil {
		return 0, err
	}
	write := report.WriteTable
	if o.JSON {
		write = report.WriteJSON
	}
	return report.Failed(), write(w)
}

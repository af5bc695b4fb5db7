package cli

import (
	"context"
	"runtime"

	"github.com/spf13/cobra"
)

// versionInfo is what this program is.
type versionInfo struct {
	Version string `json:"version"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

func (r *root) version() *cobra.Command {
	show := view[versionInfo]{
		name: func(v versionInfo) string { return v.Version },
		columns: []column[versionInfo]{
			{title: "VERSION", value: func(v versionInfo, _ cell) string { return v.Version }},
			{title: "GO", value: func(v versionInfo, _ cell) string { return v.Go }},
			{title: "PLATFORM", value: func(v versionInfo, _ cell) string { return v.OS + "/" + v.Arch }},
		},
	}
	return r.verb(verb{
		use:      "version",
		short:    "Show the version of this program",
		examples: [2]string{"tenure version", "tenure version -o json"},
		exits:    exitsOfLocal,
		run: func(context.Context, []string) error {
			return show.show(r, versionInfo{r.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH})
		},
	})
}

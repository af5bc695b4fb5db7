// Package archtest keeps the import table: who may import whom in this module, and which foreign packages belong to one
// part only. The table is [rules] and [reserved]; the reasons stand beside the lines.
//
// The table binds files that are not tests; tests may import any test helper. The package domain is held to more: a
// short list of standard packages and no clock, no random number, no output (purity.go), so that a decision is a
// function of its arguments and can be replayed.
package archtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
)

// Module is the path of this module.
const Module = "github.com/tenure-dev/tenure"

// Package is what the checks need of a package: its files that are not tests, and what those import.
type Package struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Imports    []string
}

// Rel is the import path within the module: "drivers/local"; "." is the module itself.
func (p Package) Rel() string {
	rel, _ := within(p.ImportPath)
	return rel
}

// Load lists the packages of the module that dir lies in. A package that does not compile is listed all the same.
func Load(ctx context.Context, dir string) ([]Package, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-e", "-json=ImportPath,Dir,GoFiles,Imports", Module+"/...")
	cmd.Dir = dir
	listed, err := cmd.Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			return nil, fmt.Errorf("go list: %w: %s", err, exit.Stderr)
		}
		return nil, fmt.Errorf("go list: %w", err)
	}
	var packages []Package
	for dec := json.NewDecoder(strings.NewReader(string(listed))); ; {
		var p Package
		switch err := dec.Decode(&p); {
		case errors.Is(err, io.EOF):
			return packages, nil
		case err != nil:
			return nil, fmt.Errorf("read the answer of go list: %w", err)
		}
		packages = append(packages, p)
	}
}

// within cuts the module's path off path and says whether path is in the module at all.
func within(path string) (rel string, ok bool) {
	if path == Module {
		return ".", true
	}
	return strings.CutPrefix(path, Module+"/")
}

// under says that path is root or below it.
func under(path, root string) bool { return path == root || strings.HasPrefix(path, root+"/") }

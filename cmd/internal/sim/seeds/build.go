package seeds

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/tenure-dev/tenure/cmd/internal/sim/still"
)

const pkg = "github.com/tenure-dev/tenure/cmd/internal/sim"

// Build builds the simulation into dir, which it makes, with the sources below root as they are but for more, and returns
// the program.
func Build(ctx context.Context, root, dir string, more ...still.Edit) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find a directory: %w", err)
	}
	sources := filepath.Join(dir, "_src") // Go looks into no directory of such a name
	if err := os.MkdirAll(sources, 0o750); err != nil {
		return "", fmt.Errorf("make a directory: %w", err)
	}
	overlay, err := still.Runtime(ctx, sources)
	if err != nil {
		return "", err
	}
	changed, err := still.Changed(root, sources, more)
	if err != nil {
		return "", err
	}
	file, program := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "sim.test")
	maps.Copy(overlay.Replace, changed.Replace)
	if err := overlay.Write(file); err != nil {
		return "", err
	}
	build := exec.CommandContext(ctx, "go", "test", "-c", "-overlay", file, "-o", program, pkg)
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	var said bytes.Buffer
	build.Stdout, build.Stderr = &said, &said
	if err := build.Run(); err != nil {
		return "", fmt.Errorf("build the simulation: %w\n%s", err, said.Bytes())
	}
	return program, nil
}

package apptest

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/eventstore/faults"
)

var faulty struct {
	once sync.Once
	path string
	err  error
}

// WithFaults starts a program that was built with the tag faults, once for a test program. It ends itself at the point, such
// as "driver.acquire.before@1", if one is given, and appends the names of all points that it passes to the trace file.
func WithFaults(t testing.TB, point, trace string) Option {
	t.Helper()
	plain := Binary(t)
	faulty.once.Do(func() {
		faulty.path = filepath.Join(filepath.Dir(plain), "tenure-faults")
		out, err := exec.CommandContext(context.Background(), "go", "build", raceFlag, "-tags=faults", "-o", faulty.path, "github.com/tenure-dev/tenure/cmd/tenure").CombinedOutput()
		if err != nil {
			faulty.err = fmt.Errorf("build the program with faults: %w\n%s", err, out)
		}
	})
	require.NoError(t, faulty.err)
	return func(e *Engine) {
		e.binary = faulty.path
		e.Env = append(e.Env, faults.TraceVariable+"="+trace)
		if point != "" {
			e.Env = append(e.Env, faults.PointVariable+"="+point)
		}
	}
}

// Disarm makes later starts pass every point.
func (e *Engine) Disarm() {
	e.Env = slices.DeleteFunc(e.Env, func(kv string) bool { return strings.HasPrefix(kv, faults.PointVariable+"=") })
}

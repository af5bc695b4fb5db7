//go:build !race

// The detector of races knows of no order between the world, which one goroutine plays, and those that it lets go on one at a time; what
// the engine's own goroutines do to each other, it sees in the engine's tests. Package seeds has a test that runs this one.
package sim

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/cmd/internal/sim/seeds"
)

// The program that `make sim` runs is this test, built for it; see package seeds. By hand it is a test like any other.
var (
	first  = flag.Uint64("first", 1, "the first seed")
	count  = flag.Int("seeds", 60, "how many seeds")
	stride = flag.Uint64("stride", 1, "from one seed to the next")
	told   = flag.Bool("told", false, "write a line of JSON for each seed")
	traces = flag.String("traces", "", "write the trace of each seed into this directory")
	aloud  = flag.Bool("aloud", false, "write what engines say into the trace")
)

// It is not parallel: ids come from one source in a process.
func TestNoStoryBreaksAPromise(t *testing.T) {
	// One goroutine at a time, and none stopped by the collection of garbage.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	for n := range uint64(*count) {
		seed := *first + n**stride
		var s *story
		synctest.Test(t, func(*testing.T) { s = tell(seed, *aloud) })
		if *traces != "" {
			require.NoError(t, s.write(filepath.Join(*traces, fmt.Sprintf("seed-%d.txt", seed))))
		}
		if *told {
			s.Hash = s.trace.hash()
			line, err := json.Marshal(s.Told)
			require.NoError(t, err)
			fmt.Fprintln(os.Stdout, seeds.Prefix+string(line))
		} else {
			require.Empty(t, s.Violations, "seed %d; make sim SEED=%d SEEDS=1", seed, seed)
		}
		if n%8 == 7 {
			runtime.GC()
		}
	}
}

package sim

import (
	"flag"
	"os"
	"runtime"
	"runtime/debug"
	"testing"
	"testing/synctest"
	"time"
)

var (
	first = flag.Uint64("first", 1, "the first seed")
	seeds = flag.Int("seeds", 20, "how many seeds")
	aloud = flag.Bool("aloud", false, "write what engines say into the trace")
	out   = flag.String("trace", "", "write the trace to this file")
)

func TestSeeds(t *testing.T) {
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(-1)
	for seed := *first; seed < *first+uint64(*seeds); seed++ {
		began := time.Now()
		var s *Story
		synctest.Test(t, func(*testing.T) { s = Tell(seed, Options{Aloud: *aloud}) })
		t.Logf("seed %d: %s virtual, %d steps, %d events, %d calls, %d finished, %s; %v", seed, s.Virtual, s.Steps, s.Events, s.Calls, s.Finished, time.Since(began), s.Counts.Faults)
		for _, v := range s.Violations {
			t.Errorf("%s", v)
		}
		if *out != "" {
			f, err := os.Create(*out)
			if err != nil {
				t.Fatal(err)
			}
			_ = s.trace.write(f, 0)
			_ = f.Close()
		}
		t.Log(s.trace.hash())
		runtime.GC()
	}
}

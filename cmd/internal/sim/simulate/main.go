// Command simulate is `make sim` and `make sim-mutants`.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/tenure-dev/tenure/cmd/internal/check"
	"github.com/tenure-dev/tenure/cmd/internal/sim/seeds"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	first := flag.Uint64("first", 1, "the first seed")
	count := flag.Int("seeds", 5000, "how many seeds")
	mutants := flag.Bool("mutants", false, "plant bugs, and see that each is found")
	flag.Parse()
	run := func(ctx context.Context) error { return simulate(ctx, *first, *count) }
	if *mutants {
		run = plant
	}
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "sim:", err)
		os.Exit(1) //nolint:gocritic // nothing is left to be undone
	}
}

const (
	// root is that of the sources, where make runs this; dir is where the program and traces go.
	root = "."
	dir  = "build/sim"
)

// sums are what many stories came to.
type sums struct {
	stories, steps, events, calls, finished int
	virtual                                 time.Duration
	faults                                  map[string]int
	looked                                  map[check.Rule]int
	hashes                                  map[uint64]string
	began, spoke                            time.Time
}

func newSums() *sums {
	return &sums{faults: map[string]int{}, looked: map[check.Rule]int{}, hashes: map[uint64]string{}, began: time.Now(), spoke: time.Now()}
}

func (s *sums) add(t seeds.Told) {
	s.stories, s.steps, s.events, s.calls, s.finished = s.stories+1, s.steps+t.Steps, s.events+t.Events, s.calls+t.Calls, s.finished+t.Finished
	s.virtual += time.Duration(t.VirtualMs) * time.Millisecond
	for f, n := range t.Faults {
		s.faults[f] += n
	}
	for r, n := range t.Looked {
		s.looked[r] += n
	}
	s.hashes[t.Seed] = t.Hash
}

func (s *sums) String() string {
	return fmt.Sprintf("%d seeds, %s virtual, %d steps, %d events, %d calls, %d finished leases, %.1f s",
		s.stories, s.virtual.Round(time.Minute), s.steps, s.events, s.calls, s.finished, time.Since(s.began).Seconds())
}

func list[K ~string](m map[K]int) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%s %d", k, m[k]))
	}
	return strings.Join(parts, ", ")
}

// replays is how many seeds of each run are run again, in another process, to see that they come to the same.
const replays = 40

func simulate(ctx context.Context, first uint64, count int) error {
	program, err := seeds.Build(ctx, root, dir)
	if err != nil {
		return err
	}
	s, run := newSums(), seeds.Run{Program: program, First: first, Seeds: count, Jobs: runtime.NumCPU()}
	var broken *seeds.Told
	err = run.Each(ctx, func(t seeds.Told) bool {
		s.add(t)
		if len(t.Violations) > 0 {
			broken = &t
			return false
		}
		if time.Since(s.spoke) > 10*time.Second {
			s.spoke = time.Now()
			fmt.Fprintln(os.Stderr, "sim:", s)
		}
		return true
	})
	if err != nil || ctx.Err() != nil {
		return cmp.Or(err, ctx.Err())
	}
	if broken != nil {
		return explain(ctx, run, *broken)
	}
	again := run
	again.Seeds = min(count, replays)
	// Another order of seeds in each process than before: what a story comes to must not hang on those before it.
	again.First, again.Jobs = first+uint64(count-again.Seeds), 1
	var differ []uint64
	err = again.Each(ctx, func(t seeds.Told) bool {
		if s.hashes[t.Seed] != t.Hash {
			differ = append(differ, t.Seed)
		}
		return true
	})
	if err != nil || ctx.Err() != nil {
		return cmp.Or(err, ctx.Err())
	}
	if len(differ) > 0 {
		return fmt.Errorf("seeds %v came to something else the second time: the simulation is not deterministic; two traces of one, by -traces of %s, show where they part", differ, program)
	}
	fmt.Fprintf(os.Stdout, "sim: %s\nsim: faults: %s\nsim: looked at: %s\nsim: %d seeds replayed: the same, byte for byte\nsim ok\n", s, list(s.faults), list(s.looked), again.Seeds)
	return nil
}

// explain replays a story that broke a promise, and says all there is to say of it.
func explain(ctx context.Context, run seeds.Run, t seeds.Told) error {
	fmt.Fprintf(os.Stdout, "sim: seed %d breaks %d promises; replay it with: make sim SEED=%d SEEDS=1\n", t.Seed, len(t.Violations), t.Seed)
	for _, v := range t.Violations {
		fmt.Fprintln(os.Stdout, "  "+v.String())
	}
	run.First, run.Seeds, run.Jobs, run.Traces = t.Seed, 1, 1, dir
	var again seeds.Told
	if err := run.Each(ctx, func(t seeds.Told) bool { again = t; return true }); err != nil {
		return err
	}
	file := filepath.Join(dir, fmt.Sprintf("seed-%d.txt", t.Seed))
	if text, err := os.ReadFile(file); err == nil {
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		fmt.Fprintf(os.Stdout, "sim: the end of its trace; all of it is in %s\n", file)
		for _, l := range lines[max(0, len(lines)-tail):] {
			fmt.Fprintln(os.Stdout, "  "+l)
		}
	}
	if again.Hash == t.Hash {
		fmt.Fprintln(os.Stdout, "sim: it replays exactly")
	} else {
		fmt.Fprintln(os.Stdout, "sim: it does NOT replay exactly")
	}
	return fmt.Errorf("seed %d: %d violations", t.Seed, len(t.Violations))
}

// tail is how much of a trace is shown.
const tail = 40

// enough is within how many seeds a planted bug must be found.
const enough = 1000

// plant plants each bug in turn, and sees that the simulation finds it.
func plant(ctx context.Context) error {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "MUTATION\tBREAKS\tSEED\tRULES\tSECONDS") // Flush tells
	var survivors []string
	for _, m := range seeds.Mutants {
		program, err := seeds.Build(ctx, root, filepath.Join(dir, "mutants", m.Name), m.Edits...)
		if err != nil {
			return fmt.Errorf("mutant %s: %w", m.Name, err)
		}
		began := time.Now()
		var found *seeds.Told
		run := seeds.Run{Program: program, First: 1, Seeds: enough, Jobs: runtime.NumCPU()}
		if err := run.Each(ctx, func(t seeds.Told) bool {
			if len(t.Violations) > 0 {
				found = &t
			}
			return found == nil
		}); err != nil {
			return fmt.Errorf("mutant %s: %w", m.Name, err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		seed, rules := "survives", ""
		if found != nil {
			seed, rules = fmt.Sprint(found.Seed), rulesOf(found.Violations)
		} else {
			survivors = append(survivors, m.Name)
		}
		fmt.Fprintf(os.Stderr, "sim: %s: %s %s, %.1f s\n", m.Name, seed, rules, time.Since(began).Seconds())
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%.1f\n", m.Name, m.Breaks, seed, rules, time.Since(began).Seconds())
		_ = os.Remove(program) // it is large
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	if len(survivors) > 0 {
		return fmt.Errorf("not found within %d seeds: %s; the simulation or the checker is too weak for them", enough, strings.Join(survivors, ", "))
	}
	return nil
}

func rulesOf(violations []check.Violation) string {
	var rules []string
	for _, v := range violations {
		if !slices.Contains(rules, string(v.Rule)) {
			rules = append(rules, string(v.Rule))
		}
	}
	return strings.Join(rules, ", ")
}

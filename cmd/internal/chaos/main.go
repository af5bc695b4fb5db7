// Command chaos runs the engine as its operators do, breaks everything around it in every way it knows, and then proves that
// nothing that was promised is broken.
//
//	go build -tags faults -o build/tenure-faults ./cmd/tenure
//	go build -o build/chaosrun ./cmd/internal/chaos && build/chaosrun -bin build/tenure-faults -duration 10m
//
// It starts a Postgres cluster of its own, API servers and workers as real processes, each with a data directory and a way to the
// database of its own, and several dozen clients, which ask for leases, use them, give them back, repeat themselves and crash.
// Meanwhile faults are done to them, by a plan that follows from a seed. Then all is repaired, the run comes to rest, and package
// check judges the log, the provider's ledger, what the clients were told, and the read models. Nothing is left behind.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

func main() { os.Exit(chaos(os.Args[1:], os.Stdout, os.Stderr)) }

// settings are what the command line says.
type settings struct {
	bin      string
	out      string
	duration time.Duration
	settle   time.Duration
	seed     uint64
	api      int
	workers  int
	clients  int
	// lease is how long leases go unused at most before they end.
	lease  time.Duration
	faults []fault
}

const usage = `Try the engine out under faults.

  chaos -bin build/tenure-faults -duration 60s
  chaos -bin build/tenure-faults -duration 10m -seed 7 -faults kill,pgRestart

It runs API servers, workers and clients on a Postgres of its own, does faults to them for a time, lets all come to rest, and checks
what the log, the provider, the clients and the read models say. Progress is on stderr; the report is on stdout, and beside the
directory -out with .json after its name. The directory keeps a log of each process, faults.jsonl (what was done when) and calls.jsonl
(what each client sent and was told). With a violation it exits with 1, and there is more to look at: log.jsonl (the events), lost.jsonl
(those that promotions lost), ledger.jsonl (the provider's) and away.jsonl (when faults kept the engine from acting).

A seed decides what is done and when, and what the clients want. It does not decide how the machine runs the processes, so a run
with the same seed is alike, and not the same.

The program is to be built with the tag faults, which honours wrong clocks and points at which a process is held up or killed.

Faults:
`

func parse(args []string, stderr io.Writer) (settings, error) {
	s := settings{}
	flags := flag.NewFlagSet("chaos", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(stderr, usage)
		for _, f := range slices.Sorted(maps.Keys(about)) {
			fmt.Fprintf(stderr, "  %-10s %s; about every %s\n", f, about[f], every[f])
		}
		fmt.Fprint(stderr, "\nFlags:\n")
		flags.PrintDefaults()
		fmt.Fprint(stderr, "\nExit codes: 0 no violation, 1 violations or a run that went wrong, 2 usage, 130 interrupted.\n")
	}
	flags.StringVar(&s.bin, "bin", "build/tenure-faults", "the program, built with -tags faults")
	flags.StringVar(&s.out, "out", "build/chaos", "directory for what is to be looked at afterwards; what a run before left in it is removed")
	flags.DurationVar(&s.duration, "duration", time.Minute, "how long clients and faults are at it")
	flags.DurationVar(&s.settle, "settle", 5*time.Minute, "how long the run may take to come to rest")
	flags.Uint64Var(&s.seed, "seed", 0, "decides the plan; 0 takes one of the time, and says it")
	flags.IntVar(&s.api, "api", 3, "API servers")
	flags.IntVar(&s.workers, "workers", 3, "workers")
	flags.IntVar(&s.clients, "clients", 64, "clients")
	flags.DurationVar(&s.lease, "lease", 12*time.Second, "about how long leases live that nobody gives back, and runtimes are kept")
	list := flags.String("faults", "all", "what goes wrong, separated by commas; all, or none")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	var problems []error
	if flags.NArg() > 0 {
		problems = append(problems, fmt.Errorf("%q is no flag; see -help", flags.Arg(0)))
	}
	var err error
	if s.faults, err = parseFaults(*list); err != nil {
		problems = append(problems, fmt.Errorf("-faults: %w", err))
	}
	for name, n := range map[string]int{"api": s.api, "workers": s.workers, "clients": s.clients} {
		if n < 1 {
			problems = append(problems, fmt.Errorf("-%s: %d is too few; give at least 1", name, n))
		}
	}
	if s.duration < time.Second {
		problems = append(problems, fmt.Errorf("-duration: %s is too short; give at least 1s", s.duration))
	}
	if s.settle <= 0 {
		problems = append(problems, fmt.Errorf("-settle: %s is too short; give more than 0", s.settle))
	}
	if s.lease < time.Second {
		problems = append(problems, fmt.Errorf("-lease: %s is too short; give at least 1s", s.lease))
	}
	if s.bin, err = filepath.Abs(s.bin); err == nil {
		_, err = os.Stat(s.bin)
	}
	if err != nil {
		problems = append(problems, fmt.Errorf("-bin: %w; build it by go build -tags faults -o build/tenure-faults ./cmd/tenure", err))
	}
	if s.seed == 0 {
		s.seed = uint64(time.Now().UnixNano()) % 1_000_000_007
	}
	return s, errors.Join(problems...)
}

// chaos answers with the exit code.
func chaos(args []string, stdout, stderr io.Writer) int {
	s, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(stderr, "chaos:", err)
		return 2
	}
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	report, err := perform(ctx, s, stderr)
	if ctx.Err() != nil {
		fmt.Fprintln(stderr, "chaos: interrupted; nothing is left running")
		return 130
	}
	if err != nil {
		report.Errors = append(report.Errors, err.Error())
	}
	if err := writeReport(report, s.out+".json", stdout); err != nil {
		fmt.Fprintln(stderr, "chaos:", err)
		return 1
	}
	if report.Failed() {
		fmt.Fprintf(stderr, "chaos: %d violations, %d errors of the run; seed %d; what there is to see is in %s\n",
			len(report.Violations), len(report.Errors), report.Seed, s.out)
		return 1
	}
	fmt.Fprintf(stderr, "chaos: no violation in %d leases; seed %d\n", report.FinishedLeases, report.Seed)
	return 0
}

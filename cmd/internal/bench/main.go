// Command bench measures the engine against floors of the same run, so that a figure says something of the engine and
// not of the machine: an append beside a single-row autocommit INSERT of the same row, a rebuild beside a COPY out of the
// same rows, an acquire beside one commit.
//
//	go build -o build/bench ./cmd/internal/bench && build/bench -run 'append/.*' -json build/bench.json
//
// It starts a Postgres of its own in a temporary directory, durable as in production, and leaves nothing behind. Each
// benchmark has a schema of its own. What is measured and its floor take turns in rounds, so that a drift of the machine
// meets both; the figures are medians.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"runtime/pprof"
	"syscall"
)

// errInterrupted ends a run; what it began is taken down all the same.
var errInterrupted = errors.New("interrupted")

func main() {
	if code, child := asEngine(os.Args[1:]); child {
		os.Exit(code)
	}
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// settings are what the command line says.
type settings struct {
	pattern    *regexp.Regexp
	json       string
	cpu        string
	statements bool
	sizes      sizes
}

func parse(args []string, stderr io.Writer) (settings, error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	pattern := flags.String("run", ".", "regular expression of the benchmarks to run")
	short := flags.Bool("short", false, "tiny sizes: does it run at all?")
	// -short changes the defaults, so it is looked for before the other flags are made.
	for _, a := range args {
		if a == "-short" || a == "--short" {
			*short = true
		}
	}
	s := settings{sizes: fullSizes()}
	if *short {
		s.sizes = shortSizes()
	}
	flags.StringVar(&s.json, "json", "", "where to write the figures; empty is nowhere")
	flags.StringVar(&s.cpu, "cpuprofile", "", "where to write a CPU profile of the whole run")
	flags.BoolVar(&s.statements, "statements", false, "print where Postgres spends its time, by pg_stat_statements, which takes some itself")
	s.sizes.flags(flags)
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	if flags.NArg() > 0 {
		return s, fmt.Errorf("%q is no flag; name benchmarks by -run REGEXP", flags.Arg(0))
	}
	var err error
	if s.pattern, err = regexp.Compile(*pattern); err != nil {
		return s, fmt.Errorf("-run %q is no regular expression: %w", *pattern, err)
	}
	return s, nil
}

// run answers with the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	s, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 2
	}
	ctx, interrupt := context.WithCancelCause(context.Background())
	defer interrupt(nil)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	go func() {
		select {
		case <-signals:
			interrupt(errInterrupted)
		case <-ctx.Done():
		}
	}()
	if err := measure(ctx, s, stdout, stderr); err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		if errors.Is(err, errInterrupted) {
			return 130
		}
		return 1
	}
	return 0
}

// measure runs what the pattern matches and reports it.
func measure(ctx context.Context, s settings, stdout, stderr io.Writer) (err error) {
	chosen, err := choose(s.pattern)
	if err != nil {
		return err
	}
	b, err := newBench(ctx, s, stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	stopProfile, err := profile(s.cpu)
	if err != nil {
		return err
	}
	defer stopProfile()
	if err := b.machine(ctx); err != nil {
		return fmt.Errorf("look at the machine: %w", err)
	}
	ran := b.runAll(ctx, chosen, stderr)
	// What was measured before a failure is worth having.
	entries := b.report.selected(s.pattern)
	if s.json != "" {
		ran = errors.Join(ran, writeJSON(s.json, entries))
	}
	return errors.Join(ran, writeTable(stdout, entries))
}

func (b *bench) runAll(ctx context.Context, chosen []group, stderr io.Writer) error {
	for _, group := range chosen {
		if group.root && os.Geteuid() != 0 {
			fmt.Fprintf(stderr, "leaving out %s, which needs root\n", group)
			continue
		}
		fmt.Fprintf(stderr, "measuring %s\n", group)
		if err := group.run(ctx, b); err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return fmt.Errorf("%s: %w", group.names[0], err)
		}
		if b.statements {
			if err := b.printStatements(ctx, stderr); err != nil {
				return err
			}
		}
		runtime.GC() // what one benchmark leaves in memory is no burden of the next
	}
	return nil
}

func profile(path string) (stop func(), err error) {
	if path == "" {
		return func() {}, nil
	}
	file, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("-cpuprofile: %w", err)
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return func() {
		pprof.StopCPUProfile()
		_ = file.Close()
	}, nil
}

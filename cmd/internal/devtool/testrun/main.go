// Command testrun runs the project's tests and says in one last line how many passed, failed and were skipped.
//
// It is what `make test` calls:
//
//	testrun -json build/test.json -packages ./... -- -race -count=1
//
// It lists the packages, leaves out those that need root (import path ending in /roottest) unless it is root, runs
// `go test -json` over the rest with the flags after --, keeps every event in the JSON file, and prints a line for each
// package with the output of what failed in full. It exits 0 only if something passed, nothing failed, nothing was
// skipped, and no process was left behind.
//
// What is counted is explained at [tally]. Why this is a program of ours: docs/adr/0020-tooling.md.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// errNotGreen says that the run is over and its report already tells why it is not good.
var errNotGreen = errors.New("not green")

func main() {
	err := run(os.Args[1:], os.Stdout)
	switch {
	case err == nil:
	case errors.Is(err, errNotGreen):
		os.Exit(1)
	default:
		fmt.Fprintln(os.Stderr, "testrun:", err)
		os.Exit(2)
	}
}

func run(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("testrun", flag.ContinueOnError)
	jsonPath := flags.String("json", "build/test.json", "file for the events of go test -json")
	patterns := flags.String("packages", "./...", "packages to test, separated by spaces")
	settle := flags.Duration("settle", time.Minute, "how long a process may outlive the tests before it counts as left behind")
	if err := flags.Parse(args); err != nil {
		return err
	}

	packages, err := listPackages(strings.Fields(*patterns))
	if err != nil {
		return err
	}
	packages, needRoot := splitRoot(packages, os.Geteuid() == 0)
	if err := os.MkdirAll(filepath.Dir(*jsonPath), 0o755); err != nil {
		return fmt.Errorf("make the directory of the event file: %w", err)
	}
	events, err := os.Create(*jsonPath)
	if err != nil {
		return fmt.Errorf("open the event file: %w", err)
	}

	rep := newReport(out)
	testErr := goTest(packages, flags.Args(), events, rep, *settle)
	if err := events.Close(); err != nil {
		return fmt.Errorf("close the event file: %w", err)
	}
	rep.finish(testErr, needRoot)
	if !rep.tally.green() {
		return errNotGreen
	}
	return nil
}

// listPackages asks go list, with -e so that a package that does not load reaches go test and is counted there.
func listPackages(patterns []string) ([]string, error) {
	cmd := exec.CommandContext(context.Background(), "go", append([]string{"list", "-e", "--"}, patterns...)...)
	cmd.Stderr = os.Stderr
	listed, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list %s: %w", strings.Join(patterns, " "), err)
	}
	packages := strings.Fields(string(listed))
	if len(packages) == 0 {
		return nil, fmt.Errorf("go list %s: no package", strings.Join(patterns, " "))
	}
	return packages, nil
}

// splitRoot parts off the packages that need root, if we are not.
func splitRoot(packages []string, root bool) (run, needRoot []string) {
	for _, p := range packages {
		if !root && strings.HasSuffix(p, "/roottest") {
			needRoot = append(needRoot, p)
			continue
		}
		run = append(run, p)
	}
	return run, needRoot
}

// goTest runs go test in a process group of its own, feeds its events to the file and the report, and ends what outlives
// it. The error says that go test ended badly, which a failed test does too.
func goTest(packages, flags []string, events io.Writer, rep *report, settle time.Duration) error {
	if len(packages) == 0 {
		return nil
	}
	if err := becomeSubreaper(); err != nil {
		return err
	}
	// A reader that went away (make test | head) must not end us before the tests and what they started are over. Caught
	// rather than ignored, since an ignored signal would stay ignored in every process below.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()

	args := append([]string{"test", "-json"}, flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, packages...)...)
	cmd.Stderr = os.Stderr
	// A group of its own, so that an interrupt reaches the test binaries too; the hard end follows if they do not go.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = settle
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("open the output of go test: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start go test: %w", err)
	}
	orphans := reapOrphans(cmd.Process.Pid)

	readErr := readEvents(stdout, events, rep)
	waitErr := cmd.Wait()
	orphans.stop()
	rep.leftBehind(endLeftovers(settle))
	if ctx.Err() != nil {
		return fmt.Errorf("interrupted: %w", context.Cause(ctx))
	}
	return errors.Join(readErr, waitErr)
}

// readEvents copies the lines to the file as they are and hands them to the report.
func readEvents(from io.Reader, file io.Writer, rep *report) error {
	lines := bufio.NewReaderSize(from, 64<<10)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			if _, werr := file.Write(line); werr != nil {
				return fmt.Errorf("write the event file: %w", werr)
			}
			rep.line(line)
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read the output of go test: %w", err)
		}
	}
}

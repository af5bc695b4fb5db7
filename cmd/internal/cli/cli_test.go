package cli_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tenure-dev/tenure/cmd/internal/cli"
)

// TestMain lets the test binary be the program: called as tenure, it is the CLI, with a server that only shows its options.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"tenure": func() {
		os.Exit(cli.Main(context.Background(), cli.Deps{
			Version: "test", Serve: showOptions, Keysets: fakeKeysets{}, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Env: os.Getenv,
		}, os.Args[1:]))
	}})
}

// quickExit keeps a program with the race detector from sleeping a second at its end.
const quickExit = "atexit_sleep_ms=0"

func showOptions(ctx context.Context, o cli.ServeOptions, stderr io.Writer) error {
	switch o.LogLevel {
	case "error":
		return errors.New("no space left")
	case "debug":
		fmt.Fprintln(stderr, "serving")
		<-ctx.Done()
		return nil
	}
	o.DatabaseURL = strings.Repeat("*", len(o.DatabaseURL))
	o.DatabaseDirectURL = strings.Repeat("*", len(o.DatabaseDirectURL))
	o.Keyset = strings.Repeat("*", len(o.Keyset))
	fmt.Fprintf(stderr, "%+v\n", o)
	return nil
}

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:             "testdata",
		ContinueOnError: true,
		Deadline:        time.Now().Add(5 * time.Minute),
		UpdateScripts:   os.Getenv("UPDATE") != "",
		Setup: func(env *testscript.Env) error {
			f := newFake()
			env.Defer(f.Close)
			env.Setenv("TENURE_SERVER", f.URL)
			env.Setenv("TENURE_API_KEY", "admin")
			env.Setenv("GORACE", quickExit)
			env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
			return os.Mkdir(filepath.Join(env.WorkDir, "home"), 0o700)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits":     exits,
			"onejson":   oneJSON,
			"errorjson": errorJSON,
		},
	})
}

// exits runs a command and compares its exit code: exits 3 tenure env show x.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM [ARGS...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("%s: exit code %d, want %d", strings.Join(args[1:], " "), got, want)
	}
}

// oneJSON checks that the last stdout is exactly one JSON document, on one line: onejson [KEY...] that has these members.
func oneJSON(ts *testscript.TestScript, _ bool, args []string) {
	checkDocument(ts, "stdout", args)
}

// errorJSON checks that the last stderr is exactly one line, a failure with these parts: errorjson CODE EXIT.
func errorJSON(ts *testscript.TestScript, _ bool, args []string) {
	checkDocument(ts, "stderr", []string{"code", "message", "retryable", "exitCode"})
	var f struct {
		Code     string
		ExitCode int
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stderr")), &f))
	if got := fmt.Sprint(f.Code, " ", f.ExitCode); got != strings.Join(args, " ") {
		ts.Fatalf("the failure is %q, want %q", got, strings.Join(args, " "))
	}
}

func checkDocument(ts *testscript.TestScript, file string, members []string) {
	raw := ts.ReadFile(file)
	if strings.Count(raw, "\n") != 1 || !strings.HasSuffix(raw, "\n") {
		ts.Fatalf("%s is not one line: %q", file, raw)
	}
	dec := json.NewDecoder(strings.NewReader(raw))
	var document any
	ts.Check(dec.Decode(&document))
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		ts.Fatalf("%s holds more than one document: %q", file, raw)
	}
	object, _ := document.(map[string]any)
	for _, m := range members {
		if _, ok := object[m]; !ok {
			ts.Fatalf("%s has no member %q: %s", file, m, raw)
		}
	}
}

package conformance_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/plugins/fake"
	"github.com/tenure-dev/tenure/plugins/plugintest/conformance"
	"github.com/tenure-dev/tenure/plugins/sdk"
)

// Drivers that each break one sentence of the contract.
type (
	leaky     struct{ *fake.Driver } // does not take down what it made
	forgetful struct{ *fake.Driver } // calls itself idempotent and makes a runtime on each call
	agreeable struct{ *fake.Driver } // accepts every configuration
	talkative struct{ *fake.Driver } // gives its own environment away
	splitting struct{ *fake.Driver } // passes arguments through a shell, or something like it
	stubborn  struct{ *fake.Driver } // does not kill
	rash      struct{ *fake.Driver } // starts what cannot be started
	elsewhere struct{ *fake.Driver } // ignores the working directory
	thirsty   struct{ *fake.Driver } // swallows standard input
	untrue    struct{ *fake.Driver } // every command succeeds
	nosy      struct{ *fake.Driver } // lists everybody's runtimes
	panicking struct{ *fake.Driver } // panics at a probe
	fickle    struct{ *fake.Driver } // keeps nothing
	ageless   struct{ *fake.Driver } // knows no fences
)

func (d leaky) Acquire(ctx context.Context, req drivers.AcquireRequest) (drivers.Runtime, error) {
	return d.Driver.Acquire(context.WithoutCancel(ctx), req)
}

func (leaky) Release(context.Context, drivers.ReleaseRequest) error { return nil }

func (d forgetful) Describe() drivers.Description {
	said := d.Driver.Describe()
	said.Class = drivers.ClassIdempotent
	return said
}

func (agreeable) CheckConfig(json.RawMessage) error { return nil }

func (d talkative) StartExec(ctx context.Context, req drivers.ExecRequest) (drivers.Exec, error) {
	for _, v := range os.Environ() {
		name, value, _ := strings.Cut(v, "=")
		req.Env = append([]drivers.EnvVar{{Name: name, Value: value}}, req.Env...)
	}
	return d.Driver.StartExec(ctx, req)
}

func (d splitting) StartExec(ctx context.Context, req drivers.ExecRequest) (drivers.Exec, error) {
	req.Argv = strings.Fields(strings.Join(req.Argv, " "))
	return d.Driver.StartExec(ctx, req)
}

type deafExec struct{ drivers.Exec }

func (deafExec) Kill(context.Context, string) error { return nil }

func (d stubborn) StartExec(ctx context.Context, req drivers.ExecRequest) (drivers.Exec, error) {
	e, err := d.Driver.StartExec(ctx, req)
	return deafExec{e}, err
}

func (d rash) StartExec(ctx context.Context, req drivers.ExecRequest) (drivers.Exec, error) {
	req.Argv, req.Env = []string{"true"}, nil
	return d.Driver.StartExec(ctx, req)
}

func (d elsewhere) StartExec(ctx context.Context, req drivers.ExecRequest) (drivers.Exec, error) {
	req.Cwd = ""
	return d.Driver.StartExec(ctx, req)
}

func (d thirsty) StartExec(ctx context.Context, req drivers.ExecRequest) (drivers.Exec, error) {
	req.Stdin = req.Stdin[:min(len(req.Stdin), 64<<10)]
	return d.Driver.StartExec(ctx, req)
}

func (d untrue) StartExec(ctx context.Context, req drivers.ExecRequest) (drivers.Exec, error) {
	if req.Argv[0] == "false" {
		req.Argv[0] = "true"
	}
	return d.Driver.StartExec(ctx, req)
}

func (d nosy) ListRuntimes(ctx context.Context, req drivers.ListRequest) ([]drivers.ListedRuntime, error) {
	return []drivers.ListedRuntime{{RuntimeID: "somebody's"}}, nil
}

func (panicking) Probe(context.Context, drivers.ProbeRequest) (drivers.ProbeResult, error) {
	panic("no")
}

func (d fickle) Keep(ctx context.Context, req drivers.KeepRequest) error {
	return d.Release(ctx, drivers.ReleaseRequest{Handle: req.Handle, Attempt: req.Attempt})
}

func (d ageless) StartExec(ctx context.Context, req drivers.ExecRequest) (drivers.Exec, error) {
	req.Fence = 1 << 62
	return d.Driver.StartExec(ctx, req)
}

// serveBad serves one of them; its last argument is the ledger's directory.
func serveBad(kind, dir string) error {
	w, err := fake.Open(fake.Options{Dir: dir})
	if err != nil {
		return err
	}
	d := w.Driver(drivers.ClassIdempotent)
	p := sdk.Plugin{Manifest: sdk.Manifest{ID: "bad", Version: "1.0.0"}, Closed: w.Close, Drain: time.Second}
	var bad drivers.Driver
	switch kind {
	case "leaky":
		bad = leaky{d}
	case "forgetful":
		bad = forgetful{w.Driver(drivers.ClassListable)}
	case "agreeable":
		bad = agreeable{d}
	case "talkative":
		bad = talkative{d}
	case "splitting":
		bad = splitting{d}
	case "stubborn":
		bad = stubborn{d}
	case "rash":
		bad = rash{d}
	case "elsewhere":
		bad = elsewhere{d}
	case "thirsty":
		bad = thirsty{d}
	case "untrue":
		bad = untrue{d}
	case "nosy":
		bad = nosy{d}
	case "panicking":
		bad = panicking{d}
	case "fickle":
		bad = fickle{d}
	case "ageless":
		bad = ageless{d}
	case "staying":
		p.Closed = func() error { select {} }
		bad = d
	default:
		bad = d
	}
	p.Drivers = map[string]drivers.Driver{"bad": bad}
	wire, err := sdk.TakeStdio()
	if err != nil {
		return err
	}
	var in io.Reader = wire.In
	var out io.Writer = wire.Out
	switch kind {
	case "gushing":
		in = &changing{lines: bufio.NewReader(wire.In), from: `"credit":10000`, to: `"credit":99999999`}
	case "repeating":
		out = twice{wire.Out}
	}
	return sdk.ServeOn(context.Background(), p, in, out)
}

// changing gives the worker more credit than the host does.
type changing struct {
	lines    *bufio.Reader
	from, to string
	rest     []byte
}

func (c *changing) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		line, err := c.lines.ReadString('\n')
		if err != nil {
			return 0, err
		}
		c.rest = []byte(strings.Replace(line, c.from, c.to, 1))
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// twice tells the end of a command twice.
type twice struct{ io.Writer }

func (t twice) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(`"tenureExec.end"`)) {
		if _, err := t.Writer.Write(p); err != nil {
			return 0, err
		}
	}
	return t.Writer.Write(p)
}

func TestEachCheckFindsWhatItIsFor(t *testing.T) {
	t.Parallel()
	for kind, checks := range map[string][]string{
		"leaky":     {"release", "canceled", "killed", "release_ends"},
		"forgetful": {"repeat", "race"},
		"agreeable": {"validate_config"},
		"talkative": {"env"},
		"splitting": {"argv"},
		"stubborn":  {"kill"},
		"rash":      {"not_started"},
		"elsewhere": {"cwd"},
		"thirsty":   {"stdin"},
		"untrue":    {"exit_codes"},
		"nosy":      {"installations"},
		"panicking": {"probe"},
		"fickle":    {"keep", "fence"},
		"ageless":   {"fence"},
		"gushing":   {"credit"},
		"repeating": {"kill"},
		"staying":   {"shutdown", "stdin_end"},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			report := run(t, conformance.Target{Command: []string{"/proc/self/exe", "__bad", kind, t.TempDir()}},
				conformance.Options{Only: checks, CallTimeout: 2 * time.Second})
			require.Len(t, report.Results, len(checks))
			for _, r := range report.Results {
				require.Equal(t, conformance.Fail, r.Status, r.Check)
				require.NotEmpty(t, r.Detail)
				require.NotContains(t, r.Detail, "\n")
			}
			require.Equal(t, len(checks), report.Failed())
		})
	}
}

func TestAManifestThatLiesIsFound(t *testing.T) {
	t.Parallel()
	manifest, err := fake.ManifestJSON()
	require.NoError(t, err)
	for what, lie := range map[string]string{
		"a better class": strings.Replace(string(manifest), `"class": "blind"`, `"class": "idempotent"`, 1),
		"another key":    strings.ReplaceAll(string(manifest), "fake-blind", "fake-black"),
	} {
		require.NotEqual(t, string(manifest), lie)
		report := run(t, conformance.Target{Command: []string{"/proc/self/exe", "__fake", t.TempDir()}, Manifest: json.RawMessage(lie)},
			conformance.Options{Only: []string{"manifest"}})
		require.Equal(t, 1, report.Failed(), what)
	}
}

func TestAWorkerThatDoesNotStartIsSaidToBeSo(t *testing.T) {
	t.Parallel()
	report := run(t, conformance.Target{Command: []string{"sh", "-c", "echo I cannot >&2; exit 3"}}, conformance.Options{Only: []string{"handshake", "junk"}})
	require.Equal(t, 2, report.Failed())
	require.Contains(t, report.Results[0].Detail, "I cannot")
	require.Contains(t, report.Results[0].Detail, "exit status 3")

	for _, target := range []conformance.Target{{}, {Dir: "x", Command: []string{"y"}}, {Dir: t.TempDir()}, {Command: []string{"x"}, Manifest: json.RawMessage(`{}`)}} {
		_, err := conformance.Run(t.Context(), target, conformance.Options{})
		require.Error(t, err)
	}
}

func TestAReportIsATableAndJSON(t *testing.T) {
	t.Parallel()
	var told []conformance.Result
	report := run(t, conformance.Target{Command: []string{"/proc/self/exe", "__bad", "agreeable", t.TempDir()}},
		conformance.Options{Only: []string{"health", "manifest", "validate_config"}, Progress: func(r conformance.Result) { told = append(told, r) }})
	require.Equal(t, report.Results, told)
	var table, raw strings.Builder
	require.NoError(t, report.WriteTable(&table))
	require.NoError(t, report.WriteJSON(&raw))
	for _, want := range []string{"pass", "n/a", "FAIL", "validateConfig accepts a configuration that works and refuses nonsense", "1 passed, 1 failed, 1 not applicable"} {
		require.Contains(t, table.String(), want)
	}
	var back conformance.Report
	require.NoError(t, json.Unmarshal([]byte(raw.String()), &back))
	require.Equal(t, report, back)
}

package host_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/drivers/journal"
	"github.com/tenure-dev/tenure/drivers/provider"
	"github.com/tenure-dev/tenure/plugins/host"
)

// start starts a command over the extension.
func (w *world) start(id string, argv ...string) (drivers.Exec, string, error) {
	dir := filepath.Join(w.t.TempDir(), "journal")
	e, err := w.worker().StartExec(w.t.Context(), provider.StartRequest{LeaseRequest: lease(`{}`), Exec: drivers.ExecRequest{
		ExecID: id, Argv: argv, JournalDir: dir, Stdin: []byte("in\xff"), Env: []drivers.EnvVar{{Name: "A", Value: "\xfe"}},
	}})
	return e, dir, err
}

func wait(t *testing.T, e drivers.Exec) drivers.ExecResult {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	r, err := e.Wait(ctx)
	require.NoError(t, err)
	return r
}

func TestACommandsOutputComesByCredit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *host.Options) { o.OutputWindow = 256 << 10 }, installed(boxed()))
	const n = 8 << 20
	e, dir, err := w.start("x-1", "spew", "8388608")
	require.NoError(t, err)
	require.NotZero(t, e.Process().PID)
	r := wait(t, e)
	require.Equal(t, drivers.ExecExited, r.End)
	require.Zero(t, r.ExitCode)
	require.Equal(t, drivers.OutputComplete, r.Output.State)
	require.EqualValues(t, n, r.Output.Stdout.Bytes)
	stdout, stderr := driverstest.ReadOutput(t, dir)
	require.Len(t, stdout, n)
	require.Empty(t, stderr)
	sealed, ok, err := journal.ReadSeal(dir)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, r.Output, sealed)
}

func TestWhatComesBeforeTheAnswerIsNotLost(t *testing.T) {
	t.Parallel()
	w := scriptedWorld(t)
	e, dir, err := w.start("x-1", "early")
	require.NoError(t, err)
	r := wait(t, e)
	require.Equal(t, 5, r.ExitCode)
	require.Equal(t, drivers.OutputComplete, r.Output.State)
	stdout, _ := driverstest.ReadOutput(t, dir)
	require.Equal(t, "quick", string(stdout))
}

func TestAWorkerThatSendsMoreThanItMayLosesThatOutputOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *host.Options) { o.OutputWindow = 64 << 10 }, installed(boxed()))
	honest, _, err := w.start("x-2", "spew", "1000000")
	require.NoError(t, err)
	e, dir, err := w.start("greedy", "greedy")
	require.NoError(t, err)
	r := wait(t, e)
	stdout, _ := driverstest.ReadOutput(t, dir)
	const window = 64 << 10
	require.Len(t, stdout, window)
	require.EqualValues(t, 2*window+1, r.Output.Stdout.Bytes)
	require.EqualValues(t, window+1, r.Output.Dropped)
	require.Equal(t, drivers.OutputTruncated, r.Output.State)
	require.Equal(t, drivers.OutputComplete, wait(t, honest).Output.State)
	require.Zero(t, w.status().Restarts)
}

func TestAGapOfTheWorkerIsAGapHere(t *testing.T) {
	t.Parallel()
	w := scriptedWorld(t)
	e, dir, err := w.start("x-1", "gap")
	require.NoError(t, err)
	r := wait(t, e)
	require.Equal(t, drivers.OutputTruncated, r.Output.State)
	require.EqualValues(t, 10, r.Output.Dropped)
	require.EqualValues(t, 21, r.Output.Stdout.Bytes)
	stdout, _ := driverstest.ReadOutput(t, dir)
	require.Equal(t, "beforeafter", string(stdout))
}

func TestACommandIsKilled(t *testing.T) {
	t.Parallel()
	w := scriptedWorld(t)
	e, dir, err := w.start("x-1", "wait")
	require.NoError(t, err)
	_, _, err = w.start("x-1", "wait")
	start, ok := errors.AsType[*drivers.StartError](err)
	require.True(t, ok, "one id, one command")
	require.Equal(t, "exec_exists", start.Code)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = e.Wait(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, e.Kill(t.Context(), "enough"))
	r := wait(t, e)
	require.Equal(t, drivers.ExecKilled, r.End)
	require.Equal(t, "enough", r.Why)
	stdout, _ := driverstest.ReadOutput(t, dir)
	require.Equal(t, "in\xff", string(stdout), "input and output are bytes")
	require.NoError(t, e.Kill(t.Context(), "again"))
}

func TestACommandThatDoesNotStartSaysWhere(t *testing.T) {
	t.Parallel()
	w := scriptedWorld(t)
	_, _, err := w.start("x-1", "refuse")
	start, ok := errors.AsType[*drivers.StartError](err)
	require.True(t, ok)
	require.Equal(t, drivers.StartError{Stage: "cwd", Code: "not_found", Remediation: "name one that exists", Err: start.Err}, *start)
	_, _, err = w.start("x-1", "early")
	require.NoError(t, err, "its id is free again")
}

func TestTheEndOfACommandWhoseWorkerDiesIsUnknown(t *testing.T) {
	t.Parallel()
	w := scriptedWorld(t)
	e, dir, err := w.start("x-1", "die")
	require.NoError(t, err)
	_ = e.Kill(t.Context(), "now") // it may be answered or not
	r := wait(t, e)
	require.Equal(t, drivers.ExecUnknown, r.End)
	require.Contains(t, r.Why, "exit status 3")
	require.Equal(t, drivers.OutputLost, r.Output.State)
	stdout, _ := driverstest.ReadOutput(t, dir)
	require.Equal(t, "last words", string(stdout))

	// A start that is not answered may have started.
	e, _, err = w.start("x-2", "die-unanswered")
	require.NoError(t, err)
	r = wait(t, e)
	require.Equal(t, drivers.ExecUnknown, r.End)
}

func TestAStartThatIsNotAnsweredIsUnknownAndKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *host.Options) { o.Timeouts.ExecStart = 2 * time.Second }, installed(boxed())) // it must be sent by then
	e, _, err := w.start("x-1", "silent")
	require.NoError(t, err)
	r := wait(t, e)
	require.Equal(t, drivers.ExecUnknown, r.End)
	require.Contains(t, r.Why, "whether it started is not known")
	e, _, err = w.start("x-2", "nonsense")
	require.NoError(t, err)
	r = wait(t, e)
	require.Equal(t, drivers.ExecUnknown, r.End, "an end that says nothing is no end")
}

// execute runs a command over the published protocol.
func execute(w *world, company string, req provider.ExecuteRequest) (provider.ExecuteResult, error) {
	req.LeaseRequest = lease(`{}`)
	req.CompanyID = company
	return w.worker().Execute(w.t.Context(), req)
}

func TestACommandRunsToItsEndInOneCall(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, installed(legacy(), "legacy"))
	var live []string
	got, err := execute(w, "c-1", provider.ExecuteRequest{Argv: []string{"echo", "a\u2028", "b"}, Output: func(c provider.OutputChunk) {
		live = append(live, c.Stream+":"+string(c.Data)) // no lock: one call at a time, and none after the result
	}})
	require.NoError(t, err)
	require.Equal(t, "a\u2028b", string(got.Stdout))
	require.Zero(t, *got.ExitCode)
	require.Equal(t, []string{"stdout:a\u2028", "stdout:b"}, live)

	got, err = execute(w, "c-1", provider.ExecuteRequest{Argv: []string{"env"}, Env: []drivers.EnvVar{{Name: "X", Value: "1"}, {Name: "X", Value: "2"}}})
	require.NoError(t, err)
	require.JSONEq(t, `{"X":"2"}`, string(got.Stdout))
	got, err = execute(w, "c-1", provider.ExecuteRequest{Argv: []string{"cat"}, Stdin: []byte("hello")})
	require.NoError(t, err)
	require.Equal(t, "hello", string(got.Stdout))
	_, err = execute(w, "c-1", provider.ExecuteRequest{Argv: []string{"cat"}, Stdin: []byte("\xff")})
	failure(t, err, drivers.OutcomeDefinite, "not_text")
	_, err = execute(w, "c-1", provider.ExecuteRequest{Argv: []string{"die"}})
	failure(t, err, drivers.OutcomeAmbiguous, "worker_died")
}

func TestTheOutputOfTwoCompaniesAtOnceDoesNotMix(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, installed(legacy(), "legacy"))
	var both sync.WaitGroup
	for _, company := range []string{"c-1", "c-2"} {
		both.Go(func() {
			var live bytes.Buffer
			argv := []string{"pair"}
			for range 500 {
				argv = append(argv, company)
			}
			got, err := execute(w, company, provider.ExecuteRequest{Argv: argv, Output: func(c provider.OutputChunk) { live.Write(c.Data) }})
			if err != nil || live.String() != strings.Repeat(company, 500) || string(got.Stdout) != live.String() {
				t.Errorf("%s: %d bytes live, %v", company, live.Len(), err)
			}
		})
	}
	both.Wait()
}

func TestAWorkerThatNamesNoInvocationIsUnderstoodWhileItRunsOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *host.Options) { o.Timeouts.ExecuteMargin = time.Millisecond }, installed(legacy(), "legacy", "no-echo"))
	var live bytes.Buffer
	_, err := execute(w, "c-1", provider.ExecuteRequest{Argv: []string{"echo", "x"}, Output: func(c provider.OutputChunk) { live.Write(c.Data) }})
	require.NoError(t, err)
	require.Equal(t, "x", live.String())
	var both sync.WaitGroup
	for _, name := range []string{"y", "z"} {
		both.Go(func() {
			got, err := execute(w, "c-1", provider.ExecuteRequest{Argv: []string{"pair", name}, Output: func(c provider.OutputChunk) {
				if string(c.Data) != name {
					t.Error("this is another's")
				}
			}})
			if err != nil || string(got.Stdout) != name {
				t.Errorf("%s, %v", got.Stdout, err)
			}
		})
	}
	both.Wait()

	// One that nobody waited for may still write, and nobody may get that.
	_, err = execute(w, "c-1", provider.ExecuteRequest{Argv: []string{"forever"}, Timeout: time.Second, Output: func(provider.OutputChunk) {}})
	failure(t, err, drivers.OutcomeAmbiguous, "worker_timeout")
	_, err = execute(w, "c-2", provider.ExecuteRequest{Argv: []string{"echo", "x"}, Output: func(provider.OutputChunk) { t.Error("whose is it?") }})
	require.NoError(t, err)
}

func TestACommandThatIsNotWaitedForIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *host.Options) { o.Timeouts.ExecuteMargin = time.Second }, installed(legacy(), "legacy"))
	_, err := execute(w, "c-1", provider.ExecuteRequest{Argv: []string{"forever"}, Timeout: 100 * time.Millisecond})
	failure(t, err, drivers.OutcomeAmbiguous, "worker_timeout")
}

func TestAnAnswerThatNobodyWaitsForIsNotLogged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *host.Options) { o.Timeouts.ExecuteMargin = time.Second }, installed(legacy(), "legacy"))
	_, err := execute(w, "c-1", provider.ExecuteRequest{Argv: []string{"when-cancelled", "private output"}, Timeout: 100 * time.Millisecond})
	failure(t, err, drivers.OutcomeAmbiguous, "worker_timeout")
	_, err = w.worker().Acquire(t.Context(), acquire(`{"do":"another"}`))
	require.NoError(t, err)
	w.logs.wait(t, "it is a reply to no request")
	require.NotContains(t, w.logs.text(), "private output")
}

func TestConfigurationsAreThoseOfTheProvider(t *testing.T) {
	t.Parallel()
	w := scriptedWorld(t)
	o := w.offer()
	config := json.RawMessage(`{"provider":"box","reuseLease":false,"apiKey":{"type":"secret_ref","secretId":"s"}}`)
	require.NoError(t, o.CheckConfig(config))
	require.Equal(t, []drivers.SecretField{{Value: "/apiKey", Ref: "/apiKey"}}, o.SecretFields(config))
	err := o.CheckConfig(json.RawMessage(`{"apiKey":7}`))
	invalid, ok := errors.AsType[*drivers.ConfigError](err)
	require.True(t, ok)
	require.Equal(t, "config.apiKey", invalid.Problems[0].Field)
	require.Equal(t, host.StateStopped, w.status().State, "no process was asked")
}

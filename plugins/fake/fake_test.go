package fake_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/plugins/fake"
)

var classes = []drivers.Class{drivers.ClassIdempotent, drivers.ClassListable, drivers.ClassBlind}

// open returns a world whose exits panic, so that a crash is a crash of the call only.
func open(t *testing.T, dir string) *fake.World {
	t.Helper()
	w, err := fake.Open(fake.Options{Dir: dir, Exit: func(code int) { panic(exited(code)) }})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.Close()) })
	return w
}

type exited int

// crashing calls f and says with which code the process would have ended.
func crashing(f func()) (code int) {
	defer func() {
		if e, ok := recover().(exited); ok {
			code = int(e)
		}
	}()
	f()
	return 0
}

func read(t *testing.T, dir string) *fake.Ledger {
	t.Helper()
	led, err := fake.ReadLedger(fake.LedgerPath(dir))
	require.NoError(t, err)
	return led
}

// request asks for a runtime whose environment has this script.
func request(t *testing.T, steps ...fake.Step) drivers.AcquireRequest {
	t.Helper()
	config, err := json.Marshal(map[string]any{"script": steps})
	require.NoError(t, err)
	return driverstest.AcquireRequest(driverstest.Features{Config: config})
}

func release(req drivers.AcquireRequest, rt drivers.Runtime) drivers.ReleaseRequest {
	return drivers.ReleaseRequest{Handle: driverstest.HandleOf(req, rt), Attempt: 1}
}

func failure(t *testing.T, err error) *drivers.Failure {
	t.Helper()
	f, ok := errors.AsType[*drivers.Failure](err)
	require.True(t, ok, "a Failure, not %v", err)
	require.NotEmpty(t, f.Code)
	require.NotEmpty(t, f.Step)
	return f
}

func TestEveryClassKeepsItsPromises(t *testing.T) {
	t.Parallel()
	for _, class := range classes {
		t.Run(string(class), func(t *testing.T) {
			t.Parallel()
			type place struct {
				*fake.World
				dir string
			}
			var places driverstest.Behind[place]
			driverstest.Run(t, driverstest.Features{
				New: func(t *testing.T) drivers.Driver {
					dir := t.TempDir()
					w := open(t, dir)
					return places.Add(w.Driver(class), place{w, dir})
				},
				Lose: func(t *testing.T, d drivers.Driver, h drivers.Handle) {
					require.NoError(t, places.Of(d).Lose(h.RuntimeID))
				},
				Usurp: map[drivers.Class]map[string]driverstest.Usurper{drivers.ClassIdempotent: {
					"another runtime": func(t *testing.T, d drivers.Driver, h drivers.Handle) func() {
						require.NoError(t, places.Of(d).Usurp(h.RuntimeID, "sandbox://somebody"))
						return func() { require.Equal(t, "somebody else", read(t, places.Of(d).dir).Live()[0].Installation) }
					},
				}}[class],
				BadConfigs: map[string]json.RawMessage{
					"config":            json.RawMessage(`3`),
					"config.size":       json.RawMessage(`{"size": 1}`),
					"config.image":      json.RawMessage(`{"image": 1}`),
					"config.reuseLease": json.RawMessage(`{"reuseLease": "yes"}`),
					"config.scriptFile": json.RawMessage(`{"scriptFile": "relative"}`),
					"config.script":     json.RawMessage(`{"script": [{"verb": "acquire", "action": "dance"}]}`),
				},
			})
		})
	}
}

func TestARuntimeSaysExactlyWhatTheSeedSays(t *testing.T) {
	t.Parallel()
	d := open(t, t.TempDir()).Driver(drivers.ClassIdempotent)
	req := driverstest.AcquireRequest(driverstest.Features{Config: json.RawMessage(`{"image": "debian:13", "reuseLease": true}`)})
	rt, err := d.Acquire(t.Context(), req)
	require.NoError(t, err)
	require.Regexp(t, `^sandbox://fake/`+req.RunID+`/[0-9a-f-]{36}$`, *rt.ProviderLeaseID)
	require.JSONEq(t, `{"provider": "fake", "image": "debian:13", "reuseLease": true, "resumedLease": false}`, string(rt.Metadata))

	next := req
	next.LeaseID, next.Fence = "another", req.Fence+1
	for range 2 { // the answer to a repeated question is the same
		again, err := d.Acquire(t.Context(), next)
		require.NoError(t, err)
		require.Equal(t, rt.ProviderLeaseID, again.ProviderLeaseID)
		require.Contains(t, string(again.Metadata), `"resumedLease":true`)
	}
	_, err = d.Acquire(t.Context(), req)
	require.Equal(t, "stale_fence", failure(t, err).Code)
	foreign := next
	foreign.Installation = "another"
	_, err = d.Acquire(t.Context(), foreign)
	require.Equal(t, "foreign_runtime", failure(t, err).Code)

	resume := drivers.ResumeRequest{AcquireRequest: next, ProviderLeaseID: rt.ProviderLeaseID, Metadata: rt.Metadata}
	resumed, err := d.Resume(t.Context(), resume)
	require.NoError(t, err)
	require.Equal(t, rt.ProviderLeaseID, resumed.ProviderLeaseID)
	require.NoError(t, d.Release(t.Context(), release(next, rt)))
	_, err = d.Resume(t.Context(), resume)
	require.ErrorIs(t, err, drivers.ErrGone)
}

func TestTheLedgerIsWhatExistsOutside(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, class := range classes {
		req := request(t)
		// The worker is another one at every call.
		rt, err := open(t, dir).Driver(class).Acquire(t.Context(), req)
		require.NoError(t, err)
		live := read(t, dir).Live()
		require.Len(t, live, 1)
		require.Equal(t, *rt.ProviderLeaseID, live[0].ID)
		require.Equal(t, req.LeaseID, live[0].LeaseID)
		require.Equal(t, req.EnvironmentID, live[0].EnvironmentID)
		for _, other := range classes {
			if other != class { // a runtime belongs to the provider that made it
				require.NoError(t, open(t, dir).Driver(other).Release(t.Context(), release(req, rt)))
				require.Len(t, read(t, dir).Live(), 1)
			}
		}
		require.NoError(t, open(t, dir).Driver(class).Release(t.Context(), release(req, rt)))
		led := read(t, dir)
		require.Empty(t, led.Live())
		require.Equal(t, led.Created(), led.Destroyed())
	}
	torn, err := os.OpenFile(fake.LedgerPath(dir), os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = torn.WriteString(`{"op":"create","id":"sandbox://fake/half`)
	require.NoError(t, errors.Join(err, torn.Close()))
	req := request(t)
	_, err = open(t, dir).Driver(drivers.ClassIdempotent).Acquire(t.Context(), req)
	require.NoError(t, err)
	live := read(t, dir).Live()
	require.Len(t, live, 1, "a line that was torn by a kill says nothing and hides nothing")
	require.Equal(t, req.RuntimeID, live[0].RuntimeID)
}

func TestAScriptDecidesWhatIsLeft(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		class   drivers.Class
		step    fake.Step
		outcome drivers.Outcome // "" is success
		crash   int
		live    int // after the call
		again   int // after it was made once more
	}{
		"fail before":       {step: fake.Step{Action: fake.ActionFail, Attempt: 1}, outcome: drivers.OutcomeRetryable, again: 1},
		"fail definitely":   {step: fake.Step{Action: fake.ActionFail, Attempt: 1, Outcome: drivers.OutcomeDefinite}, outcome: drivers.OutcomeDefinite, again: 1},
		"fail after":        {step: fake.Step{Action: fake.ActionFail, At: fake.PlaceAfter, Attempt: 1}, outcome: drivers.OutcomeRetryable, live: 1, again: 1},
		"fail after, blind": {class: drivers.ClassBlind, step: fake.Step{Action: fake.ActionFail, At: fake.PlaceReply, Times: 1}, outcome: drivers.OutcomeRetryable, live: 1, again: 2},
		"partial":           {step: fake.Step{Action: fake.ActionPartial, Attempt: 1}, outcome: drivers.OutcomeAmbiguous, live: 1, again: 1},
		"crash before":      {step: fake.Step{Action: fake.ActionCrash, Attempt: 1}, crash: 3, again: 1},
		"crash after":       {step: fake.Step{Action: fake.ActionCrash, At: fake.PlaceAfter, Attempt: 1, ExitCode: 9}, crash: 9, live: 1, again: 1},
		"crash at the reply, listable": {
			class: drivers.ClassListable, step: fake.Step{Action: fake.ActionCrash, At: fake.PlaceReply, Attempt: 1}, crash: 3, live: 1, again: 2,
		},
		"late":            {step: fake.Step{Action: fake.ActionLate, Ms: 1}, live: 1, again: 1},
		"delay":           {step: fake.Step{Action: fake.ActionDelay, Ms: 1}, live: 1, again: 1},
		"the second only": {step: fake.Step{Action: fake.ActionFail, Attempt: 2}, live: 1, again: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if row.class == "" {
				row.class = drivers.ClassIdempotent
			}
			row.step.Verb = fake.VerbAcquire
			dir := t.TempDir()
			req := request(t, row.step)
			var err error
			code := crashing(func() { _, err = open(t, dir).Driver(row.class).Acquire(t.Context(), req) })
			require.Equal(t, row.crash, code)
			switch {
			case row.crash != 0:
			case row.outcome == "":
				require.NoError(t, err)
			default:
				require.Equal(t, row.outcome, failure(t, err).Outcome)
			}
			require.Len(t, read(t, dir).Live(), row.live)
			// The next one, in a worker that was started anew, knows that the first was made.
			_, err = open(t, dir).Driver(row.class).Acquire(t.Context(), req)
			require.Equal(t, row.step.Attempt == 2, err != nil, "%v", err)
			require.Len(t, read(t, dir).Live(), row.again)
		})
	}
}

func TestAPartialRuntimeGoesAtTheThirdTry(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := open(t, dir).Driver(drivers.ClassIdempotent)
	req := request(t, fake.Step{Verb: fake.VerbAcquire, Action: fake.ActionPartial, Step: "mount", Code: "no_volume", DestroyFails: 2})
	_, err := d.Acquire(t.Context(), req)
	f := failure(t, err)
	require.Equal(t, [3]string{"ambiguous", "mount", "no_volume"}, [3]string{string(f.Outcome), f.Step, f.Code})
	for range 2 {
		err := open(t, dir).Driver(drivers.ClassIdempotent).Release(t.Context(), release(req, drivers.Runtime{}))
		require.Equal(t, "destroy_failed", failure(t, err).Code)
		require.Len(t, read(t, dir).Live(), 1)
	}
	require.NoError(t, d.Release(t.Context(), release(req, drivers.Runtime{})))
	require.Empty(t, read(t, dir).Live())
}

func TestReleasesFollowTheirScript(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := open(t, dir).Driver(drivers.ClassIdempotent)
	req := request(t,
		fake.Step{Verb: fake.VerbRelease, Times: 1, Action: fake.ActionFail, Code: "no_route", Message: "the network is down"},
		fake.Step{Verb: fake.VerbRelease, Attempt: 2, Action: fake.ActionCrash, At: fake.PlaceAfter})
	rt, err := d.Acquire(t.Context(), req)
	require.NoError(t, err)
	f := failure(t, d.Release(t.Context(), release(req, rt)))
	require.Equal(t, "no_route", f.Code)
	require.EqualError(t, f.Err, "the network is down")
	require.Len(t, read(t, dir).Live(), 1)
	require.Equal(t, 3, crashing(func() { err = d.Release(t.Context(), release(req, rt)) }))
	require.Empty(t, read(t, dir).Live())
	require.NoError(t, d.Release(t.Context(), release(req, rt)))
}

func TestACallThatIsCanceledEndsUnlessItIsDeaf(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := open(t, dir)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	long := time.Hour.Milliseconds()
	_, err := w.Driver(drivers.ClassBlind).Acquire(ctx, request(t, fake.Step{Verb: fake.VerbAcquire, Action: fake.ActionDelay, Ms: long}))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, drivers.OutcomeRetryable, failure(t, err).Outcome)

	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	after := fake.Step{Verb: fake.VerbAcquire, Action: fake.ActionDelay, At: fake.PlaceAfter, Ms: long}
	ended, req := make(chan error, 1), request(t, after)
	go func() {
		_, err := w.Driver(drivers.ClassBlind).Acquire(ctx, req)
		ended <- err
	}()
	require.Eventually(t, func() bool { return len(read(t, dir).Live()) == 1 }, time.Minute, 5*time.Millisecond)
	cancel()
	require.Equal(t, drivers.OutcomeAmbiguous, failure(t, <-ended).Outcome, "something exists and nobody can find it")
	require.Len(t, read(t, dir).Live(), 1)

	for _, step := range []fake.Step{
		{Verb: fake.VerbAcquire, Action: fake.ActionLate, Ms: 500},
		{Verb: fake.VerbAcquire, Action: fake.ActionDelay, Deaf: true, Ms: 500, At: fake.PlaceAfter},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		rt, err := w.Driver(drivers.ClassIdempotent).Acquire(ctx, request(t, step))
		require.NoError(t, err)
		require.Error(t, ctx.Err(), "it answers though the caller has gone")
		require.NotNil(t, rt.ProviderLeaseID)
		cancel()
	}
}

func TestACallThatIsSilentEndsWithTheWorker(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := open(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	done := make(chan error, 1)
	req := request(t, fake.Step{Verb: fake.VerbRelease, Action: fake.ActionSilent, At: fake.PlaceAfter})
	d := w.Driver(drivers.ClassIdempotent)
	rt, err := d.Acquire(t.Context(), req)
	require.NoError(t, err)
	go func() { done <- d.Release(ctx, release(req, rt)) }()
	require.Eventually(t, func() bool { return len(read(t, dir).Live()) == 0 }, time.Minute, 5*time.Millisecond, "it is silent after that")
	require.Never(t, func() bool { return len(done) > 0 }, 50*time.Millisecond, 10*time.Millisecond)
	require.NoError(t, w.Close())
	require.Error(t, <-done)
	require.Empty(t, read(t, dir).Live())
}

func TestProbeListAndExecFollowTheirScript(t *testing.T) {
	t.Parallel()
	d := open(t, t.TempDir()).Driver(drivers.ClassIdempotent)
	req := request(t,
		fake.Step{Verb: fake.VerbProbe, Attempt: 1, Action: fake.ActionFail, Step: "dial", Code: "refused", Message: "nobody listens", Remediation: "start it"},
		fake.Step{Verb: fake.VerbList, Times: 1, Action: fake.ActionFail, Outcome: drivers.OutcomeRetryable},
		fake.Step{Verb: fake.VerbExec, Times: 1, Action: fake.ActionFail, Step: "cwd", Code: "cwd_not_found"},
		fake.Step{Verb: fake.VerbExec, Attempt: 2, Action: fake.ActionFail, At: fake.PlaceAfter})
	probe := drivers.ProbeRequest{EnvironmentID: req.EnvironmentID, Config: req.Config}
	result, err := d.Probe(t.Context(), probe)
	require.NoError(t, err)
	require.Equal(t, drivers.ProbeResult{Phase: "dial", Summary: "the environment does not work: nobody listens", Diagnostics: []drivers.Diagnostic{
		{Severity: drivers.SeverityError, Code: "refused", Message: "nobody listens", Remediation: "start it"},
	}}, result)
	result, err = d.Probe(t.Context(), probe)
	require.NoError(t, err)
	require.True(t, result.OK)

	list := drivers.ListRequest{Installation: req.Installation, Config: req.Config}
	_, err = d.ListRuntimes(t.Context(), list)
	require.Equal(t, "scripted", failure(t, err).Code)
	_, err = d.ListRuntimes(t.Context(), list)
	require.NoError(t, err)

	rt, err := d.Acquire(t.Context(), req)
	require.NoError(t, err)
	for _, stage := range []string{"cwd", "process"} {
		_, err = d.StartExec(t.Context(), drivers.ExecRequest{
			Handle: driverstest.HandleOf(req, rt), Argv: []string{"sleep", "600"}, JournalDir: filepath.Join(t.TempDir(), "exec"),
		})
		start, ok := errors.AsType[*drivers.StartError](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, stage, start.Stage)
	}
}

func TestTheCommandsOfTheFake(t *testing.T) {
	t.Parallel()
	r := driverstest.Acquire(t, driverstest.Features{
		New: func(t *testing.T) drivers.Driver { return open(t, t.TempDir()).Driver(drivers.ClassBlind) },
	})
	for _, row := range []struct {
		argv []string
		cwd  string
		code int
		out  string
	}{
		{argv: []string{"true"}},
		{argv: []string{"exit", "42"}, code: 42},
		{argv: []string{"exit", "no"}, code: 2},
		{argv: []string{"fill", "x"}, code: 2},
		{argv: []string{"sleep", "0.01"}},
		{argv: []string{"pwd"}, out: "/workspace\n"},
		{argv: []string{"pwd"}, cwd: "src", out: "/workspace/src\n"},
		{argv: []string{"pwd"}, cwd: "/etc", out: "/etc\n"},
		{argv: []string{"env"}, out: "PATH=/usr/bin:/bin\nTMPDIR=/tmp\nLANG=C.UTF-8\nHOME=/h\nX=2\n"},
	} {
		done := r.Run(drivers.ExecRequest{Argv: row.argv, Cwd: row.cwd, Env: []drivers.EnvVar{
			{Name: "HOME", Value: "/h"}, {Name: "X", Value: "1"}, {Name: "X", Value: "2"},
		}})
		require.Equal(t, row.code, done.ExitCode, row.argv)
		require.Equal(t, row.out, string(done.Stdout), row.argv)
	}
	require.Equal(t, strings.Repeat("x", 300_000), string(r.Run(drivers.ExecRequest{Argv: []string{"fill", "300000"}}).Stdout))
	e, err := r.Start(drivers.ExecRequest{Argv: []string{"fill", fmt.Sprint(int64(1) << 40)}, Timeout: 20 * time.Millisecond})
	require.NoError(t, err)
	require.Equal(t, drivers.ExecTimedOut, r.Finish(e, time.Now()).End)
}

func TestAScriptFileMayChangeBetweenCalls(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := open(t, dir).Driver(drivers.ClassIdempotent)
	file := filepath.Join(t.TempDir(), "script")
	req := driverstest.AcquireRequest(driverstest.Features{Config: json.RawMessage(`{"scriptFile": "` + file + `"}`)})
	_, err := d.Acquire(t.Context(), req)
	require.Equal(t, "script_unreadable", failure(t, err).Code)
	require.NoError(t, os.WriteFile(file, []byte(`[{"verb": "acquire", "action": "fail", "code": "full"}]`), 0o600))
	_, err = d.Acquire(t.Context(), req)
	require.Equal(t, "full", failure(t, err).Code)
	require.NoError(t, os.WriteFile(file, []byte(`[]`), 0o600))
	require.NoError(t, os.WriteFile(fake.ScriptPath(dir), []byte(`[{"verb": "acquire", "action": "fail", "code": "everywhere"}]`), 0o600))
	_, err = d.Acquire(t.Context(), req)
	require.Equal(t, "everywhere", failure(t, err).Code)
	require.NoError(t, os.Remove(fake.ScriptPath(dir)))
	_, err = d.Acquire(t.Context(), req)
	require.NoError(t, err)
}

func TestAScriptThatIsWrongIsRefused(t *testing.T) {
	t.Parallel()
	d := open(t, t.TempDir()).Driver(drivers.ClassIdempotent)
	for script, why := range map[string]string{
		`{}`: "not a list", `[{"verb": "fly", "action": "fail"}]`: "fly", `[{"verb": "exec", "action": "dance"}]`: "dance",
		`[{"verb": "exec", "action": "fail", "at": "noon"}]`:      "noon",
		`[{"verb": "exec", "action": "fail", "outcome": "good"}]`: "good",
		`[{"verb": "exec", "action": "partial"}]`:                 "acquire only",
		`[{"verb": "exec", "action": "fail", "attempt": -1}]`:     "negative",
		`[{"verb": "exec", "action": "fail", "colour": 1}]`:       "colour",
		`[{"verb": "exec", "action": "junk", "bytes": 1e12}]`:     "bytes",
	} {
		err := d.CheckConfig(json.RawMessage(`{"script": ` + script + `}`))
		require.ErrorContains(t, err, why)
		_, err = d.Acquire(t.Context(), drivers.AcquireRequest{RuntimeID: "x", Config: json.RawMessage(`{"script": ` + script + `}`)})
		require.Equal(t, drivers.OutcomeDefinite, failure(t, err).Outcome)
	}
}

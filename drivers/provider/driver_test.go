package provider_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/drivers/journal"
	"github.com/tenure-dev/tenure/drivers/provider"
)

// desk is an offer and its worker, in memory: what the provider has, and what it was asked.
type desk struct {
	about provider.Description
	// acquire, execute and end stand in for the verbs where they are set.
	acquire func(ctx context.Context, req provider.AcquireRequest) (provider.Lease, error)
	execute func(ctx context.Context, req provider.ExecuteRequest) (provider.ExecuteResult, error)
	end     func(verb string, req provider.EndRequest) (provider.Receipt, error)
	// down is why there is no worker.
	down error

	mu    sync.Mutex
	ended []string
	seen  []provider.Scope
	lists []drivers.ListedRuntime
}

func (d *desk) Describe() provider.Description { return d.about }

func (d *desk) CheckConfig(config json.RawMessage) error {
	if string(config) == `{"image":3}` {
		return &drivers.ConfigError{Problems: []drivers.FieldProblem{{Field: "config.image", Problem: "is not a text", Remediation: "write one"}}}
	}
	return nil
}

func (d *desk) SecretFields(json.RawMessage) []drivers.SecretField {
	return []drivers.SecretField{{Value: "/token", Ref: "/token"}}
}

func (d *desk) Worker(context.Context) (provider.Worker, error) {
	if d.down != nil {
		return nil, d.down
	}
	return d, nil
}

func (d *desk) Acquire(ctx context.Context, req provider.AcquireRequest) (provider.Lease, error) {
	d.mu.Lock()
	d.seen = append(d.seen, req.Scope)
	d.mu.Unlock()
	if d.acquire != nil {
		return d.acquire(ctx, req)
	}
	return lease("box-1"), nil
}

func (d *desk) Resume(context.Context, provider.ResumeRequest) (provider.Lease, error) {
	return provider.Lease{}, drivers.ErrUnsupported
}

func (d *desk) Release(_ context.Context, req provider.EndRequest) (provider.Receipt, error) {
	return d.note("release", req)
}

func (d *desk) Destroy(_ context.Context, req provider.EndRequest) (provider.Receipt, error) {
	return d.note("destroy", req)
}

func (d *desk) note(verb string, req provider.EndRequest) (provider.Receipt, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	id := "none"
	if req.Lease.ProviderLeaseID != nil {
		id = *req.Lease.ProviderLeaseID
	}
	d.ended = append(d.ended, verb+" "+id)
	if d.end != nil {
		return d.end(verb, req)
	}
	return provider.Receipt{State: provider.ReceiptDestroyed}, nil
}

func (d *desk) StartExec(context.Context, provider.StartRequest) (drivers.Exec, error) {
	return nil, drivers.ErrUnsupported
}

func (d *desk) Execute(ctx context.Context, req provider.ExecuteRequest) (provider.ExecuteResult, error) {
	return d.execute(ctx, req)
}

func (d *desk) ListRuntimes(context.Context, provider.ListRequest) ([]drivers.ListedRuntime, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lists, nil
}

func (d *desk) Probe(context.Context, provider.Scope) (drivers.ProbeResult, error) {
	if !d.about.Probe {
		return drivers.ProbeResult{}, drivers.ErrUnsupported
	}
	return drivers.ProbeResult{OK: true, Summary: "fine with hunter2-token", Phase: "hunter2-token", Diagnostics: []drivers.Diagnostic{{
		Severity: drivers.SeverityInfo, Code: "hunter2-token", Message: "hunter2-token", Remediation: "replace hunter2-token",
	}}}, nil
}

func (d *desk) ValidateConfig(context.Context, json.RawMessage) (provider.ConfigVerdict, error) {
	return provider.ConfigVerdict{}, nil
}

func (d *desk) endings() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.ended...)
}

func lease(id string) provider.Lease {
	return provider.Lease{ProviderLeaseID: &id, Metadata: json.RawMessage(`{"zone":"a","token":"x","note":"got hunter2-token"}`)}
}

func blind() *desk {
	return &desk{about: provider.Description{
		Kind: provider.KindSandbox, Key: "box", Class: drivers.ClassBlind, Exec: true, Destroy: true, Probe: true,
		Plugin: drivers.Plugin{ID: "p-1", Key: "acme.box", Version: "1.0.0"},
	}}
}

var shape = provider.Shape{
	Driver: "sandbox", Provider: "box", Words: []string{"provider"},
	Metadata: func(_ provider.Description, _, said json.RawMessage, _ *string) json.RawMessage { return said },
	Said:     func(metadata json.RawMessage) json.RawMessage { return metadata },
}

func driverOf(d *desk, late *provider.Late) *provider.Driver {
	return provider.NewDriver(d, shape, late, nil)
}

func request() drivers.AcquireRequest {
	return driverstest.AcquireRequest(driverstest.Features{Config: json.RawMessage(`{"provider":"box","token":"hunter2-token","size":1}`)})
}

func TestAProviderSeesItsOwnConfigurationAndNoSecretComesBack(t *testing.T) {
	t.Parallel()
	desk := blind()
	d := driverOf(desk, provider.NewLate())
	made, err := d.Acquire(t.Context(), request())
	require.NoError(t, err)
	require.JSONEq(t, `{"token":"hunter2-token","size":1}`, string(desk.seen[0].Config))
	require.JSONEq(t, `{"zone":"a","note":"got [secret]"}`, string(made.Metadata), "neither the field of the secret nor its value")

	desk.acquire = func(context.Context, provider.AcquireRequest) (provider.Lease, error) {
		return provider.Lease{}, &drivers.Failure{Outcome: drivers.OutcomeDefinite, Code: "denied", Step: "login", Err: errors.New("hunter2-token is no good")}
	}
	_, err = d.Acquire(t.Context(), request())
	require.EqualError(t, err, "login: denied: [secret] is no good")
	require.Equal(t, drivers.OutcomeDefinite, drivers.OutcomeOf(err))

	probed, err := d.Probe(t.Context(), drivers.ProbeRequest{Config: request().Config})
	require.NoError(t, err)
	require.Equal(t, "fine with [secret]", probed.Summary)
	require.NotContains(t, fmt.Sprintf("%+v", probed), "hunter2")

	desk.acquire = func(context.Context, provider.AcquireRequest) (provider.Lease, error) {
		return provider.Lease{}, &drivers.Failure{Outcome: drivers.OutcomeDefinite, Code: "denied", Err: errors.New("no"), Remediation: "replace hunter2-token"}
	}
	_, err = d.Acquire(t.Context(), request())
	failure, ok := errors.AsType[*drivers.Failure](err)
	require.True(t, ok)
	require.Equal(t, "replace [secret]", failure.Remediation)

	desk.execute = func(context.Context, provider.ExecuteRequest) (provider.ExecuteResult, error) {
		return provider.ExecuteResult{}, errors.New("hunter2-token is no good")
	}
	exec, err := d.StartExec(t.Context(), drivers.ExecRequest{
		Handle: drivers.Handle{Config: request().Config}, Argv: []string{"x"}, JournalDir: filepath.Join(t.TempDir(), "j"),
	})
	require.NoError(t, err)
	result, err := exec.Wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, "[secret] is no good", result.Why)
}

func TestAnEndIsConfirmedOrTheRuntimeDestroyed(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		receipt provider.ReceiptState
		destroy bool
		want    []string
	}{
		"a receipt that nothing is left": {provider.ReceiptDestroyed, true, []string{"release box-1"}},
		"no receipt":                     {provider.ReceiptUnconfirmed, true, []string{"release box-1", "destroy box-1"}},
		"stopped":                        {provider.ReceiptStopped, true, []string{"release box-1", "destroy box-1"}},
		"a provider that cannot destroy": {provider.ReceiptUnconfirmed, false, []string{"release box-1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			desk := blind()
			desk.about.Destroy = tc.destroy
			desk.end = func(string, provider.EndRequest) (provider.Receipt, error) {
				return provider.Receipt{State: tc.receipt}, nil
			}
			d := driverOf(desk, provider.NewLate())
			req := request()
			made, err := d.Acquire(t.Context(), req)
			require.NoError(t, err)
			require.NoError(t, d.Release(t.Context(), drivers.ReleaseRequest{Handle: driverstest.HandleOf(req, made)}))
			require.Equal(t, tc.want, desk.endings())
		})
	}
}

// unanswered is an Acquire whose reply comes when the test says so.
func unanswered(desk *desk) (reply func(provider.Lease)) {
	var late func(provider.Lease)
	desk.acquire = func(_ context.Context, req provider.AcquireRequest) (provider.Lease, error) {
		late = req.Late
		return provider.Lease{}, &drivers.Failure{Outcome: drivers.OutcomeAmbiguous, Code: "no_reply", Err: errors.New("no reply")}
	}
	return func(l provider.Lease) { late(l) }
}

func TestTheRuntimeOfALateReplyIsAdoptedByTheNextAttempt(t *testing.T) {
	t.Parallel()
	desk := blind()
	reply := unanswered(desk)
	d := driverOf(desk, provider.NewLate())
	req := request()
	_, err := d.Acquire(t.Context(), req)
	require.Equal(t, drivers.OutcomeAmbiguous, drivers.OutcomeOf(err))
	reply(lease("late"))
	made, err := d.Acquire(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, "late", *made.ProviderLeaseID)
	require.True(t, made.Resumed)
	require.Len(t, desk.seen, 1, "the provider is not asked again")
}

func TestTheRuntimeOfALateReplyIsDestroyedWithItsLease(t *testing.T) {
	t.Parallel()
	desk := blind()
	reply := unanswered(desk)
	late := provider.NewLate()
	req := request()
	_, err := driverOf(desk, late).Acquire(t.Context(), req)
	require.Error(t, err)
	release := drivers.ReleaseRequest{Handle: driverstest.HandleOf(req, drivers.Runtime{})}
	err = driverOf(desk, late).Release(t.Context(), release)
	require.ErrorContains(t, err, "runtime_unknown", "nobody knows its name")
	require.Empty(t, desk.endings())
	reply(lease("late"))
	require.NoError(t, driverOf(desk, late).Release(t.Context(), release), "another driver of the same process knows it")
	require.Equal(t, []string{"release late"}, desk.endings())
}

func TestALateRuntimeOfALeaseThatHasAnotherOneIsDestroyedAtOnce(t *testing.T) {
	t.Parallel()
	desk := blind()
	desk.about.Class = drivers.ClassListable
	reply := unanswered(desk)
	d := driverOf(desk, provider.NewLate())
	req := request()
	_, err := d.Acquire(t.Context(), req)
	require.Error(t, err)
	desk.acquire = nil
	req.Attempt = 2
	made, err := d.Acquire(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, "box-1", *made.ProviderLeaseID)
	reply(lease("box-1"))
	require.Empty(t, desk.endings(), "it is the lease's own")
	reply(lease("extra"))
	require.Equal(t, []string{"release extra"}, desk.endings())
}

func TestWhatAListableProviderMadeUnseenIsAdoptedAndAllOfItIsEnded(t *testing.T) {
	t.Parallel()
	desk := blind()
	desk.about.Class, desk.about.List = drivers.ClassListable, true
	d := driverOf(desk, provider.NewLate())
	req := request()
	req.Attempt = 2
	one, two, other := "one", "two", "other"
	desk.lists = []drivers.ListedRuntime{
		{RuntimeID: "another", ProviderLeaseID: &other}, {RuntimeID: req.RuntimeID, ProviderLeaseID: &one}, {RuntimeID: req.RuntimeID, ProviderLeaseID: &two},
	}
	made, err := d.Acquire(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, "one", *made.ProviderLeaseID)
	require.Empty(t, desk.seen)
	require.NoError(t, d.Release(t.Context(), drivers.ReleaseRequest{Handle: driverstest.HandleOf(req, made)}))
	require.Equal(t, []string{"release one", "release two"}, desk.endings())
}

// The result of a command has the last word over what came while it ran.
func TestAResultCompletesWhatCameBefore(t *testing.T) {
	t.Parallel()
	three := 3
	for name, tc := range map[string]struct {
		live   string
		result provider.ExecuteResult
		err    error
		stdout string
		end    drivers.ExecEnd
		state  drivers.OutputState
	}{
		"nothing came":        {"", provider.ExecuteResult{ExitCode: &three, Stdout: []byte("all")}, nil, "all", drivers.ExecExited, drivers.OutputComplete},
		"a part came":         {"al", provider.ExecuteResult{ExitCode: &three, Stdout: []byte("all")}, nil, "all", drivers.ExecExited, drivers.OutputComplete},
		"something else came": {"xx", provider.ExecuteResult{ExitCode: &three, Stdout: []byte("all")}, nil, "xx", drivers.ExecExited, drivers.OutputTruncated},
		"more came":           {"all of it", provider.ExecuteResult{ExitCode: &three, Stdout: []byte("all")}, nil, "all of it", drivers.ExecExited, drivers.OutputTruncated},
		"the worker died":     {"al", provider.ExecuteResult{}, errors.New("died"), "al", drivers.ExecUnknown, drivers.OutputTruncated},
		"it does not say":     {"", provider.ExecuteResult{}, nil, "", drivers.ExecUnknown, drivers.OutputComplete},
		"a signal":            {"", provider.ExecuteResult{Signal: "SIGSEGV"}, nil, "", drivers.ExecSignaled, drivers.OutputComplete},
		"its time was over":   {"", provider.ExecuteResult{TimedOut: true, ExitCode: &three}, nil, "", drivers.ExecTimedOut, drivers.OutputComplete},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			desk := blind()
			desk.execute = func(_ context.Context, req provider.ExecuteRequest) (provider.ExecuteResult, error) {
				if tc.live != "" {
					req.Output(provider.OutputChunk{Stream: "stdout", Data: []byte(tc.live)})
				}
				return tc.result, tc.err
			}
			dir := filepath.Join(t.TempDir(), "j")
			exec, err := driverOf(desk, provider.NewLate()).StartExec(t.Context(), drivers.ExecRequest{Argv: []string{"x"}, JournalDir: dir})
			require.NoError(t, err)
			result, err := exec.Wait(t.Context())
			require.NoError(t, err)
			require.Equal(t, tc.end, result.End)
			require.Equal(t, tc.state, result.Output.State)
			got, err := journal.ReadStream(dir, journal.Stdout, 1000)
			require.NoError(t, err)
			require.Equal(t, tc.stdout, string(got))
		})
	}
}

func TestAKillOfACommandThatCannotBeEndedLeavesItsEndUnknown(t *testing.T) {
	t.Parallel()
	desk := blind()
	desk.execute = func(ctx context.Context, _ provider.ExecuteRequest) (provider.ExecuteResult, error) {
		<-ctx.Done()
		return provider.ExecuteResult{}, ctx.Err()
	}
	exec, err := driverOf(desk, provider.NewLate()).StartExec(t.Context(), drivers.ExecRequest{Argv: []string{"x"}, JournalDir: filepath.Join(t.TempDir(), "j")})
	require.NoError(t, err)
	require.NoError(t, exec.Kill(t.Context(), "asked"))
	result, err := exec.Wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, drivers.ExecUnknown, result.End)
	require.Contains(t, result.Why, "asked")
	require.Contains(t, result.Why, "may run on")
}

func TestWhatIsNoTextIsRefusedBeforeATextProtocolSeesIt(t *testing.T) {
	t.Parallel()
	for stage, req := range map[string]drivers.ExecRequest{
		"argv":        {Argv: []string{"x", "\xff"}},
		"environment": {Argv: []string{"x"}, Env: []drivers.EnvVar{{Name: "A", Value: "\xff"}}},
		"stdin":       {Argv: []string{"x"}, Stdin: []byte("\xff")},
	} {
		req.JournalDir = filepath.Join(t.TempDir(), "j")
		_, err := driverOf(blind(), provider.NewLate()).StartExec(t.Context(), req)
		failure, ok := errors.AsType[*drivers.StartError](err)
		require.True(t, ok, stage)
		require.Equal(t, stage, failure.Stage)
	}
}

// finder says that no candidate answers.
type finder struct{ url string }

func (f finder) FindURL(context.Context, provider.URLQuery, provider.RunScript) (string, string) {
	return f.url, "https://a: refused; https://b: timeout"
}

func TestARuntimeWithoutTheWayBackIsTakenDownWhereThatIsRequired(t *testing.T) {
	t.Parallel()
	desk := blind()
	req := request()
	req.Config = json.RawMessage(`{"provider":"box","runtimeUrl":"required"}`)
	d := provider.NewDriver(desk, shape, provider.NewLate(), finder{})
	_, err := d.Acquire(t.Context(), req)
	require.ErrorContains(t, err, "https://a: refused; https://b: timeout")
	require.Equal(t, drivers.OutcomeDefinite, drivers.OutcomeOf(err))
	require.Equal(t, []string{"release box-1"}, desk.endings())

	desk.end = func(string, provider.EndRequest) (provider.Receipt, error) {
		return provider.Receipt{}, errors.New("busy")
	}
	_, err = d.Acquire(t.Context(), req)
	require.Equal(t, drivers.OutcomeAmbiguous, drivers.OutcomeOf(err), "something is left")
}

// slow is a finder that has found nothing by the time that its caller leaves.
type slow struct{ leave context.CancelFunc }

func (s slow) FindURL(ctx context.Context, _ provider.URLQuery, _ provider.RunScript) (string, string) {
	s.leave()
	<-ctx.Done()
	return "", "https://a: not_tried"
}

func TestALookForTheWayBackThatIsCutShortDecidesNothing(t *testing.T) {
	t.Parallel()
	for class, outcome := range map[drivers.Class]drivers.Outcome{
		drivers.ClassIdempotent: drivers.OutcomeRetryable, drivers.ClassListable: drivers.OutcomeRetryable,
		drivers.ClassBlind: drivers.OutcomeAmbiguous, // it is not asked again
	} {
		t.Run(string(class), func(t *testing.T) {
			t.Parallel()
			desk := blind()
			desk.about.Class = class
			req := request()
			req.Config = json.RawMessage(`{"provider":"box","runtimeUrl":"required"}`)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			late := provider.NewLate()
			_, err := provider.NewDriver(desk, shape, late, slow{cancel}).Acquire(ctx, req)
			require.ErrorIs(t, err, context.Canceled)
			require.Equal(t, outcome, drivers.OutcomeOf(err))
			failure := &drivers.Failure{}
			require.ErrorAs(t, err, &failure)
			require.NotEmpty(t, failure.Remediation)
			require.Empty(t, desk.endings(), "another attempt may have it by now")

			made, err := provider.NewDriver(desk, shape, late, finder{"https://a"}).Acquire(t.Context(), req)
			require.NoError(t, err)
			require.Equal(t, "box-1", *made.ProviderLeaseID)
			require.Len(t, desk.seen, 1, "it is taken up again")
		})
	}
}

func TestWhatCouldNotBeUndoneIsKnownToTheRelease(t *testing.T) {
	t.Parallel()
	desk := blind()
	req := request()
	req.Config = json.RawMessage(`{"provider":"box","runtimeUrl":"required"}`)
	busy := true
	desk.end = func(string, provider.EndRequest) (provider.Receipt, error) {
		if busy {
			return provider.Receipt{}, errors.New("busy")
		}
		return provider.Receipt{State: provider.ReceiptDestroyed}, nil
	}
	d := provider.NewDriver(desk, shape, provider.NewLate(), finder{})
	_, err := d.Acquire(t.Context(), req)
	require.Equal(t, drivers.OutcomeAmbiguous, drivers.OutcomeOf(err))
	busy = false
	require.NoError(t, d.Release(t.Context(), drivers.ReleaseRequest{Handle: driverstest.HandleOf(req, drivers.Runtime{})}))
	require.Equal(t, []string{"release box-1", "release box-1"}, desk.endings())
}

func TestTheEnvelopeIsCheckedBesideTheProvidersOwn(t *testing.T) {
	t.Parallel()
	d := driverOf(blind(), provider.NewLate())
	require.NoError(t, d.CheckConfig(json.RawMessage(`{"provider":"box","runtimeUrl":"required","runtimeApiCandidates":["https://x"]}`)))
	for field, config := range map[string]string{
		"config":                         `3`,
		"config.image":                   `{"image":3}`,
		"config.runtimeUrl":              `{"runtimeUrl":"maybe"}`,
		"config.runtimeApiCandidates":    `{"runtimeApiCandidates":"https://x"}`,
		"config.runtimeApiCandidates[1]": `{"runtimeApiCandidates":["https://x","ftp://y"]}`,
		"config.runtimeApiCandidates[0]": `{"runtimeApiCandidates":["https://user:word@x"]}`,
	} {
		problem := &drivers.ConfigError{}
		require.ErrorAs(t, d.CheckConfig(json.RawMessage(config)), &problem, config)
		require.Equal(t, field, problem.Problems[0].Field)
	}
}

func TestAProviderWithoutAProbeIsNotSaidToBeBroken(t *testing.T) {
	t.Parallel()
	plain := blind()
	plain.about.Probe = false
	result, err := driverOf(plain, provider.NewLate()).Probe(t.Context(), drivers.ProbeRequest{Config: request().Config})
	require.NoError(t, err)
	require.True(t, result.OK)
	require.Len(t, result.Diagnostics, 1)
	require.Equal(t, drivers.SeverityWarning, result.Diagnostics[0].Severity)
	require.NotEmpty(t, result.Diagnostics[0].Remediation)
}

func TestAProbeThatReachesNoWorkerSaysWhy(t *testing.T) {
	t.Parallel()
	desk := blind()
	desk.down = &drivers.Failure{Outcome: drivers.OutcomeRetryable, Code: "plugin_disabled", Step: "find_plugin", Remediation: "enable it", Err: errors.New("the plugin is disabled")}
	result, err := driverOf(desk, provider.NewLate()).Probe(t.Context(), drivers.ProbeRequest{Config: request().Config})
	require.NoError(t, err)
	require.Equal(t, []string{"find_plugin", "the plugin is disabled"}, []string{result.Phase, result.Summary})
}

func TestAFailureSaysThatNothingWasMade(t *testing.T) {
	t.Parallel()
	failed := func(o drivers.Outcome) error { return &drivers.Failure{Outcome: o, Code: "c", Err: errors.New("no")} }
	for name, tc := range map[string]struct {
		class       drivers.Class
		down, reply error
		nothing     bool
	}{
		"nobody was asked":           {drivers.ClassListable, failed(drivers.OutcomeRetryable), nil, true},
		"nobody was asked, blind":    {drivers.ClassBlind, failed(drivers.OutcomeRetryable), nil, true},
		"blind, may be asked again":  {drivers.ClassBlind, nil, failed(drivers.OutcomeRetryable), true},
		"blind, nobody knows":        {drivers.ClassBlind, nil, failed(drivers.OutcomeAmbiguous), false},
		"others may have made it":    {drivers.ClassListable, nil, failed(drivers.OutcomeRetryable), false},
		"with a token all is as one": {drivers.ClassIdempotent, nil, failed(drivers.OutcomeRetryable), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			desk := blind()
			desk.about.Class, desk.down = tc.class, tc.down
			desk.acquire = func(context.Context, provider.AcquireRequest) (provider.Lease, error) {
				return provider.Lease{}, tc.reply
			}
			_, err := driverOf(desk, provider.NewLate()).Acquire(t.Context(), request())
			f, ok := errors.AsType[*drivers.Failure](err)
			require.True(t, ok)
			require.Equal(t, tc.nothing, f.NothingMade)
		})
	}
}

func TestAnErrorWithoutItsSecretIsStillTheSameError(t *testing.T) {
	t.Parallel()
	desk := blind()
	desk.end = func(string, provider.EndRequest) (provider.Receipt, error) {
		return provider.Receipt{}, fmt.Errorf("no box for hunter2-token: %w", drivers.ErrGone)
	}
	d := driverOf(desk, provider.NewLate())
	made, err := d.Acquire(t.Context(), request())
	require.NoError(t, err)
	require.NoError(t, d.Release(t.Context(), drivers.ReleaseRequest{Handle: driverstest.HandleOf(request(), made)}))

	desk.acquire = func(context.Context, provider.AcquireRequest) (provider.Lease, error) {
		return provider.Lease{}, fmt.Errorf("hunter2-token: %w", drivers.ErrUnsupported)
	}
	_, err = d.Acquire(t.Context(), request())
	require.ErrorIs(t, err, drivers.ErrUnsupported)
	require.NotContains(t, err.Error(), "hunter2")
}

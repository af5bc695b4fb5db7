package execution_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/domaintest"
	"github.com/tenure-dev/tenure/domain/execution"
)

type scenario = domaintest.Scenario[execution.State, execution.Command, execution.Event]

var (
	worker  = domaintest.Worker
	other   = domaintest.ID[domain.WorkerID](99)
	process = execution.Started{PID: 4711, StartTime: 99, BootID: "boot"}
	killed  = execution.KillRequested{By: domaintest.Principal, Why: "took too long"}
	all     = execution.OutputSealed{State: execution.SealComplete, Stdout: execution.Stream{Bytes: 3, SHA256: domaintest.Hash}}
)

func given(t *testing.T, facts ...execution.Event) scenario {
	t.Helper()
	return domaintest.Given[execution.State, execution.Command, execution.Event](t, execution.Decider, facts...)
}

func requested(t *testing.T) scenario { return given(t, domaintest.ExecRequested()) }

func claimed(t *testing.T) scenario {
	return given(t, domaintest.ExecRequested(), execution.Claimed{Worker: worker})
}

func running(t *testing.T) scenario {
	return given(t, domaintest.ExecRequested(), execution.Claimed{Worker: worker}, process)
}

func ended(t *testing.T) scenario {
	return given(t, domaintest.ExecRequested(), execution.Claimed{Worker: worker}, process, exited(0), all)
}

func exited(code int) execution.Ended {
	return execution.Ended{End: execution.EndExited, ExitCode: &code}
}

func finish(e execution.Ended) execution.Finish {
	return execution.Finish{Worker: worker, Ended: e, OutputSealed: &all}
}

func TestACommandRunsFromRequestToExit(t *testing.T) {
	t.Parallel()
	s := given(t).When(execution.Request{Requested: domaintest.ExecRequested()}).Then(domaintest.ExecRequested())
	require.Equal(t, execution.StatusRequested, s.State().Status)
	s = s.When(execution.Claim{Worker: worker}).Then(execution.Claimed{Worker: worker})
	require.Equal(t, execution.StatusClaimed, s.State().Status)
	s = s.When(execution.Start{Worker: worker, Started: process}).Then(process)
	require.Equal(t, execution.StatusRunning, s.State().Status)
	s = s.When(finish(exited(3))).Then(exited(3), all)

	require.Equal(t, execution.State{
		Status: execution.StatusEnded, Request: domaintest.ExecRequested(), Worker: worker, Process: process,
		Ended: exited(3), Seal: all,
		RequestedAt: time.Unix(1, 0).UTC(), StartedAt: time.Unix(3, 0).UTC(), EndedAt: time.Unix(4, 0).UTC(),
	}, s.State())
}

func TestARequestIsMadeOnce(t *testing.T) {
	t.Parallel()
	requested(t).When(execution.Request{Requested: domaintest.ExecRequested()}).Refused(domain.KindConflict, "exec_exists", "id")
}

func TestAWrongRequestIsRefused(t *testing.T) {
	t.Parallel()
	env := func(names ...string) (list []domain.EnvName) {
		for _, n := range names {
			list = append(list, domain.EnvName{Name: n})
		}
		return list
	}
	for name, tc := range map[string]struct {
		spoil       func(*execution.Requested)
		code, field string
	}{
		"no company":        {func(r *execution.Requested) { r.Company = domain.CompanyID{} }, "missing_field", "companyId"},
		"no lease":          {func(r *execution.Requested) { r.Lease = domain.LeaseID{} }, "missing_field", "leaseId"},
		"no argv":           {func(r *execution.Requested) { r.Argv = nil }, "missing_field", "argv"},
		"no command":        {func(r *execution.Requested) { r.Argv = []string{"", "x"} }, "missing_field", "argv[0]"},
		"NUL in command":    {func(r *execution.Requested) { r.Argv = []string{"a\x00"} }, "invalid_text", "argv[0]"},
		"NUL in argument":   {func(r *execution.Requested) { r.Argv = []string{"a", "b", "\x00"} }, "invalid_text", "argv[2]"},
		"bytes in argument": {func(r *execution.Requested) { r.Argv = []string{"a", "\xff"} }, "invalid_text", "argv[1]"},
		"NUL in cwd":        {func(r *execution.Requested) { r.Cwd = "a\x00" }, "invalid_text", "cwd"},
		"empty name":        {func(r *execution.Requested) { r.Env = env("A", "") }, "invalid_env_name", "env."},
		"name with =":       {func(r *execution.Requested) { r.Env = env("A=B") }, "invalid_env_name", "env.A=B"},
		"name with NUL":     {func(r *execution.Requested) { r.Env = env("A\x00B") }, "invalid_env_name", "env.A\x00B"},
		"name twice":        {func(r *execution.Requested) { r.Env = env("A", "B", "A") }, "duplicate_env_name", "env.A"},
		"negative stdin":    {func(r *execution.Requested) { r.StdinBytes = -1 }, "invalid_size", "stdin"},
		"negative timeout":  {func(r *execution.Requested) { r.TimeoutMs = -1 }, "invalid_duration", "timeoutMs"},
		"endless timeout":   {func(r *execution.Requested) { r.TimeoutMs = 1 << 62 }, "invalid_duration", "timeoutMs"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := domaintest.ExecRequested()
			tc.spoil(&r)
			given(t).When(execution.Request{Requested: r}).Refused(domain.KindInvalid, tc.code, tc.field)
		})
	}
}

func TestNamesThatAShellRefusesAreFine(t *testing.T) {
	t.Parallel()
	r := domaintest.ExecRequested()
	r.Env, r.TimeoutMs, r.Cwd = nil, 0, ""
	for _, name := range []string{"A-B", "a.b", "1X", "A B", "A\nB", "A;touch pwn"} {
		r.Env = append(r.Env, domain.EnvName{Name: name})
	}
	r.Argv = []string{"sh", "-c", "", "it's $HOME \"x\" *\n"}
	given(t).When(execution.Request{Requested: r}).Then(r)
}

func TestItIsClaimedOnceAndByNobodyElseEver(t *testing.T) {
	t.Parallel()
	requested(t).When(execution.Claim{}).Refused(domain.KindInvalid, "missing_field", "workerId")
	for _, s := range []scenario{claimed(t), running(t), ended(t)} {
		for _, w := range []domain.WorkerID{worker, other} {
			s.When(execution.Claim{Worker: w}).Refused(domain.KindStale, "stale_claim", "")
		}
	}
}

func TestOnlyItsWorkerSaysThatItStarted(t *testing.T) {
	t.Parallel()
	start := execution.Start{Worker: worker, Started: process}
	byOther := execution.Start{Worker: other, Started: process}
	again := start
	again.Started.PID++
	requested(t).When(start).Refused(domain.KindStale, "stale_claim", "")
	claimed(t).When(byOther).Refused(domain.KindStale, "stale_claim", "")
	running(t).When(byOther).Refused(domain.KindStale, "stale_claim", "")
	running(t).When(start).Nothing()
	running(t).When(again).Refused(domain.KindStale, "stale_claim", "")
	ended(t).When(start).Refused(domain.KindStale, "stale_claim", "")
}

func TestOnlyItsWorkerSaysHowItEndedAndOnce(t *testing.T) {
	t.Parallel()
	byOther := finish(exited(0))
	byOther.Worker = other
	requested(t).When(finish(exited(0))).Refused(domain.KindStale, "stale_claim", "")
	requested(t).When(execution.Finish{Ended: exited(0), OutputSealed: &all}).Refused(domain.KindStale, "stale_claim", "")
	running(t).When(byOther).Refused(domain.KindStale, "stale_claim", "")
	ended(t).When(finish(exited(0))).Refused(domain.KindStale, "stale_claim", "")
	given(t, domaintest.ExecRequested(), execution.Claimed{Worker: worker}, process,
		execution.Ended{End: execution.EndUnknown}, execution.OutputSealed{State: execution.SealLost}).
		When(finish(exited(0))).Refused(domain.KindStale, "stale_claim", "")
}

func TestEveryEndOfARunningCommand(t *testing.T) {
	t.Parallel()
	for _, e := range []execution.Ended{
		exited(0), exited(127),
		{End: execution.EndSignaled, Signal: "SIGSEGV"},
		{End: execution.EndTimeout, Signal: "SIGKILL", Leftovers: 2},
		{End: execution.EndTimeout},
		{End: execution.EndKilled, Signal: "SIGTERM", Why: "lease ended"},
		{End: execution.EndUnknown, Why: "parent died"},
	} {
		running(t).When(finish(e)).Then(e, all)
	}
}

func TestWhatNeverStartedEndsWithoutAProcess(t *testing.T) {
	t.Parallel()
	for _, e := range []execution.Ended{
		{End: execution.EndStartFailed, Stage: "cwd", Code: "not_found", Message: "no such directory"},
		{End: execution.EndKilled, Why: "lease ended"},
		{End: execution.EndUnknown, Why: "parent died"},
	} {
		claimed(t).When(finish(e)).Then(e, all)
	}
}

func TestAnEndThatContradictsWhatIsKnownIsRefused(t *testing.T) {
	t.Parallel()
	code := 1
	for _, e := range []execution.Ended{exited(0), {End: execution.EndSignaled, Signal: "SIGTERM"}, {End: execution.EndTimeout}} {
		claimed(t).When(finish(e)).Refused(domain.KindConflict, "exec_not_started", "")
	}
	running(t).When(finish(execution.Ended{End: execution.EndStartFailed})).Refused(domain.KindConflict, "exec_started", "")
	running(t).When(finish(execution.Ended{})).Refused(domain.KindInvalid, "unknown_end", "end")
	running(t).When(finish(execution.Ended{End: execution.EndExited})).Refused(domain.KindInvalid, "invalid_exit_code", "exitCode")
	running(t).When(finish(execution.Ended{End: execution.EndUnknown, ExitCode: &code})).
		Refused(domain.KindInvalid, "invalid_exit_code", "exitCode")
	running(t).When(finish(execution.Ended{End: execution.EndSignaled})).Refused(domain.KindInvalid, "invalid_signal", "signal")
	running(t).When(finish(execution.Ended{End: execution.EndExited, ExitCode: &code, Signal: "SIGTERM"})).
		Refused(domain.KindInvalid, "invalid_signal", "signal")
}

func TestTheEndComesWithTheSealOrNotAtAll(t *testing.T) {
	t.Parallel()
	for _, state := range []execution.SealState{execution.SealComplete, execution.SealTruncated, execution.SealAbandoned, execution.SealLost} {
		seal := execution.OutputSealed{State: state}
		running(t).When(execution.Finish{Worker: worker, Ended: exited(0), OutputSealed: &seal}).Then(exited(0), seal)
	}
	running(t).When(execution.Finish{Worker: worker, Ended: exited(0)}).Refused(domain.KindInvalid, "missing_field", "sealed")
	for _, seal := range []execution.OutputSealed{
		{State: execution.SealComplete, Stdout: execution.Stream{Bytes: -1}},
		{State: execution.SealComplete, Stderr: execution.Stream{Bytes: -1}},
		{State: execution.SealTruncated, Dropped: -1},
	} {
		running(t).When(execution.Finish{Worker: worker, Ended: exited(0), OutputSealed: &seal}).
			Refused(domain.KindInvalid, "invalid_size", "sealed")
	}
	running(t).When(execution.Finish{Worker: worker, Ended: exited(0), OutputSealed: &execution.OutputSealed{}}).
		Refused(domain.KindInvalid, "unknown_seal", "sealed.state")
}

func TestWhatADriverSaysIsMadeFitForTheLog(t *testing.T) {
	t.Parallel()
	claimed(t).When(finish(execution.Ended{End: execution.EndStartFailed, Message: "a\x00b\xff"})).
		Then(execution.Ended{End: execution.EndStartFailed, Message: "a\uFFFDb\uFFFD"}, all)
	running(t).When(finish(execution.Ended{End: execution.EndSignaled, Signal: "SIG\x00" + strings.Repeat("x", 1000)})).
		Then(execution.Ended{End: execution.EndSignaled, Signal: "SIG\uFFFD" + strings.Repeat("x", domain.MaxName-5) + "…"}, all)
	claimed(t).When(finish(execution.Ended{End: execution.EndStartFailed, Stage: "s\x00", Code: "c\x00"})).
		Then(execution.Ended{End: execution.EndStartFailed, Stage: "s\uFFFD", Code: "c\uFFFD"}, all)
}

func TestAKillIsAskedForOnceAndItsReasonIsKept(t *testing.T) {
	t.Parallel()
	kill := execution.RequestKill(killed)
	for _, s := range []scenario{claimed(t), running(t)} {
		after := s.When(kill).Then(killed)
		require.True(t, after.State().Killing)
		require.Equal(t, domaintest.Principal, after.State().KillBy)
		require.Equal(t, s.State().Status, after.State().Status)
		after.When(execution.RequestKill{Why: "again"}).Nothing()
		after.When(finish(execution.Ended{End: execution.EndKilled})).
			Then(execution.Ended{End: execution.EndKilled, Why: killed.Why}, all)
	}
	ended(t).When(kill).Nothing()
	running(t).When(execution.RequestKill{Why: "\x00"}).Refused(domain.KindInvalid, "invalid_text", "why")
}

func TestAKillOfWhatNobodyClaimedEndsItAtOnce(t *testing.T) {
	t.Parallel()
	after := requested(t).When(execution.RequestKill(killed)).
		Then(killed, execution.Ended{End: execution.EndKilled, Why: killed.Why}, execution.NoOutput)
	after.When(execution.Claim{Worker: worker}).Refused(domain.KindStale, "stale_claim", "")
}

func TestWhatALostWorkerLeftEndsAsUnknown(t *testing.T) {
	t.Parallel()
	for _, s := range []scenario{claimed(t), running(t)} {
		after := s.When(execution.Abandon{Why: "worker_gone"}).
			Then(execution.Ended{End: execution.EndUnknown, Why: "worker_gone"}, execution.OutputSealed{State: execution.SealLost})
		require.Nil(t, after.State().Ended.ExitCode, "unknown has no number")
		after.When(execution.Abandon{Why: "worker_gone"}).Nothing()
	}
	requested(t).When(execution.Abandon{}).Refused(domain.KindConflict, "exec_not_claimed", "")
}

func TestWhatNobodyWillRunIsRefused(t *testing.T) {
	t.Parallel()
	refuse := execution.Refuse{Stage: "lease", Code: "lease_ended", Message: "the lease is released"}
	after := requested(t).When(refuse).Then(
		execution.Ended{End: execution.EndStartFailed, Stage: "lease", Code: "lease_ended", Message: "the lease is released"},
		execution.NoOutput)
	after.When(refuse).Nothing()
	claimed(t).When(refuse).Refused(domain.KindStale, "stale_claim", "")
	running(t).When(refuse).Refused(domain.KindStale, "stale_claim", "")
}

func TestAnUnknownExecIsNotFound(t *testing.T) {
	t.Parallel()
	for _, command := range []execution.Command{
		execution.Claim{}, execution.Start{}, execution.RequestKill{}, execution.Finish{}, execution.Abandon{}, execution.Refuse{},
	} {
		given(t).When(command).Refused(domain.KindNotFound, "exec_not_found", "")
	}
}

func TestAnUnknownCommandIsRefused(t *testing.T) {
	t.Parallel()
	requested(t).When(nil).Refused(domain.KindInvalid, "unknown_command", "")
}

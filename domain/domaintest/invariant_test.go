package domaintest_test

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/admission"
	"github.com/tenure-dev/tenure/domain/company"
	"github.com/tenure-dev/tenure/domain/domaintest"
	"github.com/tenure-dev/tenure/domain/environment"
	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/install"
	"github.com/tenure-dev/tenure/domain/key"
	"github.com/tenure-dev/tenure/domain/leak"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/plugin"
	"github.com/tenure-dev/tenure/domain/probe"
	"github.com/tenure-dev/tenure/domain/runtime"
)

func TestNothingIsEverHeldTwiceOrLeftBehind(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, newSeen())
		for _, s := range steps().Draw(t, "steps") {
			w.do(s)
		}
	})
}

// The seeds are fixed, so that a status which nothing leads to any more fails every time.
func TestEveryStatusIsReached(t *testing.T) {
	t.Parallel()
	seen := newSeen()
	for seed := range 300 {
		w := newWorld(t, seen)
		for _, s := range steps().Example(seed) {
			w.do(s)
		}
	}
	require.ElementsMatch(t, []lease.Status{
		lease.StatusNone, lease.StatusRequested, lease.StatusGranted, lease.StatusProvisioning, lease.StatusActive,
		lease.StatusReleasing, lease.StatusPendingCleanup, lease.StatusReleased, lease.StatusExpired, lease.StatusFailed,
		lease.StatusCanceled,
	}, slices.Collect(maps.Keys(seen.lease)))
	require.ElementsMatch(t, []runtime.Status{
		runtime.StatusNone, runtime.StatusIntended, runtime.StatusHeld, runtime.StatusFree, runtime.StatusDestroying,
		runtime.StatusDestroyed,
	}, slices.Collect(maps.Keys(seen.runtime)))
}

func execCommand() *rapid.Generator[execution.Command] {
	return rapid.Custom(func(t *rapid.T) execution.Command {
		worker := workerID(rapid.IntRange(0, 1).Draw(t, "worker"))
		code := rapid.IntRange(0, 255).Draw(t, "code")
		end := rapid.SampledFrom([]execution.Ended{
			{End: execution.EndExited, ExitCode: &code}, {End: execution.EndSignaled, Signal: "SIGKILL"}, {End: execution.EndTimeout},
			{End: execution.EndKilled}, {End: execution.EndStartFailed, Stage: "cwd"}, {End: execution.EndUnknown}, {End: "odd"},
		}).Draw(t, "end")
		seal := rapid.SampledFrom([]*execution.OutputSealed{nil, &execution.NoOutput, {State: execution.SealLost}}).Draw(t, "seal")
		return rapid.SampledFrom([]execution.Command{
			execution.Request{Requested: domaintest.ExecRequested()},
			execution.Claim{Worker: worker},
			execution.Start{Worker: worker, Started: execution.Started{PID: code}},
			execution.RequestKill{Why: "x"},
			execution.Finish{Worker: worker, Ended: end, OutputSealed: seal},
			execution.Abandon{Why: "x"},
			execution.Refuse{Stage: "lease"},
		}).Draw(t, "command")
	})
}

// playExec checks that a command is claimed and ends at most once, always with its seal, by its worker or by none.
func playExec(t testingT, commands []execution.Command, seen map[execution.Status]bool) {
	s := newStream(execution.Decider, func(s execution.State) { seen[s.Status] = true })
	seen[s.state.Status] = true
	claims, ends, seals := 0, 0, 0
	for _, c := range commands {
		before := s.state
		events, err := s.do(t, c, domaintest.Noon)
		if f, ok := c.(execution.Finish); ok && err == nil && f.Worker != before.Worker {
			t.Fatalf("the result of another worker was accepted")
		}
		if before.Status == execution.StatusEnded && !reflect.DeepEqual(before, s.state) {
			t.Fatalf("an ended execution changed by %#v", c)
		}
		for _, e := range events {
			switch e.(type) {
			case execution.Claimed:
				claims++
			case execution.Ended:
				ends++
			case execution.OutputSealed:
				seals++
			default:
			}
		}
		if claims > 1 || ends > 1 || ends != seals || (ends == 1) != (s.state.Status == execution.StatusEnded) {
			t.Fatalf("%d claims, %d ends, %d seals and %s", claims, ends, seals, s.state.Status)
		}
	}
}

func TestACommandRunsAtMostOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		playExec(t, rapid.SliceOfN(execCommand(), 1, 30).Draw(t, "commands"), map[execution.Status]bool{})
	})
}

func TestEveryStatusOfAnExecutionIsReached(t *testing.T) {
	t.Parallel()
	seen := map[execution.Status]bool{}
	for seed := range 50 {
		playExec(t, rapid.SliceOfN(execCommand(), 20, 30).Example(seed), seen)
	}
	require.ElementsMatch(t, []execution.Status{
		execution.StatusNone, execution.StatusRequested, execution.StatusClaimed, execution.StatusRunning, execution.StatusEnded,
	}, slices.Collect(maps.Keys(seen)))
}

// evolveAnyOrder replays facts in orders that no decider would make, the empty fact of each kind among them.
func evolveAnyOrder[S, C any, E domain.Event](t *testing.T, d domain.Decider[S, C, E], ask ...C) {
	t.Helper()
	facts := domaintest.Of[E]()
	require.NotEmpty(t, facts)
	for _, f := range facts {
		empty, ok := reflect.Zero(reflect.TypeOf(f)).Interface().(E)
		require.True(t, ok)
		facts = append(facts, empty)
	}
	t.Run(fmt.Sprintf("%T", d.Initial()), func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(t *rapid.T) {
			s := newStream(d, func(S) {})
			for _, e := range rapid.SliceOfN(rapid.SampledFrom(facts), 0, 30).Draw(t, "facts") {
				s.apply(t, []E{e}, domaintest.Noon)
			}
			for _, c := range ask {
				_, _ = s.decide(t, c)
			}
		})
	})
}

func TestEvolveTakesFactsInAnyOrder(t *testing.T) {
	t.Parallel()
	noon := domaintest.Noon
	evolveAnyOrder[company.State, company.Command](t, company.Decider, company.Add{Name: "x"})
	evolveAnyOrder[environment.State, environment.Command](t, environment.Decider,
		environment.Register{Registered: domaintest.EnvironmentRegistered()}, environment.Reconfigure{}, environment.Archive{}, environment.Delete{}, environment.Retire{}, environment.Retire{Delete: true})
	evolveAnyOrder[admission.State, admission.Command](t, admission.Decider,
		admission.Open{}, admission.ChangeCapacity{Capacity: 9}, admission.Close{},
		admission.Enter{Lease: domaintest.Lease}, admission.Leave{Lease: domaintest.Lease})
	evolveAnyOrder[lease.State, lease.Command](t, lease.Decider,
		lease.Request{Requested: domaintest.LeaseRequested()}, lease.Grant{}, lease.Cancel{}, lease.StartProvisioning{Now: noon},
		lease.Provision{Now: noon}, lease.FailProvisioning{}, lease.Renew{Now: noon}, lease.Release{}, lease.Expire{Now: noon},
		lease.StartRelease{Now: noon.Add(time.Hour)}, lease.FailRelease{Limit: 1}, lease.FinishRelease{},
		lease.RetryCleanup{}, lease.ForceCleanup{Reason: "x"}, lease.ConfirmCleanup{})
	evolveAnyOrder[leak.State, leak.Command](t, leak.Decider,
		leak.Find{Found: leak.Found{Why: leak.WhyLate, Driver: "x"}}, leak.IntendDestroy{}, leak.FailDestroy{Code: "x"}, leak.Clear{Proof: leak.ProofAbsent})
	evolveAnyOrder[runtime.State, runtime.Command](t, runtime.Decider,
		runtime.Intend{}, runtime.Hold{}, runtime.Destroy{}, runtime.ConfirmDestroyed{Proof: runtime.ProofReleased})
	evolveAnyOrder[execution.State, execution.Command](t, execution.Decider,
		execution.Request{Requested: domaintest.ExecRequested()}, execution.Claim{}, execution.Start{}, execution.RequestKill{},
		execution.Finish{OutputSealed: &execution.NoOutput}, execution.Abandon{}, execution.Refuse{})
	evolveAnyOrder[plugin.State, plugin.Command](t, plugin.Decider,
		plugin.Install{Installed: domaintest.PluginInstalled()}, plugin.Enable{}, plugin.Disable{})
	evolveAnyOrder[install.State, install.Command](t, install.Decider, install.Request{}, install.Complete{}, install.Fail{})
	evolveAnyOrder[probe.State, probe.Command](t, probe.Decider,
		probe.Request{Requested: domaintest.ProbeRequested()}, probe.Claim{Now: noon}, probe.Complete{})
	evolveAnyOrder[key.State, key.Command](t, key.Decider, key.Add{Added: domaintest.KeyAdded()}, key.Revoke{})
}

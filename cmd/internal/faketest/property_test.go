package faketest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/leak"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/runtime"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/sandbox"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/eventstore/memory"
	"github.com/tenure-dev/tenure/plugins/fake"
)

// Each part is a hundred stories, or as many as -rapid.checks says.
const parts = 10

// After any mix of failures the runtimes that live in the provider's ledger are those that the log says are held, or are on
// record as waiting for their cleanup, and no more; and no command ran twice.
func TestWhatLivesOutsideIsWhatTheLogSays(t *testing.T) {
	t.Parallel()
	var lived atomic.Int64
	t.Cleanup(func() { t.Logf("%d stories were lived", lived.Load()) })
	for part := range parts {
		t.Run(fmt.Sprintf("part %d", part), func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(rt *rapid.T) {
				s := drawStory(rt)
				lived.Add(1)
				if problems, logs := live(t, s); len(problems) > 0 {
					rt.Fatalf("%s\nthe story:\n%s\nwhat the engines said:\n%s", strings.Join(problems, "\n"), s, logs)
				}
			})
		})
	}
}

// live lives a story and returns what is wrong at its end.
func live(t *testing.T, s story) (problems []string, logs string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "tenure-faketest-") //nolint:usetesting // one of a thousand, gone with its story
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a directory of the test
	synctest.Test(t, func(*testing.T) {
		l := &life{world: newWorld(dir, s.Environments), story: s, appeared: map[domain.RuntimeID]int{}, lost: map[domain.RuntimeID]bool{}}
		writeScript(fake.ScriptPath(l.providerDir()), s.Start)
		l.start()
		for _, a := range s.Acts {
			pass(time.Duration(a.After) * time.Millisecond)
			l.do(a)
		}
		pass(settling)
		// Slow providers of which one lease waits for the other may take longer; what is left behind does not go away.
		for range 40 {
			if problems = l.judge(); len(problems) == 0 {
				break
			}
			pass(30 * time.Second)
		}
		for _, e := range l.engines {
			e.stop()
			logs += e.logs.String()
		}
		pass(2 * time.Minute) // what a dead worker was at ends with its script's delays
	})
	return problems, logs
}

// life is a story while it is lived.
type life struct {
	*world
	story  story
	leases []held
	execs  []domain.ExecID
	// appeared counts what the story itself made under the id of a runtime.
	appeared map[domain.RuntimeID]int
	// lost are the runtimes that the story took away, usurpers what it gave the names of some to instead.
	lost     map[domain.RuntimeID]bool
	usurpers []string
}

// held is a lease that was asked for.
type held struct {
	id    domain.LeaseID
	place place
}

func (l *life) do(a act) {
	ctx := context.Background()
	var of domain.LeaseID
	if len(l.leases) > 0 {
		of = l.leases[a.Of%len(l.leases)].id
	}
	switch a.Do {
	case doAcquire:
		i := a.Of % len(l.environments)
		l.leases = append(l.leases, held{l.acquire(l.environments[i], fmt.Sprintf("run-%d", len(l.leases)), a.wish), l.story.Environments[i]})
	case doRelease:
		_, err := l.client.ReleaseLease(ctx, commands.Caller{}, of, a.release())
		unlessRefused(err)
	case doCancel:
		_, err := l.client.CancelLease(ctx, commands.Caller{}, of, "not needed")
		unlessRefused(err)
	case doExec:
		x := domain.ExecID{UUID: uuid.New()}
		now, err := l.client.Lease(ctx, of)
		must(err)
		_, err = l.client.RequestExec(ctx, commands.Caller{}, commands.StartExec{Exec: x, Lease: of, Fence: now.Fence, Argv: []string{"sleep", "1"}})
		if unlessRefused(err) {
			l.execs = append(l.execs, x)
		}
	case doProbe:
		_, err := l.client.RequestProbe(ctx, commands.Caller{}, commands.Probe{
			Probe: domain.ProbeID{UUID: uuid.New()}, Company: l.company, Environment: l.environments[a.Of%len(l.environments)],
			Driver: sandbox.Name, Provider: providerOf, Fields: commands.NoSecretFields,
		})
		unlessRefused(err)
	case doForce:
		_, err := l.client.ForceCleanup(ctx, commands.Caller{}, of, "stuck")
		unlessRefused(err)
	case doAppear:
		l.appear(l.leases[a.Of%len(l.leases)])
	case doReconfigure:
		l.reconfigure(a.Of % len(l.environments))
	case doLose:
		l.lose(of)
	case doUsurp:
		l.usurp(l.leases[a.Of%len(l.leases)])
	case doKill:
		l.last().kill()
		pass(500 * time.Millisecond)
		l.start()
	case doPause:
		old := l.last()
		l.processes.Silence(old.process.ID)
		time.AfterFunc(15*time.Second, func() { l.processes.Speak(old.process.ID) })
		l.start()
	case doCrash:
		l.last().crashWorkers()
	}
}

// appear makes the runtime of a lease that is over, where the provider can be asked for it afterwards.
func (l *life) appear(h held) {
	s, err := l.client.Lease(context.Background(), h.id)
	must(err)
	if !s.Over() || !s.PassedTo.IsZero() || s.Runtime.IsZero() || h.place.Class == drivers.ClassBlind {
		return
	}
	l.outside(func(w *fake.World) {
		_, err := w.Driver(h.place.Class).Acquire(context.Background(), drivers.AcquireRequest{
			RuntimeID: s.Runtime.String(), Installation: l.installation.String(), Epoch: memory.Epoch, Fence: s.Fence, Attempt: 1,
			LeaseID: h.id.String(), CompanyID: l.company.String(), EnvironmentID: s.Environment.String(), RunID: s.Run,
			Config: []byte(`{"script":[]}`),
		})
		must(err)
	})
	l.appeared[s.Runtime]++
}

// unlessRefused reports whether a command was accepted.
func unlessRefused(err error) bool {
	if _, refused := errors.AsType[*domain.Refusal](err); refused {
		return false
	}
	must(err)
	return true
}

// judge holds the ledger against the log.
func (l *life) judge() (problems []string) {
	ctx := context.Background()
	problem := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	led, err := fake.ReadLedger(fake.LedgerPath(l.providerDir()))
	must(err)
	living := map[string][]fake.Entry{}
	for _, e := range led.Live() {
		if e.Installation != l.installation.String() {
			continue
		}
		living[e.RuntimeID] = append(living[e.RuntimeID], e)
		id, err := uuid.Parse(e.RuntimeID)
		must(err)
		r, err := eventstore.Load(ctx, l.client.Ledger(), commands.Runtimes, id)
		must(err)
		if s := r.State.Status; (s == runtime.StatusDestroyed || s == runtime.StatusNone) && !l.placeOf(r.State.Origin.Environment).endless() {
			problem("runtime %s lives (%s), but the log says %q", e.RuntimeID, e.ID, s)
		}
		most := max(1, l.appeared[domain.RuntimeID{UUID: id}])
		if n := len(living[e.RuntimeID]); n == most+1 && !l.placeOf(r.State.Origin.Environment).endless() {
			problem("runtime %s lives %d times", e.RuntimeID, n)
		}
	}
	for i, h := range l.leases {
		s, err := l.client.Lease(ctx, h.id)
		must(err)
		n := len(living[s.Runtime.String()])
		about := fmt.Sprintf("lease %d %s (%s, %s, cleanup %q, %d attempts, %d teardowns, %s: %s) with %d living", i, h.id, h.place.Class, s.Status(),
			s.CleanupStatus(), s.Attempt, s.Teardown, s.TeardownCode, s.TeardownMessage, n)
		problems = append(problems, l.judgeKept(i, s)...)
		switch {
		case s.Status() == lease.StatusActive || s.Kept:
			there := slices.ContainsFunc(living[s.Runtime.String()], func(e fake.Entry) bool { return e.ID == *s.ProviderLeaseID })
			// One that came too late stays beside it where nothing can be taken down.
			if lost := l.lost[s.Runtime]; !there && !lost || n > 1 && !h.place.endless() {
				problem("%s does not hold exactly its own runtime", about)
			}
		case !s.PassedTo.IsZero():
		case s.NeedsTeardown() && s.Keeping() && h.place.neverKeeps():
		case s.NeedsTeardown():
			unknown := h.place.Class == drivers.ClassBlind && s.TeardownCode == "runtime_unknown" && l.story.losesNames(h.place)
			unanswered := s.TeardownCode == "acquire_unanswered" && l.story.leavesUnanswered()
			if !unknown && !unanswered && !h.place.endless() {
				problem("%s is not cleaned up", about)
			}
		case s.Forced && !s.Cleaned:
			if !l.isListed(s.Runtime) {
				problem("%s was ended by force and is not on the list of leaks", about)
			}
			if h.place.Class != drivers.ClassBlind && !h.place.endless() && !l.story.leavesUnanswered() {
				problem("%s was ended by force and nothing came of the leak", about)
			}
		case s.Status().Ended():
			if n != 0 && !h.place.endless() {
				problem("%s has left something", about)
			}
		case s.Status() == lease.StatusRequested && h.place.Slots > 0:
			if n != 0 {
				problem("%s waits and has something", about)
			}
		default:
			problem("%s has not come to an end", about)
		}
	}
	problems = append(problems, l.balance()...)
	problems = append(problems, l.judgeSlots()...)
	problems = append(problems, l.judgeUsurpers(led)...)
	started := map[string]int{}
	for _, e := range led.Entries {
		if e.Op == fake.OpExec {
			if started[e.ExecID]++; started[e.ExecID] == 2 {
				problem("command %s ran twice", e.ExecID)
			}
		}
	}
	for _, id := range l.execs {
		x, err := l.client.Exec(ctx, id)
		must(err)
		if x.Status != execution.StatusEnded {
			problem("command %s of lease %s is %s", id, x.Request.Lease, x.Status)
		}
	}
	return problems
}

// isListed reports whether a runtime is on the list of leaks.
func (l *life) isListed(id domain.RuntimeID) bool {
	found, err := eventstore.Load(context.Background(), l.client.Ledger(), commands.Leaks, leak.OfRuntime(id).UUID)
	must(err)
	return found.State.Status == leak.StatusOpen
}

func (l *life) placeOf(id domain.EnvironmentID) place {
	return l.story.Environments[slices.Index(l.environments, id)]
}

// balance wants every runtime of the log to be gone, looked after by a lease, or on the list of leaks, and nothing on the list
// without a reason.
func (l *life) balance() (problems []string) {
	ctx := context.Background()
	runtimes := map[domain.RuntimeID]bool{}
	all, err := l.store.ReadAll(ctx, 0, 0)
	must(err)
	for _, r := range all {
		id, err := r.Stream.ID()
		must(err)
		if r.Stream.Category() == runtime.Category {
			runtimes[domain.RuntimeID{UUID: id}] = true
		}
	}
	for id := range runtimes {
		r, err := eventstore.Load(ctx, l.client.Ledger(), commands.Runtimes, id.UUID)
		must(err)
		of, err := l.client.Lease(ctx, r.State.Last)
		must(err)
		switch listed, status := l.isListed(id), r.State.Status; {
		case status != runtime.StatusDestroyed && of.Over() && !listed:
			problems = append(problems, fmt.Sprintf("runtime %s is %s, its lease is over, and it is on no list", id, status))
		case status == runtime.StatusDestroyed && listed && !l.placeOf(r.State.Origin.Environment).endless():
			problems = append(problems, fmt.Sprintf("runtime %s is destroyed and still on the list of leaks", id))
		}
	}
	return problems
}

package check_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tenure-dev/tenure/cmd/internal/check"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/admission"
	"github.com/tenure-dev/tenure/domain/environment"
	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/supervisor"
	"github.com/tenure-dev/tenure/drivers/supervisor/supervisortest"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/eventstore/memory"
	"github.com/tenure-dev/tenure/eventstore/vault"
	"github.com/tenure-dev/tenure/plugins/fake"
)

// lives is how many are lived, unless -rapid.checks says otherwise.
const lives = 12

func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "rapid.checks" })
	if !given {
		must(flag.Set("rapid.checks", strconv.Itoa(lives)))
	}
	os.Exit(m.Run())
}

// Whatever the engine's own deciders and drivers make of clients, failures of a provider and deaths of processes, the checker
// finds nothing wrong with it.
func TestWhatTheEngineDoesPasses(t *testing.T) {
	t.Parallel()
	looked := map[check.Rule]int{}
	rapid.Check(t, func(rt *rapid.T) {
		acts := drawActs(rt)
		h, logs := live(t, acts)
		found := check.Check(h)
		for r, n := range found.Looked {
			looked[r] += n
		}
		if len(found.Violations) > 0 {
			var say strings.Builder
			for _, v := range found.Violations {
				fmt.Fprintln(&say, v)
			}
			for _, a := range acts {
				fmt.Fprintf(&say, "%+v %+v\n", a, a.Step)
			}
			rt.Fatalf("%s\n%s", say.String(), logs)
		}
	})
	t.Logf("looked at %v", looked)
}

// deed is what somebody does in a life.
type deed string

const (
	doAcquire  deed = "acquire"
	doRepeat   deed = "repeat the last acquire"
	doRenew    deed = "renew"
	doRelease  deed = "release"
	doKeep     deed = "release and keep"
	doCancel   deed = "cancel"
	doExec     deed = "exec"
	doForce    deed = "force"
	doCapacity deed = "change the capacity"
	doKill     deed = "kill the engine"
	doPause    deed = "pause the engine"
	doLose     deed = "lose outcomes of the engine"
	doLoseMine deed = "lose the outcome of the client"
	// doDelay lets an append of the engine happen after others; doJoin starts one more engine beside those that live.
	doDelay deed = "delay an append of the engine"
	doJoin  deed = "start one more engine"
	// doVanish takes away what a lease has, doDrift changes what runtimes are made from.
	doVanish deed = "take a runtime away"
	doDrift  deed = "change the configuration"
)

// act is one of them; what it is about is counted modulo how many there are.
type act struct {
	After time.Duration
	Do    deed
	Of    int
	Step  *fake.Step
}

func drawActs(t *rapid.T) []act {
	deeds := []deed{
		doAcquire, doAcquire, doAcquire, doRepeat, doRenew, doRenew, doRelease, doRelease, doKeep, doCancel, doExec, doExec, doForce,
		doCapacity, doKill, doPause, doLose, doLoseMine, doDelay, doJoin, doVanish, doDrift,
	}
	one := rapid.Custom(func(t *rapid.T) act {
		a := act{
			After: rapid.SampledFrom([]time.Duration{0, 100 * time.Millisecond, time.Second, time.Second, 5 * time.Second, 20 * time.Second, 70 * time.Second}).Draw(t, "after"),
			Do:    rapid.SampledFrom(deeds).Draw(t, "do"), Of: rapid.IntRange(0, 11).Draw(t, "of"),
		}
		if a.Do == doAcquire && rapid.IntRange(0, 2).Draw(t, "fails") == 0 {
			a.Step = &fake.Step{
				Verb:   rapid.SampledFrom([]fake.Verb{fake.VerbAcquire, fake.VerbAcquire, fake.VerbRelease, fake.VerbExec, fake.VerbKeep, fake.VerbResume}).Draw(t, "verb"),
				At:     rapid.SampledFrom([]fake.Place{fake.PlaceBefore, fake.PlaceAfter, fake.PlaceReply}).Draw(t, "at"),
				Action: rapid.SampledFrom([]fake.Action{fake.ActionFail, fake.ActionDelay}).Draw(t, "action"),
				Ms:     rapid.SampledFrom([]int64{300, 6000, 45_000}).Draw(t, "ms"), Times: rapid.IntRange(1, 2).Draw(t, "times"),
				Deaf: rapid.Bool().Draw(t, "deaf"),
			}
			// A provider that says that nothing happened of what it made would be a liar, whom nobody can clean up after.
			if a.Step.Action == fake.ActionFail && a.Step.Verb == fake.VerbAcquire && a.Step.At != fake.PlaceBefore {
				a.Step.Outcome = drivers.OutcomeAmbiguous
			}
		}
		return a
	})
	return rapid.SliceOfN(one, 4, 30).Draw(t, "acts")
}

// life is a log, a provider, engines that come and go, and a client that writes down what it is told.
type life struct {
	t            testing.TB
	dir          string
	store        *memory.Store
	pulse        *memory.Pulse
	vault        *vault.Vault
	mine         *link
	client       *commands.Commands
	processes    *supervisortest.Processes
	installation uuid.UUID
	company      domain.CompanyID
	environments []domain.EnvironmentID
	engines      []*engine
	calls        []check.Call
	asked        []asked
	leases       []domain.LeaseID
	logs         supervisortest.Logs
}

// asked is an acquire that may be repeated.
type asked struct {
	commands.Acquire
	key string
}

var classes = []drivers.Class{drivers.ClassIdempotent, drivers.ClassListable, drivers.ClassBlind}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func live(t *testing.T, acts []act) (h check.History, said string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "tenure-check-") //nolint:usetesting // one of hundreds, gone with its life
	require.NoError(t, err)
	defer os.RemoveAll(dir) //nolint:errcheck // a directory of the test
	synctest.Test(t, func(*testing.T) {
		l := &life{t: t, dir: dir, store: memory.New(), vault: vault.InMemory(), processes: &supervisortest.Processes{}, installation: uuid.New(), company: domain.CompanyID{UUID: uuid.New()}}
		l.pulse, l.mine = memory.NewPulse(l.store), &link{Store: l.store}
		l.client = commands.New(eventstore.NewLedger(l.mine), l.vault)
		_, err := l.client.AddCompany(context.Background(), commands.Caller{}, l.company, "Acme")
		must(err)
		for i, class := range classes {
			id := domain.EnvironmentID{UUID: uuid.New()}
			_, err := l.client.RegisterEnvironment(context.Background(), commands.Caller{}, id, environment.Registered{
				Company: l.company, Name: fmt.Sprintf("env-%d", i), Driver: fake.KeyOf(class), Config: []byte(`{}`), MaxLeases: i,
			}, commands.NoSecretFields)
			must(err)
			l.environments = append(l.environments, id)
		}
		l.start()
		for _, a := range acts {
			pass(a.After)
			l.do(a)
		}
		for _, id := range l.leases { // nobody holds anything up for ever
			l.releaseNow(id)
		}
		pass(4 * time.Minute)
		h = l.history()
		// Who waits for each other may take longer; what is wrong does not go away.
		for range 30 {
			if len(check.Check(h).Violations) == 0 {
				break
			}
			pass(30 * time.Second)
			h = l.history()
		}
		for _, e := range l.engines {
			e.stop()
		}
		pass(2 * time.Minute)
		said = l.logs.String()
	})
	return h, said
}

func pass(d time.Duration) {
	if d > 0 {
		<-time.After(d)
	}
	synctest.Wait()
}

func (l *life) do(a act) {
	of := domain.LeaseID{UUID: uuid.Nil}
	if len(l.leases) > 0 {
		of = l.leases[len(l.leases)-1-a.Of%min(len(l.leases), 4)]
	}
	switch a.Do {
	case doAcquire:
		l.acquire(a)
	case doRepeat:
		if n := len(l.asked); n > 0 {
			l.ask(l.asked[n-1])
		}
	case doRenew:
		l.renew(of)
	case doRelease:
		l.release(of, lease.Release{Reason: lease.ReasonReleased})
	case doKeep:
		l.release(of, lease.Release{Reason: lease.ReasonReleased, Disposition: lease.DispositionKeepRunning})
	case doCancel:
		_, err := l.command(check.Call{Verb: check.VerbCancel, Lease: of.UUID}, of.UUID, func(by commands.Caller) (eventstore.Outcome, error) {
			return l.client.CancelLease(context.Background(), by, of, "no more")
		})
		_ = err
	case doExec:
		l.exec(of)
	case doForce:
		_, err := l.command(check.Call{Verb: check.VerbOther, Lease: of.UUID}, of.UUID, func(by commands.Caller) (eventstore.Outcome, error) {
			return l.client.ForceCleanup(context.Background(), by, of, "stuck")
		})
		_ = err
	case doCapacity:
		l.reconfigure(a, func(now *environment.Reconfigured) { now.MaxLeases = 1 + a.Of%3 })
	case doKill:
		l.last().kill()
		pass(500 * time.Millisecond)
		l.start()
	case doPause:
		old := l.last()
		l.processes.Silence(old.process.ID)
		time.AfterFunc(15*time.Second, func() { l.processes.Speak(old.process.ID) })
		l.start()
	case doLose:
		l.last().link.lose.Store(2)
	case doLoseMine:
		l.mine.lose.Store(1)
	case doDelay:
		l.last().link.delay.Store(true)
	case doJoin:
		l.start()
	case doVanish:
		l.vanish(of)
	case doDrift:
		l.reconfigure(a, func(now *environment.Reconfigured) {
			now.Config = []byte(fmt.Sprintf(`{"image":"image-%d"}`, a.Of%3))
		})
	}
}

func (l *life) reconfigure(a act, change func(*environment.Reconfigured)) {
	_, err := l.client.ReconfigureEnvironment(context.Background(), commands.Caller{}, l.environments[a.Of%len(l.environments)], 0,
		func(now environment.Reconfigured) (environment.Reconfigured, error) {
			change(&now)
			return now, nil
		}, commands.NoSecretFields)
	if !errors.Is(err, eventstore.ErrUnknownOutcome) {
		must(err)
	}
}

// vanish takes away what a lease has, as somebody does who knows nothing of leases.
func (l *life) vanish(of domain.LeaseID) {
	now, err := l.client.Lease(context.Background(), of)
	must(err)
	if !now.Runtime.IsZero() {
		must(l.last().world.Lose(now.Runtime.String()))
	}
}

func (l *life) acquire(a act) {
	policies := []lease.Policy{lease.PolicyEphemeral, lease.PolicyReuseByEnvironment, lease.PolicyRetainOnFailure}
	in := commands.Acquire{
		Lease: domain.LeaseID{UUID: uuid.New()}, Company: l.company, Environment: l.environments[a.Of%len(l.environments)], Run: fmt.Sprintf("run-%d", len(l.asked)),
		Provider: func(driver string, _ json.RawMessage) string { return driver }, Policy: policies[a.Of%len(policies)],
		TTL: 5 * time.Minute, IdleTimeout: time.Minute, NoWait: a.Of == 11,
	}
	if in.Policy != lease.PolicyEphemeral {
		in.RetainFor = 2 * time.Minute
	}
	if a.Of%2 == 0 {
		in.Queue = lease.Queueing{Standing: admission.Standing{}, TimeoutMs: 30_000}
	}
	if a.Step != nil {
		script, err := json.Marshal([]fake.Step{*a.Step})
		must(err)
		must(os.WriteFile(fake.ScriptPath(filepath.Join(l.dir, "provider")), script, 0o600))
	}
	again := asked{in, uuid.NewString()}
	l.asked = append(l.asked, again)
	l.ask(again)
}

func (l *life) ask(a asked) {
	a.Lease = domain.LeaseID{UUID: uuid.New()} // each try makes an id of its own
	o, err := l.command(check.Call{Verb: check.VerbAcquire, Key: a.key}, a.Lease.UUID, func(by commands.Caller) (eventstore.Outcome, error) {
		return l.client.AcquireLease(context.Background(), by, a.Acquire)
	})
	if err != nil {
		return
	}
	made := a.Lease
	if o.Replayed {
		made.UUID = o.Resource
	}
	c := &l.calls[len(l.calls)-1]
	now, err := l.client.Lease(context.Background(), made)
	must(err)
	c.Answer.Lease, c.Answer.Fence = made.UUID, now.Fence
	l.leases = append(l.leases, made)
}

// command gives a command, and writes down what was sent and told.
func (l *life) command(c check.Call, resource uuid.UUID, give func(commands.Caller) (eventstore.Outcome, error)) (eventstore.Outcome, error) {
	c.Client, c.Request, c.Sent, c.Scope = "client", uuid.New(), time.Now(), string(c.Verb)
	by := commands.Caller{By: eventstore.Attribution{Request: c.Request}}
	if c.Key != "" {
		by.Command = &eventstore.Command{Company: l.company, Route: c.Scope, Key: c.Key, Resource: resource}
	}
	o, err := give(by)
	c.Answered, c.Status, c.Replayed, c.Answer.Position = time.Now(), 200, o.Replayed, o.Position
	refusal, refused := errors.AsType[*domain.Refusal](err)
	switch {
	case refused:
		c.Status, c.Code = 409, refusal.Code
	case errors.Is(err, eventstore.ErrUnknownOutcome):
		c.Status, c.Answered, c.Answer = 0, time.Time{}, check.Answer{}
	default:
		must(err)
	}
	l.calls = append(l.calls, c)
	return o, err
}

func (l *life) release(id domain.LeaseID, how lease.Release) {
	_, err := l.command(check.Call{Verb: check.VerbRelease, Key: uuid.NewString(), Lease: id.UUID}, id.UUID, func(by commands.Caller) (eventstore.Outcome, error) {
		return l.client.ReleaseLease(context.Background(), by, id, how)
	})
	_ = err // it is written down
}

// releaseNow ends a lease without anybody who asks.
func (l *life) releaseNow(id domain.LeaseID) {
	_, err := l.client.ReleaseLease(context.Background(), commands.Caller{}, id, lease.Release{Reason: lease.ReasonReleased})
	for errors.Is(err, eventstore.ErrUnknownOutcome) {
		_, err = l.client.ReleaseLease(context.Background(), commands.Caller{}, id, lease.Release{Reason: lease.ReasonReleased})
	}
	must(err)
}

func (l *life) renew(id domain.LeaseID) {
	now, err := l.client.Lease(context.Background(), id)
	must(err)
	_, err = l.command(check.Call{Verb: check.VerbRenew, Key: uuid.NewString(), Lease: id.UUID, Fence: now.Fence}, id.UUID, func(by commands.Caller) (eventstore.Outcome, error) {
		return l.client.RenewLease(context.Background(), by, id, commands.Renewal{})
	})
	if err != nil {
		return
	}
	now, err = l.client.Lease(context.Background(), id)
	must(err)
	c := &l.calls[len(l.calls)-1]
	c.Answer.Lease, c.Answer.Fence, c.Answer.ExpiresAt = id.UUID, now.Fence, l.client.EndOf(now)
}

func (l *life) exec(id domain.LeaseID) {
	now, err := l.client.Lease(context.Background(), id)
	must(err)
	x := domain.ExecID{UUID: uuid.New()}
	_, err = l.command(check.Call{Verb: check.VerbExec, Key: uuid.NewString(), Lease: id.UUID, Fence: now.Fence}, x.UUID, func(by commands.Caller) (eventstore.Outcome, error) {
		return l.client.RequestExec(context.Background(), by, commands.StartExec{Exec: x, Lease: id, Fence: now.Fence, Argv: []string{"sleep", "1"}})
	})
	if err == nil {
		l.calls[len(l.calls)-1].Answer.Exec = x.UUID
	}
}

// history is all that is known at the end.
func (l *life) history() check.History {
	ctx := context.Background()
	h := check.History{Calls: slices.Clone(l.calls), Limits: check.Limits{
		End: time.Now(), Settled: true, Sweep: time.Second, Slack: 30 * time.Second, Skew: time.Millisecond, Reaper: 3 * time.Minute,
	}}
	for position := int64(0); ; {
		page, err := l.store.ReadAll(ctx, position, 0)
		must(err)
		if len(page) == 0 {
			break
		}
		h.Log = append(h.Log, page...)
		position = page[len(page)-1].Position
	}
	for _, r := range h.Log { // a client sees how every command ended
		if r.Name != "ExecRequested" {
			continue
		}
		id, err := r.Stream.ID()
		must(err)
		x, err := l.client.Exec(ctx, domain.ExecID{UUID: id})
		must(err)
		c := check.Call{Verb: check.VerbShowExec, Client: "client", Request: uuid.New(), Exec: id, Status: 200, Sent: time.Now(), Answered: time.Now()}
		if c.Answer.Exec = id; x.Status == execution.StatusEnded {
			c.Answer.End, c.Answer.ExitCode = string(x.Ended.End), x.Ended.ExitCode
		}
		h.Calls = append(h.Calls, c)
	}
	led, err := fake.ReadLedger(fake.LedgerPath(filepath.Join(l.dir, "provider")))
	must(err)
	h.Ledgers = check.FromFake(led.Entries, l.installation.String())
	for i := range h.Ledgers {
		for n := range h.Ledgers[i].Entries {
			// The engine always says for whom it destroys something.
			if e := &h.Ledgers[i].Entries[n]; e.Op == check.OpDestroy && e.Lease == uuid.Nil && e.Fence == 0 {
				e.Op = check.OpVanish
			}
		}
	}
	h.ReadModels = readModels(l.t, h.Log)
	return h
}

// engine is one process with a worker of its own.
type engine struct {
	*supervisor.Supervisor
	l       *life
	process eventstore.Process
	link    *link
	deaf    atomic.Bool
	world   *fake.World
	quit    context.CancelFunc
	feed    sync.WaitGroup
}

var engineOptions = supervisor.Options{
	Parallel: 8, ProvisionTimeout: 20 * time.Second, ReleaseTimeout: 10 * time.Second, StartTimeout: 5 * time.Second, MaxAttempts: 4, MaxResumes: 4,
	RetryBase: 500 * time.Millisecond, RetryLimit: 4 * time.Second, DrainTimeout: 2 * time.Second, CleanupAttempts: 6,
	QuarantineRetry: 20 * time.Second, ReapInterval: 20 * time.Second,
}

func (l *life) last() *engine { return l.engines[len(l.engines)-1] }

func (l *life) start() {
	n := len(l.engines)
	e := &engine{l: l, link: &link{Store: l.store}}
	e.process = eventstore.Process{ID: domain.WorkerID{UUID: uuid.New()}, Node: domain.NodeID{UUID: uuid.New()}}
	var err error
	e.world, err = fake.Open(fake.Options{Dir: filepath.Join(l.dir, "provider"), Wire: io.Discard, Exit: func(int) { panic("no step crashes") }})
	must(err)
	var all []drivers.Driver
	for _, class := range classes {
		all = append(all, e.world.Driver(class))
	}
	registry, err := drivers.NewRegistry(all...)
	must(err)
	ledger := eventstore.NewLedger(e.link)
	ledger.Heed(func(r eventstore.Recorded) {
		if !e.deaf.Load() {
			e.Notify(r)
		}
	})
	c := commands.New(ledger, l.vault)
	renewals := c.WatchRenewals(l.pulse, commands.RenewalOptions{Serves: true})
	e.Supervisor = supervisor.New(supervisor.Deps{
		Commands: c, Drivers: registry, Todo: supervisortest.NewTodo(l.store), Partitions: l.store, Processes: l.processes, Process: e.process,
		Installation: l.installation, Epoch: memory.Epoch, Estate: supervisortest.Estate{Store: l.store},
		JournalDir: func(id domain.ExecID) string { return filepath.Join(l.dir, fmt.Sprintf("journal-%d", n), id.String()) },
		Logger:     slog.New(slog.NewTextHandler(&l.logs, nil)).With("engine", n),
	}, engineOptions)
	ctx, quit := context.WithCancel(context.Background())
	e.quit = quit
	e.feed.Go(func() {
		supervisortest.Feed(ctx, l.store, func(r eventstore.Recorded) {
			if !e.deaf.Load() {
				ledger.Note(r)
			}
		})
	})
	e.feed.Go(func() { renewals.Run(ctx) })
	must(e.Start(ctx))
	l.engines = append(l.engines, e)
}

// kill is SIGKILL for the engine and its worker.
func (e *engine) kill() {
	e.link.down.Store(true)
	e.deaf.Store(true)
	e.l.processes.Silence(e.process.ID)
	e.world.Kill()
}

func (e *engine) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_ = e.Stop(ctx) // one that is killed cannot say that it leaves
	_ = e.world.Close()
	e.quit()
	e.feed.Wait()
}

// link is a process's way to the log.
type link struct {
	*memory.Store
	down atomic.Bool
	// lose is how many of the next appends happen and have their outcomes lost.
	lose atomic.Int64
	// delay makes the next append happen just before the one after it, and its outcome be lost.
	delay   atomic.Bool
	delayed atomic.Pointer[eventstore.Append]
}

func (l *link) Submit(a eventstore.Append) eventstore.Pending {
	if l.down.Load() {
		l.delayed.Store(nil)
		return cut{eventstore.ErrUnavailable}
	}
	if l.delay.CompareAndSwap(true, false) {
		l.delayed.Store(&a)
		return cut{eventstore.ErrUnknownOutcome}
	}
	if late := l.delayed.Swap(nil); late != nil {
		l.Store.Submit(*late)
	}
	p := l.Store.Submit(a)
	if l.lose.Add(-1) >= 0 {
		return cut{eventstore.ErrUnknownOutcome}
	}
	return p
}

type cut struct{ error }

func (c cut) Wait(context.Context) (eventstore.Result, error) {
	return eventstore.Result{}, fmt.Errorf("%w: the cable is cut", c.error)
}

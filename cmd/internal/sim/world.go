package sim

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/cmd/internal/check"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/environment"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/supervisor"
	"github.com/tenure-dev/tenure/drivers/supervisor/supervisortest"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/eventstore/memory"
	"github.com/tenure-dev/tenure/eventstore/vault"
)

// world is a log, what there is outside, engines that come and go, and clients.
type world struct {
	sched  *sched
	trace  *trace
	chance *rand.Rand
	plan   plan
	// counts are the faults that struck, by their names.
	counts map[string]int

	store  *memory.Store
	pulse  *memory.Pulse
	rows   *supervisortest.Processes
	models *models
	vault  *vault.Vault

	installation uuid.UUID
	company      domain.CompanyID
	outsides     []*outside
	// places are the environments.
	places  []domain.EnvironmentID
	nodes   []*node
	clients []*client
	calls   []check.Call
	away    []check.Interval
	// jumped is how far the database's clock jumped, in all.
	jumped time.Duration
	// unable is since when no engine can do anything; zero while one can.
	unable time.Time
	// died are the names of the processes that died.
	died map[string]bool
	// healed says that no fault happens any more.
	healed bool
}

// node is a machine on which engines run, one after the other.
type node struct {
	name string
	id   domain.NodeID
	n    int
	// now is the engine there; nil between two.
	now *engine
	// frozen are former ones that stand still and were replaced.
	frozen []*engine
}

// engines are all that may still live on a node.
func (n *node) engines() []*engine {
	if n.now == nil {
		return n.frozen
	}
	return append(slices.Clone(n.frozen), n.now)
}

// engine is one incarnation of a process that serves clients and drives.
type engine struct {
	*supervisor.Supervisor
	actor   *actor
	w       *world
	node    *node
	process eventstore.Process
	link    *link
	ledger  *eventstore.Ledger
	c       *commands.Commands
	feed    lane
	quit    context.CancelFunc
	started bool
}

// must ends the story: what it is for cannot fail.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// options make a long life short.
var options = supervisor.Options{
	Parallel: 4, LivenessTTL: 6 * time.Second, SweepInterval: sweep, ProvisionTimeout: 20 * time.Second, ReleaseTimeout: 10 * time.Second,
	StartTimeout: 6 * time.Second, MaxAttempts: 4, MaxResumes: 4, RetryBase: 500 * time.Millisecond, RetryLimit: 4 * time.Second,
	DrainTimeout: 2 * time.Second, CleanupAttempts: 5, QuarantineRetry: 15 * time.Second, ReapInterval: reap,
	CapacityBase: time.Second, CapacityLimit: 4 * time.Second, ClockSettle: settle, GapCap: time.Minute,
}

const (
	sweep = 2 * time.Second
	reap  = 12 * time.Second
	// settle is for how long readings of the clock have to agree after a jump.
	settle = 8 * time.Second
	// staleness bounds how old a list may be: two looks a reaper's period apart cannot both be of a time before something was made.
	staleness = 4 * time.Second
)

func newWorld(chance *rand.Rand, p plan) *world {
	t := &trace{began: time.Now()}
	store := memory.New()
	w := &world{
		sched: newSched(chance, p.pace, t), trace: t, chance: chance, plan: p, counts: map[string]int{}, store: store, pulse: memory.NewPulse(store),
		rows: &supervisortest.Processes{}, died: map[string]bool{}, models: newModels(store), vault: vault.InMemory(),
		installation: uuid.New(), company: domain.CompanyID{UUID: uuid.New()},
	}
	w.sched.before = w.strike
	ctx, c := context.Background(), commands.New(eventstore.NewLedger(store), w.vault)
	_, err := c.AddCompany(ctx, commands.Caller{}, w.company, "Acme")
	must(err)
	for _, class := range p.classes {
		w.outsides = append(w.outsides, newOutside(w, class))
	}
	for n, capacity := range p.places {
		id := domain.EnvironmentID{UUID: uuid.New()}
		_, err := c.RegisterEnvironment(ctx, commands.Caller{}, id, environment.Registered{
			Company: w.company, Name: fmt.Sprintf("env-%d", n), Driver: w.outsides[n%len(w.outsides)].name, Config: json.RawMessage(`{"image":"a"}`),
			MaxLeases: capacity,
		}, commands.NoSecretFields)
		must(err)
		w.places = append(w.places, id)
	}
	for n := range p.engines {
		w.nodes = append(w.nodes, &node{name: fmt.Sprintf("e%d", n), id: domain.NodeID{UUID: uuid.New()}})
	}
	head, err := store.ReadAll(ctx, 0, 0)
	must(err)
	for i := range head {
		t.logged(&head[i])
	}
	return w
}

// providerOf is what the registry of an engine says.
func providerOf(driver string, _ json.RawMessage) string { return driver }

// start starts an engine on a node.
func (w *world) start(n *node) {
	n.n++
	e := &engine{
		w: w, node: n, actor: &actor{name: fmt.Sprintf("%s.%d", n.name, n.n), died: make(chan struct{})},
		process: eventstore.Process{ID: domain.WorkerID{UUID: uuid.New()}, Node: n.id},
	}
	n.now = e
	e.link = &link{w: w, a: e.actor}
	e.ledger = eventstore.NewLedger(e.link)
	e.ledger.Heed(func(r eventstore.Recorded) { e.Notify(r) })
	e.c = commands.New(e.ledger, w.vault)
	renewals := e.c.WatchRenewals(pulse{e.link}, commands.RenewalOptions{Serves: true, Cap: options.GapCap, Interval: 3 * time.Second})
	var ds []drivers.Driver
	for _, o := range w.outsides {
		ds = append(ds, &driver{o: o, a: e.actor})
	}
	registry, err := drivers.NewRegistry(ds...)
	must(err)
	e.Supervisor = supervisor.New(supervisor.Deps{
		Commands: e.c, Drivers: registry, Todo: todo{e.link}, Processes: rows{e.link}, Partitions: e.link, Process: e.process,
		Installation: w.installation, Epoch: memory.Epoch, Estate: estate{e.link},
		JournalDir: func(domain.ExecID) string { return "" }, Logger: w.logger(e),
	}, options)
	ctx, quit := context.WithCancel(context.Background())
	e.quit = quit
	w.trace.note(e.actor.name, "starts as %s", e.process.ID)
	go func() {
		if err := e.Start(ctx); err != nil {
			// As a process that cannot start does: it ends, and is started again a while later.
			w.sched.add(&item{what: "ends: it cannot start", of: e.actor, do: func() { w.kill(e, 0) }}, 0)
			return
		}
		e.started = true
		go renewals.Run(ctx)
		select {
		case <-e.Lost():
			// It ends in good order: what it has under way comes to its end.
			end, cancel := context.WithTimeout(context.Background(), 15*time.Second)
			defer cancel()
			_ = e.Stop(end) // it may say that it did not wait for all
			w.sched.add(&item{what: "ends: its place is taken", of: e.actor, do: func() { w.kill(e, 0) }}, 0)
		case <-e.actor.died:
		}
	}()
}

// logger is where an engine's words go: nowhere, unless the story is told aloud.
func (w *world) logger(e *engine) *slog.Logger {
	if !w.plan.aloud {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(says{w, e}, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}

type says struct {
	w *world
	e *engine
}

func (s says) Write(b []byte) (int, error) {
	s.w.trace.note(s.e.actor.name, "says %s", b[:len(b)-1])
	return len(b), nil
}

// kill is SIGKILL. What the process has sent may still arrive, each with a chance.
func (w *world) kill(e *engine, arrives float64) {
	if e.actor.dead {
		return
	}
	w.trace.note(e.actor.name, "is dead")
	w.died[e.actor.name] = true
	w.sched.die(e.actor, arrives)
	e.quit()
	over, cancel := context.WithCancel(context.Background())
	cancel()
	if e.started {
		go func() { _ = e.Stop(over) }() // it says that it did not wait
	}
	if e.node.now == e {
		e.node.now = nil
		w.restart(e.node, rand64(w.chance, w.plan.downFor)+time.Millisecond)
	}
}

// restart starts an engine on a node that has none, after a while.
func (w *world) restart(n *node, after time.Duration) {
	w.sched.add(&item{what: "restart of " + n.name, do: func() {
		if n.now == nil {
			w.start(n)
		}
	}}, after)
}

// append is what the database does.
func (w *world) append(a eventstore.Append) (eventstore.Result, error) {
	result, err := w.store.Submit(a).Wait(context.Background())
	if err != nil || result.Replayed || result.CommandReplayed {
		w.trace.note("database", "said %v", err)
		return result, err
	}
	events, rerr := w.store.ReadAll(context.Background(), result.First-1, int(result.Last-result.First)+1)
	must(rerr)
	for i := range events {
		w.trace.logged(&events[i])
	}
	for _, n := range w.nodes {
		for _, e := range n.engines() {
			if !e.actor.dead {
				w.tell(e, events)
			}
		}
	}
	return result, nil
}

// tell brings events to an engine, in order. Some are lost on the way.
func (w *world) tell(e *engine, events []eventstore.Recorded) {
	w.sched.ask(&item{what: fmt.Sprintf("hears of #%d", events[0].Position), of: e.actor, lane: &e.feed, lost: func() {}, do: func() {
		if e.actor.deaf.After(time.Now()) {
			return
		}
		for _, r := range events {
			e.ledger.Note(r)
		}
	}})
}

// head is where the log is.
func (w *world) head() int64 {
	head, err := w.store.Head(context.Background())
	must(err)
	return head.Position
}

// loses decides whether the answer to an append is lost.
func (w *world) loses() bool {
	if w.healed || w.chance.Float64() >= w.plan.losing {
		return false
	}
	w.counts["answer_lost"]++
	return true
}

// delay is how long a provider takes for one way.
func (w *world) delay() time.Duration {
	s := w.sched
	s.mu.Lock()
	defer s.mu.Unlock()
	switch x := s.chance.Float64(); {
	case x < 0.4:
		return 0
	case w.healed || x > w.plan.sluggish:
		return rand64(s.chance, 300*time.Millisecond)
	}
	w.counts["provider_late"]++
	return rand64(s.chance, 30*time.Second)
}

// alive are the engines that clients can reach, one for each node that has one.
func (w *world) alive() []*engine {
	var alive []*engine
	for _, n := range w.nodes {
		if n.now != nil {
			alive = append(alive, n.now)
		}
	}
	return alive
}

package supervisor_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/environment"
	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/fake"
	"github.com/tenure-dev/tenure/drivers/supervisor"
	"github.com/tenure-dev/tenure/drivers/supervisor/supervisortest"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/eventstore/memory"
	"github.com/tenure-dev/tenure/eventstore/vault"
)

// inWorld runs a test in virtual time, so that hours take milliseconds. synctest fails it if a goroutine is left.
func inWorld(t *testing.T, opts fake.Options, test func(t *testing.T, w *world)) {
	t.Helper()
	t.Parallel()
	inWorldNow(t, opts, test)
}

// inWorldNow is inWorld for a test that is parallel already, or a part of one that is not.
func inWorldNow(t *testing.T, opts fake.Options, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newWorld(t, opts)) })
}

// world is a log, what exists outside, and a client.
type world struct {
	calls calls
	*testing.T
	store     *memory.Store
	pulse     *memory.Pulse
	vault     *vault.Vault
	client    *commands.Commands
	processes *supervisortest.Processes
	driver    *fake.Driver
	// installer is every process's.
	installer supervisor.Installer
	// forked, while true, keeps every process from driving.
	forked atomic.Bool
	// epochs is how many epochs the log has left behind.
	epochs      atomic.Int64
	company     domain.CompanyID
	environment domain.EnvironmentID
	// silent makes processes that serve no API.
	silent bool
	// installation is that of the log; reaps and looked are every process's.
	installation uuid.UUID
	reaps        func(drivers.Target) bool
	looked       func(supervisor.Look)
}

func newWorld(t *testing.T, opts fake.Options) *world {
	t.Helper()
	store, sealed := memory.New(), vault.InMemory()
	w := &world{
		T: t, store: store, pulse: memory.NewPulse(store), vault: sealed, client: commands.New(eventstore.NewLedger(store), sealed), processes: &supervisortest.Processes{}, driver: fake.New(opts),
		company: domain.CompanyID{UUID: uuid.New()}, installation: uuid.New(),
	}
	_, err := w.client.AddCompany(t.Context(), commands.Caller{}, w.company, "Acme")
	require.NoError(t, err)
	w.environment = w.register("fake", 0)
	return w
}

func (w *world) register(driver string, capacity int) domain.EnvironmentID {
	w.Helper()
	id := domain.EnvironmentID{UUID: uuid.New()}
	_, err := w.client.RegisterEnvironment(w.Context(), commands.Caller{}, id, environment.Registered{
		Company: w.company, Name: "env-" + id.String(), Driver: driver, Config: []byte(`{}`),
		EnvVars: map[string]domain.EnvValue{"OF": {Plain: "environment"}}, MaxLeases: capacity,
	}, commands.NoSecretFields)
	require.NoError(w, err)
	return id
}

// node is one incarnation of a process that drives.
type node struct {
	*supervisor.Supervisor
	w       *world
	process eventstore.Process
	// link is its way to the log. deaf keeps events from it.
	link   *link
	ledger *eventstore.Ledger
	// client gives commands through this process.
	client *commands.Commands
	deaf   atomic.Bool
	logs   *bytes.Buffer

	quit    context.CancelFunc
	feed    sync.WaitGroup
	stopped bool
}

// start starts a process on a node of its own, or on that of an earlier incarnation.
func (w *world) start(opts supervisor.Options, on ...domain.NodeID) *node {
	w.Helper()
	n := w.prepare(opts, on...)
	require.NoError(w, n.Start(w.Context()))
	return n
}

func (w *world) prepare(opts supervisor.Options, on ...domain.NodeID) *node {
	w.Helper()
	registry, err := drivers.NewRegistry(w.driver)
	require.NoError(w, err)
	return w.prepareWith(registry, opts, on...)
}

func (w *world) prepareWith(registry *drivers.Registry, opts supervisor.Options, on ...domain.NodeID) *node {
	w.Helper()
	n := &node{w: w, link: &link{Store: w.store}, logs: &bytes.Buffer{}}
	n.process = eventstore.Process{ID: domain.WorkerID{UUID: uuid.New()}, Node: domain.NodeID{UUID: uuid.New()}}
	if len(on) > 0 {
		n.process.Node = on[0]
	}
	journals := w.TempDir()
	n.ledger = eventstore.NewLedger(n.link)
	n.ledger.Heed(func(r eventstore.Recorded) {
		if !n.deaf.Load() {
			n.Notify(r)
		}
	})
	n.client = commands.New(n.ledger, w.vault)
	renewals := n.client.WatchRenewals(pulse{w.pulse, n.link}, commands.RenewalOptions{Serves: !w.silent, Cap: opts.GapCap})
	n.Supervisor = supervisor.New(supervisor.Deps{
		Commands: n.client, Drivers: registry, Todo: supervisortest.NewTodo(w.store), Processes: w.processes, Partitions: n.link,
		Process: n.process, Installer: w.installer, Identity: w.identity, Estate: supervisortest.Estate{Store: w.store},
		Looked: w.looked, Reaps: w.reaps,
		JournalDir: func(id domain.ExecID) string { return filepath.Join(journals, id.String()) },
		Driving: func() error {
			if w.forked.Load() {
				return eventstore.ErrForked
			}
			return nil
		},
		Called: w.calls.called, Logger: slog.New(slog.NewTextHandler(n.logs, nil)),
	}, opts)
	ctx, quit := context.WithCancel(context.WithoutCancel(w.Context()))
	n.quit = quit
	n.feed.Go(func() { supervisortest.Feed(ctx, w.store, n.hear) })
	n.feed.Go(func() { renewals.Run(ctx) })
	w.Cleanup(n.stop)
	return n
}

func (w *world) identity() (installation uuid.UUID, epoch int64) {
	return w.installation, memory.Epoch + w.epochs.Load()
}

// hear passes on to the ledger, and by it to the supervisor, what the feed brings.
func (n *node) hear(r eventstore.Recorded) {
	if !n.deaf.Load() {
		n.ledger.Note(r)
	}
}

func (n *node) stop() {
	if n.stopped {
		return
	}
	n.stopped = true
	n.quit()
	n.feed.Wait()
	require.NoError(n.w, n.Stop(context.WithoutCancel(n.w.Context())))
}

// crash is what the others see of a process that is gone: no sign of life and no append any more.
func (n *node) crash() {
	n.link.down.Store(true)
	n.deaf.Store(true)
	n.w.processes.Silence(n.process.ID)
}

// link is a process's way to the log.
type link struct {
	*memory.Store
	// clock is the process's own idea of the database's time.
	clock eventstore.Clock
	down  atomic.Bool
	// lose makes the next appends happen and their outcomes be lost.
	lose atomic.Int64
	// delay makes the next append happen just before the one after it, and its outcome be lost.
	delay   atomic.Bool
	delayed atomic.Pointer[eventstore.Append]
	// after is called after each append.
	after atomic.Pointer[func(eventstore.Append)]
	// reads counts the readings of streams.
	reads atomic.Int64
	// noInputs keeps it from reading what lies beside the log.
	noInputs atomic.Bool
}

func (l *link) Submit(a eventstore.Append) eventstore.Pending {
	if l.down.Load() {
		return outcome{fmt.Errorf("%w: the cable is cut", eventstore.ErrUnavailable)}
	}
	if l.delay.CompareAndSwap(true, false) {
		l.delayed.Store(&a)
		return outcome{fmt.Errorf("%w: the cable is cut", eventstore.ErrUnknownOutcome)}
	}
	if late := l.delayed.Swap(nil); late != nil {
		l.Store.Submit(*late)
	}
	p := l.Store.Submit(a)
	if after := l.after.Load(); after != nil {
		(*after)(a)
	}
	if l.lose.Add(-1) >= 0 {
		return outcome{fmt.Errorf("%w: the cable is cut", eventstore.ErrUnknownOutcome)}
	}
	return p
}

func (l *link) ReadStream(ctx context.Context, stream eventstore.Stream, after int64, limit int) ([]eventstore.Recorded, error) {
	l.reads.Add(1)
	return l.Store.ReadStream(ctx, stream, after, limit)
}

func (l *link) ReadInput(ctx context.Context, id uuid.UUID) (eventstore.Input, error) {
	if l.noInputs.Load() {
		return eventstore.Input{}, fmt.Errorf("%w: the cable is cut", eventstore.ErrUnavailable)
	}
	return l.Store.ReadInput(ctx, id)
}

func (l *link) Clock() *eventstore.Clock { return &l.clock }

type outcome struct{ err error }

func (o outcome) Wait(context.Context) (eventstore.Result, error) { return eventstore.Result{}, o.err }

// acquire asks for a lease.
func (w *world) acquire(opts ...func(*commands.Acquire)) domain.LeaseID {
	w.Helper()
	a := commands.Acquire{
		Lease: domain.LeaseID{UUID: uuid.New()}, Company: w.company, Environment: w.environment, Run: "run",
		Provider: func(driver string, _ json.RawMessage) string { return driver }, Policy: lease.PolicyEphemeral, TTL: 24 * time.Hour, IdleTimeout: time.Hour,
	}
	for _, o := range opts {
		o(&a)
	}
	_, err := w.client.AcquireLease(w.Context(), commands.Caller{}, a)
	require.NoError(w, err)
	return a.Lease
}

func in(id domain.EnvironmentID) func(*commands.Acquire) {
	return func(a *commands.Acquire) { a.Environment = id }
}

func lasting(ttl, idle time.Duration) func(*commands.Acquire) {
	return func(a *commands.Acquire) { a.TTL, a.IdleTimeout = ttl, idle }
}

func (w *world) release(id domain.LeaseID) {
	w.Helper()
	_, err := w.client.ReleaseLease(w.Context(), commands.Caller{}, id, lease.Release{Reason: lease.ReasonReleased})
	require.NoError(w, err)
}

// exec asks to run a command.
func (w *world) exec(id domain.LeaseID, argv ...string) domain.ExecID {
	w.Helper()
	return w.execWith(id, commands.Values{}, argv...)
}

func (w *world) execWith(id domain.LeaseID, values commands.Values, argv ...string) domain.ExecID {
	w.Helper()
	x := domain.ExecID{UUID: uuid.New()}
	_, err := w.client.RequestExec(w.Context(), commands.Caller{}, commands.StartExec{Exec: x, Lease: id, Fence: w.lease(id).Fence, Argv: argv, Values: values})
	require.NoError(w, err)
	return x
}

func (w *world) kill(id domain.ExecID, why string) {
	w.Helper()
	_, err := w.client.KillExec(w.Context(), commands.Caller{}, id, execution.RequestKill{Why: why})
	require.NoError(w, err)
}

func (w *world) lease(id domain.LeaseID) lease.State {
	w.Helper()
	l, err := w.client.Lease(w.Context(), id)
	require.NoError(w, err)
	return l
}

func (w *world) execution(id domain.ExecID) execution.State {
	w.Helper()
	x, err := w.client.Exec(w.Context(), id)
	require.NoError(w, err)
	return x
}

// settled waits until everybody waits for something.
func (w *world) settled() {
	w.Helper()
	synctest.Wait()
}

// pass lets time pass.
func (w *world) pass(d time.Duration) {
	w.Helper()
	<-time.After(d)
	synctest.Wait()
}

// isLease and isExec check where a lease and a command stand, once everybody waits for something.
func (w *world) isLease(want lease.Status, id domain.LeaseID) lease.State {
	w.Helper()
	w.settled()
	l := w.lease(id)
	require.Equal(w, want, l.Status(), "%s: %s", l.FailureCode, l.FailureMessage)
	return l
}

func (w *world) isExec(want execution.Status, id domain.ExecID) execution.State {
	w.Helper()
	w.settled()
	x := w.execution(id)
	require.Equal(w, want, x.Status, "%+v", x.Ended)
	return x
}

func (w *world) hasEnded(want execution.End, id domain.ExecID) execution.Ended {
	w.Helper()
	x := w.isExec(execution.StatusEnded, id)
	require.Equal(w, want, x.Ended.End, "%+v", x.Ended)
	return x.Ended
}

// names are the events of a stream.
func (w *world) names(stream eventstore.Stream) []string {
	w.Helper()
	events, err := w.store.ReadStream(w.Context(), stream, 0, 0)
	require.NoError(w, err)
	var names []string
	for _, e := range events {
		names = append(names, e.Name)
	}
	return names
}

func (w *world) count(stream eventstore.Stream, name string) int {
	w.Helper()
	n := 0
	for _, x := range w.names(stream) {
		if x == name {
			n++
		}
	}
	return n
}

func streamOf(id domain.LeaseID) eventstore.Stream { return commands.Leases.Stream(id.UUID) }

// gate holds a hook up until it is opened, or its call is over.
type gate struct {
	opened chan struct{}
	// waiting counts those it holds up.
	waiting atomic.Int64
}

func newGate() *gate { return &gate{opened: make(chan struct{})} }

func (g *gate) open() { close(g.opened) }

func (g *gate) wait(ctx context.Context) error {
	g.waiting.Add(1)
	defer g.waiting.Add(-1)
	select {
	case <-g.opened:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// endure is wait for a driver that heeds no context.
func (g *gate) endure() {
	g.waiting.Add(1)
	defer g.waiting.Add(-1)
	<-g.opened
}

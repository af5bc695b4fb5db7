package faketest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/environment"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/provider"
	"github.com/tenure-dev/tenure/drivers/sandbox"
	"github.com/tenure-dev/tenure/drivers/supervisor"
	"github.com/tenure-dev/tenure/drivers/supervisor/supervisortest"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/eventstore/memory"
	"github.com/tenure-dev/tenure/eventstore/vault"
	"github.com/tenure-dev/tenure/plugins/fake"
	"github.com/tenure-dev/tenure/plugins/host"
	"github.com/tenure-dev/tenure/plugins/manifest"
)

// world is a log, clients, engines that come and go, and the provider's ledger.
type world struct {
	dir          string
	store        *memory.Store
	vault        *vault.Vault
	client       *commands.Commands
	processes    *supervisortest.Processes
	installation uuid.UUID
	company      domain.CompanyID
	environments []domain.EnvironmentID
	manifest     manifest.Manifest
	engines      []*engine
}

// must ends the story: what it is for cannot fail.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func newWorld(dir string, places []place) *world {
	store, sealed := memory.New(), vault.InMemory()
	w := &world{
		dir: dir, store: store, vault: sealed, client: commands.New(eventstore.NewLedger(store), sealed),
		processes: &supervisortest.Processes{}, installation: uuid.New(), company: domain.CompanyID{UUID: uuid.New()},
	}
	raw, err := fake.ManifestJSON()
	must(err)
	w.manifest, err = manifest.Parse(raw)
	must(err)
	_, err = w.client.AddCompany(context.Background(), commands.Caller{}, w.company, "Acme")
	must(err)
	for i, p := range places {
		config := p.config(fake.DefaultImage)
		id := domain.EnvironmentID{UUID: uuid.New()}
		_, err = w.client.RegisterEnvironment(context.Background(), commands.Caller{}, id, environment.Registered{
			Company: w.company, Name: fmt.Sprintf("env-%d", i), Driver: sandbox.Name, Config: config, MaxLeases: p.Slots,
		}, commands.NoSecretFields)
		must(err)
		w.environments = append(w.environments, id)
	}
	return w
}

// config is the environment's.
func (p place) config(image string) json.RawMessage {
	config, err := json.Marshal(map[string]any{"provider": fake.KeyOf(p.Class), "script": append([]fake.Step{}, p.Script...), "image": image})
	must(err)
	return config
}

func (w *world) providerDir() string { return filepath.Join(w.dir, "provider") }

// providerOf is what the registry of an engine says.
func providerOf(_ string, config json.RawMessage) string {
	word, err := provider.Word(config, "provider")
	must(err)
	return word
}

// engine is one process with its workers.
type engine struct {
	*supervisor.Supervisor
	w       *world
	process eventstore.Process
	link    *link
	deaf    atomic.Bool
	host    *host.Host
	late    *provider.Late
	logs    *supervisortest.Logs

	mu      sync.Mutex
	workers []*worker

	quit context.CancelFunc
	feed sync.WaitGroup
}

// options make a long life short.
var options = supervisor.Options{
	Parallel: 8, ProvisionTimeout: 20 * time.Second, ReleaseTimeout: 10 * time.Second, StartTimeout: 5 * time.Second,
	ProbeTimeout: 10 * time.Second, MaxAttempts: 4, RetryBase: 500 * time.Millisecond, RetryLimit: 4 * time.Second,
	DrainTimeout: 2 * time.Second, CleanupAttempts: 6, QuarantineRetry: 20 * time.Second, ReapInterval: 20 * time.Second,
}

// settling is longer than every limit, back-off and scripted delay that can follow one another at the end of a story.
const settling = 4 * time.Minute

func (w *world) start() *engine {
	n := len(w.engines)
	e := &engine{w: w, link: &link{Store: w.store}, logs: &supervisortest.Logs{}, late: provider.NewLate()}
	e.process = eventstore.Process{ID: domain.WorkerID{UUID: uuid.New()}, Node: domain.NodeID{UUID: uuid.New()}}
	logger := slog.New(slog.NewTextHandler(e.logs, nil)).With("engine", n)
	var err error
	e.host, err = host.New(host.Options{
		Dir: filepath.Join(w.dir, fmt.Sprintf("host-%d", n)), HostVersion: "test", Logger: logger,
		Timeouts: host.Timeouts{Initialize: 3 * time.Second, Health: 20 * time.Second, HealthReply: 10 * time.Second},
		Restart:  host.Restart{First: 200 * time.Millisecond, Longest: 5 * time.Second},
	})
	must(err)
	must(e.host.Set([]host.Installed{{
		Plugin: drivers.Plugin{ID: "fake-plugin", Key: w.manifest.ID, Version: w.manifest.Version}, Manifest: w.manifest, Enabled: true,
		Inside: e.worker,
	}}))
	registry, err := drivers.NewRegistry()
	must(err)
	registry, err = registry.With(sandbox.New(e.host, e.late, nil))
	must(err)
	ledger := eventstore.NewLedger(e.link)
	ledger.Heed(func(r eventstore.Recorded) {
		if !e.deaf.Load() {
			e.Notify(r)
		}
	})
	e.Supervisor = supervisor.New(supervisor.Deps{
		Commands: commands.New(ledger, w.vault), Drivers: registry, Todo: supervisortest.NewTodo(w.store),
		Partitions: w.store, Processes: w.processes, Process: e.process, Installation: w.installation, Epoch: memory.Epoch,
		JournalDir: func(id domain.ExecID) string { return filepath.Join(w.dir, fmt.Sprintf("journal-%d", n), id.String()) },
		Logger:     logger, Estate: supervisortest.Estate{Store: w.store, Provider: providerOf},
	}, options)
	ctx, quit := context.WithCancel(context.Background())
	e.quit = quit
	e.feed.Go(func() {
		supervisortest.Feed(ctx, w.store, func(r eventstore.Recorded) {
			if !e.deaf.Load() {
				ledger.Note(r)
			}
		})
	})
	must(e.Start(ctx))
	w.engines = append(w.engines, e)
	return e
}

func (w *world) last() *engine { return w.engines[len(w.engines)-1] }

// kill is SIGKILL for the engine: no append any more, and its workers end with it.
func (e *engine) kill() {
	e.link.down.Store(true)
	e.deaf.Store(true)
	e.w.processes.Silence(e.process.ID)
	e.crashWorkers()
	over, cancel := context.WithCancel(context.Background())
	cancel()
	_ = e.host.Stop(over) // it says that some were killed
}

// stop ends it in good order, as far as it is alive.
func (e *engine) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_ = e.Stop(ctx) // one that is killed cannot say that it leaves
	_ = e.host.Stop(ctx)
	e.quit()
	e.feed.Wait()
}

func (e *engine) crashWorkers() {
	e.mu.Lock()
	workers := e.workers
	e.workers = nil
	e.mu.Unlock()
	for _, w := range workers {
		w.Kill()
	}
}

// worker is a worker of fake inside this process.
type worker struct {
	opts fake.Options

	mu     sync.Mutex
	world  *fake.World
	pipes  []io.Closer
	killed bool
}

func (e *engine) worker() host.Inside {
	w := &worker{}
	w.opts = fake.Options{Dir: e.w.providerDir(), Exit: func(int) { w.Kill() }}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.workers = append(e.workers, w)
	return w
}

// Serve implements [host.Inside].
func (w *worker) Serve(in io.Reader, out io.Writer) error {
	world, err := fake.Open(w.opts)
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.world, w.pipes = world, []io.Closer{in.(io.Closer), out.(io.Closer)}
	killed := w.killed
	w.mu.Unlock()
	if killed {
		w.Kill()
	}
	return world.ServeOn(context.Background(), in, out)
}

// Kill implements [host.Inside].
func (w *worker) Kill() {
	w.mu.Lock()
	w.killed = true
	world, pipes := w.world, w.pipes
	w.mu.Unlock()
	if world == nil {
		return
	}
	world.Kill()
	for _, p := range pipes {
		_ = p.Close() // it may be closed
	}
}

// link is an engine's way to the log.
type link struct {
	*memory.Store
	down atomic.Bool
}

func (l *link) Submit(a eventstore.Append) eventstore.Pending {
	if l.down.Load() {
		return cut{}
	}
	return l.Store.Submit(a)
}

type cut struct{}

func (cut) Wait(context.Context) (eventstore.Result, error) {
	return eventstore.Result{}, fmt.Errorf("%w: the engine is dead", eventstore.ErrUnavailable)
}

// pass lets time pass.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// acquire asks for a lease.
func (w *world) acquire(of domain.EnvironmentID, run string, as wish) domain.LeaseID {
	a := commands.Acquire{
		Lease: domain.LeaseID{UUID: uuid.New()}, Company: w.company, Environment: of, Run: run,
		Provider: providerOf, TTL: 24 * time.Hour, IdleTimeout: time.Hour,
	}
	as.acquire(&a)
	_, err := w.client.AcquireLease(context.Background(), commands.Caller{}, a)
	must(err)
	return a.Lease
}

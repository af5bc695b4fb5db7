// Package app is the composition root: the only place where concrete types meet.
//
// [Start] brings the engine up in one straight line, each step on what the one before made, and notes for each step how it
// is undone; [App.Stop] undoes them in reverse order. So embedded Postgres stops after everything that uses it.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tenure-dev/tenure/api"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/local"
	"github.com/tenure-dev/tenure/drivers/pluginenv"
	"github.com/tenure-dev/tenure/drivers/provider"
	"github.com/tenure-dev/tenure/drivers/runtimeurl"
	"github.com/tenure-dev/tenure/drivers/sandbox"
	"github.com/tenure-dev/tenure/drivers/ssh"
	"github.com/tenure-dev/tenure/drivers/supervisor"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/eventstore/embedded"
	"github.com/tenure-dev/tenure/eventstore/pg"
	"github.com/tenure-dev/tenure/migrations"
	"github.com/tenure-dev/tenure/plugins/host"
	"github.com/tenure-dev/tenure/projections/catalog"
	"github.com/tenure-dev/tenure/projections/runner"
)

// Options say how to start.
type Options struct {
	Version string
	// Role is what the process does; default [eventstore.RoleServe].
	Role eventstore.Role
	// Address is where other processes reach this one; "" for where it listens.
	Address string
	// Listen is HOST:PORT; port 0 takes a free one.
	Listen string
	// DataDir holds everything of this node.
	DataDir string
	// DatabaseURL names a Postgres to use; "" runs one in DataDir.
	DatabaseURL string
	// DatabaseDirectURL leads to the same database past a pooler, for the connection that listens; "" for no other way.
	DatabaseDirectURL string
	// ExecUID runs local commands when the engine is root; -1 is [DefaultExecUID].
	ExecUID       int
	AllowRootExec bool
	// InsecureListen allows to listen beyond loopback without TLS.
	InsecureListen bool
	// AllowFakeSelection lets a request that names no environment end up in one with the provider fake.
	AllowFakeSelection bool
	// Keyset is the text of a keyset that is used instead of the file in DataDir; "" for the file. It is never logged.
	Keyset string
	// ExecParent starts the small parent process of a local command.
	ExecParent []string
	// PluginUID runs the workers of plugins when the engine is root; 0 is [DefaultPluginUID].
	PluginUID int
	// PluginEnv and PluginSecretEnv are further variables of the workers of plugins, by the plugin's key. Values of the second
	// are hidden wherever a worker repeats them.
	PluginEnv, PluginSecretEnv map[string]map[string]string
	// PublicURL, AllowedHosts and RuntimeCandidates are ways to this server for runtimes; AllowRuntimeURL and DenyRuntimeURL
	// say what of them may be tried. See drivers/runtimeurl.
	PublicURL                                     string
	AllowedHosts, AllowRuntimeURL, DenyRuntimeURL []string
	RuntimeCandidates                             string
	// AgentSocket is the socket of the SSH agent for environments that use one; "" for none.
	AgentSocket string
	Logger      *slog.Logger
	Supervisor  supervisor.Options
	// DrainTimeout bounds how long requests and commands may go on after Stop; default 10 s.
	DrainTimeout time.Duration
	// Drivers are there besides those that every engine has. For benchmarks.
	Drivers []drivers.Driver
	// DriverCalled, if set, learns of every call of a driver. For benchmarks.
	DriverCalled func(supervisor.Call)
}

// DefaultExecUID is the user and group that run local commands when the engine is root. It needs no entry in passwd and
// must be used for nothing else.
const DefaultExecUID = 64717

// App is a running engine.
type App struct {
	opts     Options
	log      *slog.Logger
	cleanups []cleanup
	stopOnce sync.Once
	stopErr  error
	failed   chan error
	metrics  *prometheus.Registry

	lock       *embedded.DirLock
	embedded   *embedded.Server // nil with a database of somebody else's
	pool       *pgxpool.Pool
	store      *pg.Store
	commands   *commands.Commands
	hub        *eventstore.Hub
	drivers    *drivers.Registry
	host       *host.Host
	runner     *runner.Runner
	processes  *pg.Processes
	process    eventstore.Process
	supervisor *supervisor.Supervisor
	// rememberedText is what the file of the node's memory says.
	rememberedText string
	listener       net.Listener
	address        string

	// pluginTurn lets one at a time tell the host of plugins; it is held while the database is asked.
	pluginTurn sync.Mutex
	// heardOf are plugins that the read model may not show yet. Whoever brings them waits for no database.
	hearing    sync.Mutex
	heardOf    map[domain.PluginID]bool
	pluginNews chan struct{}
}

// Start brings the engine up. If a step fails, those before it are undone. ctx bounds the start, not the engine's life.
func Start(ctx context.Context, opts Options) (*App, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.DrainTimeout == 0 {
		opts.DrainTimeout = 10 * time.Second
	}
	if opts.Role == "" {
		opts.Role = eventstore.RoleServe
	}
	tuneGarbage()
	a := &App{
		opts: opts, log: opts.Logger, metrics: newMetrics(), failed: make(chan error, 1), heardOf: map[domain.PluginID]bool{}, pluginNews: make(chan struct{}, 1),
	}
	if err := a.start(ctx); err != nil {
		stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
		defer cancel()
		return nil, errors.Join(a.startError(err), a.Stop(stopCtx))
	}
	return a, nil
}

// start is one straight line on purpose: each step uses what the ones before made.
func (a *App) start(ctx context.Context) error {
	if err := a.checkListen(); err != nil {
		return err
	}
	if err := errors.Join(checkURL(databaseFlag, a.opts.DatabaseURL), checkURL(directFlag, a.opts.DatabaseDirectURL)); err != nil {
		return err
	}
	lock, err := embedded.Lock(a.opts.DataDir)
	if err != nil {
		return err
	}
	a.lock = lock
	a.onStop("data directory", func(context.Context) error { return lock.Unlock() })
	if err := embedded.CheckSpace(lock.Dir()); err != nil {
		return err
	}
	node, err := nodeID(lock.Dir())
	if err != nil {
		return err
	}
	if err := a.connect(ctx); err != nil {
		return err
	}
	if err := migrations.Up(ctx, a.pool); err != nil {
		return databaseError(err)
	}
	remembered, err := recollect(lock.Dir())
	if err != nil {
		return err
	}
	a.store, err = pg.Open(ctx, a.pool, pg.Options{
		Logger: a.log, CallTimeout: answerLimit, AppendTimeout: appendLimit,
		DirectURL: a.opts.DatabaseDirectURL, Node: node, Remembered: remembered,
	})
	if err != nil {
		return databaseError(err)
	}
	a.onStop("memory of the log's end", func(context.Context) error { return a.remember() })
	a.onStop("event store", func(context.Context) error { a.store.Close(); return nil })
	if err := a.remember(); err != nil {
		return err
	}
	a.keepMemory(ctx)
	a.measureEpoch()
	if err := a.checkDirect(ctx); err != nil {
		return err
	}
	if err := a.openVault(ctx); err != nil {
		return err
	}
	if err := a.listen(ctx); err != nil {
		return err
	}
	if err := a.makeHost(); err != nil {
		return err
	}
	if err := a.makeDrivers(); err != nil {
		return err
	}
	a.process, err = a.newProcess(node)
	if err != nil {
		return err
	}
	if err := a.startProjections(ctx); err != nil {
		return err
	}
	if err := a.ensureAdminKey(ctx); err != nil {
		return err
	}
	if err := a.installBuiltins(ctx); err != nil {
		return err
	}
	a.followPlugins(ctx)
	a.startPruning(ctx)
	a.startResealing(ctx)
	a.watchRenewals(ctx)
	a.startBalance(ctx)
	if err := a.startDriving(ctx); err != nil {
		return err
	}
	if err := a.startFeed(ctx); err != nil {
		return err
	}
	if err := a.startServer(); err != nil {
		return err
	}
	if a.supervisor != nil {
		// First of all that is undone: while others take over, this process still hears of what happens.
		a.onStop("partitions", func(ctx context.Context) error { a.supervisor.HandOver(ctx); return nil })
	}
	return nil
}

// drives reports whether the process takes its part of the work.
func (a *App) drives() bool { return a.opts.Role != eventstore.RoleAPI }

// startDriving starts the supervisor, or says that this process lives, if it does nothing more.
func (a *App) startDriving(ctx context.Context) error {
	a.processes = a.store.Processes()
	if a.drives() {
		return a.startSupervisor(ctx)
	}
	return a.startBeating(ctx)
}

// connect opens the pool, on an embedded Postgres if no other one is named.
func (a *App) connect(ctx context.Context) error {
	url := a.opts.DatabaseURL
	if url == "" {
		server, err := embedded.Start(ctx, embedded.Options{DataDir: a.lock.Dir(), Lock: a.lock, Logger: a.log})
		if err != nil {
			return err
		}
		a.embedded = server
		a.onStop("embedded postgres", server.Stop)
		go func() {
			<-server.Exited()
			if err := server.Err(); err != nil {
				a.fail(fmt.Errorf("embedded postgres: %w", err))
			}
		}()
		// Its cluster may have taken what there was; then the steps to come would try for ever.
		if err := server.OutOfSpace(); err != nil {
			return err
		}
		url = server.ConnString()
	}
	config, err := poolConfig(url)
	if err != nil {
		return err
	}
	a.pool, err = openPool(ctx, config)
	if err != nil {
		return databaseError(err)
	}
	a.onStop("database pool", func(context.Context) error { a.pool.Close(); return nil })
	return nil
}

func (a *App) makeDrivers() error {
	opts := local.Options{
		Root: filepath.Join(a.lock.Dir(), "runtimes"), ParentCommand: a.opts.ExecParent, AllowRoot: a.opts.AllowRootExec,
	}
	if os.Geteuid() == 0 && !a.opts.AllowRootExec {
		opts.UID = a.opts.ExecUID
		if opts.UID < 0 {
			opts.UID = DefaultExecUID
		}
		opts.GID = opts.UID
	}
	urls, err := runtimeurl.New(runtimeurl.Options{
		EnvJSON: a.opts.RuntimeCandidates, Listen: a.listensOn(), PublicURL: a.opts.PublicURL,
		AllowedHosts: a.opts.AllowedHosts, Allow: a.opts.AllowRuntimeURL, Deny: a.opts.DenyRuntimeURL,
	})
	if err != nil {
		return err
	}
	opts.APIURL = urls.Loopback()
	localDriver, err := local.New(opts)
	if err != nil {
		return fmt.Errorf("driver local: %w", err)
	}
	sshDriver, err := ssh.New(ssh.Options{AgentSocket: a.opts.AgentSocket, RuntimeURL: urls})
	if err != nil {
		return err
	}
	a.onStop("driver ssh", func(context.Context) error { sshDriver.Close(); return nil })
	plain, err := drivers.NewRegistry(append([]drivers.Driver{localDriver, sshDriver}, a.opts.Drivers...)...)
	if err != nil {
		return err
	}
	workers, late, finder := lookTwice{a}, provider.NewLate(), urlFinder{urls}
	a.drivers, err = plain.With(sandbox.New(workers, late, finder), pluginenv.New(workers, late, finder))
	return err
}

func (a *App) newProcess(node domain.NodeID) (eventstore.Process, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return eventstore.Process{}, fmt.Errorf("make an id: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return eventstore.Process{
		ID: domain.WorkerID{UUID: id}, Node: node, Hostname: host, PID: os.Getpid(), Version: a.opts.Version,
		Role: a.opts.Role, Address: a.reachedAt(),
	}, nil
}

func (a *App) startProjections(ctx context.Context) error {
	a.runner = runner.New(a.pool, a.store, catalog.All(), runner.Options{Logger: a.log, TakeOverAfter: a.takeOverAfter()})
	a.background(ctx, "projections", func(ctx context.Context) {
		if err := a.runner.Run(ctx); err != nil && ctx.Err() == nil {
			a.fail(fmt.Errorf("projections: %w", err))
		}
	})
	select {
	case <-a.runner.Ready():
		return nil
	case err := <-a.failed:
		return err
	case <-ctx.Done():
		return fmt.Errorf("bring the read models up to date: %w", context.Cause(ctx))
	}
}

func (a *App) startSupervisor(ctx context.Context) error {
	opts := a.opts.Supervisor
	opts.DrainTimeout = a.opts.DrainTimeout
	identity := a.store.Identity()
	a.supervisor = supervisor.New(supervisor.Deps{
		Commands: a.commands, Drivers: a.drivers, Todo: todo{a.pool, a.commands.Gaps}, Processes: a.processes, Partitions: a.store, Serves: a.serves,
		Process: a.process, Installer: shelf{a},
		Installation: identity.Installation, Epoch: identity.Epoch, Driving: a.driving, Identity: a.identity,
		JournalDir: a.journalDir, Called: a.driverCalls(), Logger: a.log,
		Estate: estate{a}, Looked: a.reaperLooks(),
	}, opts)
	if err := a.supervisor.Start(ctx); err != nil {
		return err
	}
	stopped := make(chan struct{})
	a.onStop("supervisor", func(ctx context.Context) error {
		close(stopped)
		return a.supervisor.Stop(ctx)
	})
	go func() {
		select {
		case <-a.supervisor.Lost():
			a.fail(errors.New("another process took this node's place"))
		case <-stopped:
		}
	}()
	return nil
}

// journalDir is where the output of a command goes.
func (a *App) journalDir(id domain.ExecID) string {
	return filepath.Join(a.lock.Dir(), "journals", id.String())
}

func (a *App) startServer() error {
	server := api.New(a.apiDeps())
	httpServer := server.HTTPServer()
	httpServer.ErrorLog = slog.NewLogLogger(a.log.Handler(), slog.LevelDebug)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := httpServer.Serve(a.listener); !errors.Is(err, http.ErrServerClosed) {
			a.fail(fmt.Errorf("serve: %w", err))
		}
	}()
	a.onStop("http server", func(ctx context.Context) error {
		drain, cancel := context.WithTimeout(ctx, a.opts.DrainTimeout)
		defer cancel()
		// What is answered late is cut: its caller repeats it with the same key.
		if err := server.Shutdown(drain); err != nil {
			a.log.Warn("cutting calls that are still under way", "error", err)
		}
		err := httpServer.Close()
		<-ended
		return err
	})
	a.address = "http://" + a.listener.Addr().String()
	return writePrivate(filepath.Join(a.lock.Dir(), "address"), a.address+"\n")
}

// Address is where the API is served.
func (a *App) Address() string { return a.address }

// Store is the log below the API. For tests and benchmarks.
func (a *App) Store() *pg.Store { return a.store }

// Plugins are the plugins of this process. For benchmarks.
func (a *App) Plugins() *host.Host { return a.host }

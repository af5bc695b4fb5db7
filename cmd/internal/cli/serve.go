package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

// Role is what a server process does.
type Role string

// The roles.
const (
	// RoleServe: all of it.
	RoleServe Role = "serve"
	// RoleAPI: it answers clients and drives nothing.
	RoleAPI Role = "api"
	// RoleWorker: it drives and answers no client.
	RoleWorker Role = "worker"
)

// ServeOptions is what a server is told. The CLI has checked what can be checked without touching anything.
type ServeOptions struct {
	Role Role
	// Address is where other processes reach this one; "" is where it listens.
	Address string
	// Listen is HOST:PORT; port 0 takes a free one.
	Listen string
	// DataDir is where everything of this node is kept.
	DataDir string
	// DatabaseURL names a Postgres to use; "" runs one in DataDir. It may hold a password and is never logged.
	DatabaseURL string
	// DatabaseDirectURL leads to the same database past a pooler; "" where there is none in between. It may hold a password.
	DatabaseDirectURL string
	// ExecUID is the user that commands of the local driver run as; -1 lets the server choose.
	ExecUID int
	// AllowRootExec lets commands of the local driver run as root.
	AllowRootExec bool
	// InsecureListen allows to listen elsewhere than on loopback, without TLS.
	InsecureListen bool
	// AllowFakeSelection lets a request that names no environment end up in one with the provider fake.
	AllowFakeSelection bool
	// LogFormat is text or json, LogLevel debug, info, warn or error.
	LogFormat string
	LogLevel  string

	// WorkerTTL is how long a process that has gone silent counts as alive.
	WorkerTTL time.Duration
	// SweepInterval is how often deadlines are looked at.
	SweepInterval time.Duration
	// ProvisionTimeout and ReleaseTimeout bound one attempt of a driver.
	ProvisionTimeout time.Duration
	ReleaseTimeout   time.Duration
	// CleanupAttempts is how many teardowns of a lease may fail before it goes into quarantine.
	CleanupAttempts int
	// NodeGrace is how long a node may be without a process before it counts as lost.
	NodeGrace time.Duration
	// ReapInterval is how often providers are asked what they have.
	ReapInterval time.Duration
	// ExpiryRate bounds how many leases a second this process ends by their time.
	ExpiryRate int
	// ClockJump is how far the database's clock may be off before no lease ends by its time, ClockSettle for how long it has to
	// agree with itself after that.
	ClockJump, ClockSettle time.Duration
	// GapCap bounds how far idle deadlines move for a time in which nobody could renew.
	GapCap time.Duration
	// DrainTimeout bounds the end of the server.
	DrainTimeout time.Duration
	// Parallel is how many steps of leases are worked on at once.
	Parallel int
	// PluginUID is the user that workers of plugins run as when the server is root; 0 lets the server choose.
	PluginUID int
	// PluginEnv and PluginSecretEnv are further variables of workers, by the plugin's key. Values of the second are hidden in
	// what a worker says.
	PluginEnv, PluginSecretEnv map[string]map[string]string
	// PublicURL, AllowedHosts and RuntimeCandidates (a JSON array) are ways to this server for runtimes; AllowRuntimeURL and
	// DenyRuntimeURL say what of them may be tried.
	PublicURL         string
	AllowedHosts      []string
	RuntimeCandidates string
	AllowRuntimeURL   []string
	DenyRuntimeURL    []string
	// AgentSocket is the socket of the SSH agent; "" for none.
	AgentSocket string
	// Keyset is the text of a keyset that is used instead of the data directory's file; "" for the file. It is never logged.
	Keyset string
}

// DefaultServeOptions are those of a server that was told nothing.
func DefaultServeOptions() ServeOptions {
	return ServeOptions{
		Role: RoleServe, Listen: "127.0.0.1:7717", ExecUID: -1, LogFormat: "text", LogLevel: "info",
		WorkerTTL: 4 * time.Second, SweepInterval: time.Second,
		ProvisionTimeout: 5 * time.Minute, ReleaseTimeout: 2 * time.Minute, DrainTimeout: 10 * time.Second,
		Parallel: 64, CleanupAttempts: 12, ReapInterval: time.Minute, NodeGrace: time.Minute,
		ExpiryRate: 200, ClockJump: time.Minute, ClockSettle: 30 * time.Second, GapCap: time.Hour,
	}
}

var (
	logFormats = []string{"text", "json"}
	logLevels  = []string{"debug", "info", "warn", "error"}
)

// Validate joins every problem and names the flag.
func (o ServeOptions) Validate() error {
	var problems []error
	bad := func(flag, format string, args ...any) {
		problems = append(problems, fmt.Errorf("--%s: %s", flag, fmt.Sprintf(format, args...)))
	}
	host, port, err := net.SplitHostPort(o.Listen)
	if err != nil {
		bad("listen", "%q is not HOST:PORT", o.Listen)
	} else {
		if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
			bad("listen", "%q is not a port from 0 to 65535", port)
		}
		if !isLoopbackHost(host) && !o.InsecureListen {
			bad("listen", "%q is not a loopback address, and keys would go over the network without TLS; add --insecure-listen if something in front speaks TLS", host)
		}
	}
	if o.Role != RoleServe && o.DatabaseURL == "" {
		bad("database-url", "is missing; several processes need a Postgres that all of them reach")
	}
	if o.Address != "" {
		if _, port, err := net.SplitHostPort(o.Address); err != nil || port == "" || port == "0" {
			bad("address", "%q is not HOST:PORT", o.Address)
		}
	}
	if o.DataDir == "" {
		bad("data-dir", "neither HOME nor XDG_DATA_HOME is set, so there is no default; name a directory")
	}
	if o.DatabaseDirectURL != "" && o.DatabaseURL == "" {
		bad("database-direct-url", "there is no --database-url that it would be the direct way to; give both or neither")
	}
	if o.ExecUID == 0 && !o.AllowRootExec {
		bad("exec-uid", "0 is root; add --allow-root-exec if commands are really to run as root")
	}
	if o.PluginUID < 0 {
		bad("plugin-uid", "%d is not a user id", o.PluginUID)
	}
	if o.ExecUID < -1 {
		bad("exec-uid", "%d is not a user id", o.ExecUID)
	}
	if !slices.Contains(logFormats, o.LogFormat) {
		bad("log-format", "there is no format %q; use text or json", o.LogFormat)
	}
	if !slices.Contains(logLevels, o.LogLevel) {
		bad("log-level", "there is no level %q; use debug, info, warn or error", o.LogLevel)
	}
	for _, d := range []struct {
		flag  string
		value time.Duration
		least time.Duration
	}{
		{"worker-ttl", o.WorkerTTL, 100 * time.Millisecond},
		{"sweep-interval", o.SweepInterval, 10 * time.Millisecond},
		{"provision-timeout", o.ProvisionTimeout, time.Second},
		{"release-timeout", o.ReleaseTimeout, time.Second},
		{"reap-interval", o.ReapInterval, time.Second},
		{"clock-jump", o.ClockJump, time.Second},
		{"clock-settle", o.ClockSettle, time.Second},
		{"gap-cap", o.GapCap, time.Second},
		{"node-grace", o.NodeGrace, time.Second},
		{"drain-timeout", o.DrainTimeout, 0},
	} {
		if d.value < d.least {
			bad(d.flag, "%s is too short; give at least %s", d.value, d.least)
		}
	}
	if o.GapCap > maxGapCap {
		bad("gap-cap", "%s is too long; give at most %s", o.GapCap, maxGapCap)
	}
	if o.ExpiryRate < 1 {
		bad("expiry-rate", "%d is too few; give at least 1", o.ExpiryRate)
	}
	if o.Parallel < 1 {
		bad("parallel", "%d is too few; give at least 1", o.Parallel)
	}
	if o.CleanupAttempts < 1 {
		bad("cleanup-attempts", "%d is too few; give at least 1", o.CleanupAttempts)
	}
	return errors.Join(problems...)
}

// maxGapCap is the longest span that the server takes.
const maxGapCap = 366 * 24 * time.Hour

func isLoopbackHost(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// served describes one of the verbs that run a server.
type served struct {
	role        Role
	listen      string
	short, long string
	examples    [2]string
}

func (r *root) serve() *cobra.Command {
	return r.server(served{
		role: RoleServe, listen: DefaultServeOptions().Listen,
		short: "Run a server: API, workers and, without --database-url, a Postgres of its own",
		long: "It prints one line \"listening on http://ADDRESS\" to stderr when it is ready, writes the address and the first\n" +
			"admin key into the data directory, and ends in order on SIGINT or SIGTERM.\n\n" +
			"Behind a pooler that gives each transaction another session (PgBouncer with pool_mode=transaction) everything works,\n" +
			"but events that another server appends are noticed after up to half a second, since no NOTIFY gets through. With\n" +
			"--database-direct-url, which leads past the pooler, they are noticed at once; it is used for one connection that listens.\n\n" +
			"Secrets are sealed with the keys in keyset.json of the data directory, made at the first start; TENURE_KEYSET may hold\n" +
			"the text of that file instead. Keep a copy apart from the database's backups: without it no secret opens again.",
		examples: [2]string{
			"tenure serve",
			"tenure serve --listen 127.0.0.1:8080 --data-dir /srv/tenure --log-format json",
		},
	})
}

func (r *root) apiServer() *cobra.Command {
	return r.server(served{
		role: RoleAPI, listen: DefaultServeOptions().Listen,
		short: "Run a server that answers clients and leaves the work to workers",
		long: "Any number of them, of workers and of serve work together on one Postgres. Each process has a data directory of its own,\n" +
			"and all have the same keyset.json in it, or the same TENURE_KEYSET. It drives nothing: without a living worker requests\n" +
			"are accepted and wait. Outputs of commands come from the worker that has them, at its --address.",
		examples: [2]string{
			"tenure api --database-url postgres://tenure@db/tenure",
			"tenure api --listen 127.0.0.1:8080 --data-dir /srv/tenure-api",
		},
	})
}

func (r *root) workerServer() *cobra.Command {
	cmd := r.server(served{
		role: RoleWorker, listen: "127.0.0.1:7718",
		short: "Run a worker: it makes runtimes, runs commands in them and takes them down",
		long: "Workers share the work evenly; what one that dies had is taken over within five seconds, and one that ends on SIGINT or\n" +
			"SIGTERM hands its part over first. What runs on one machine only (drivers local and bubblewrap, a local Docker) is driven by\n" +
			"the worker of that machine. It listens for /api/health, /metrics and the other processes, which show clients the outputs\n" +
			"of its commands: --address is where they reach it.",
		examples: [2]string{
			"tenure worker --database-url postgres://tenure@db/tenure",
			"tenure worker --listen 10.0.0.7:7718 --insecure-listen --data-dir /srv/tenure-worker",
		},
	})
	cmd.AddCommand(r.workerDrain())
	return cmd
}

func (r *root) server(v served) *cobra.Command {
	o := DefaultServeOptions()
	o.Role, o.Listen = v.role, v.listen
	var pluginEnv []string
	var cmd *cobra.Command
	cmd = r.verb(verb{
		use: string(v.role), short: v.short, long: v.long, examples: v.examples, exits: exitsOfLocal,
		exitNotes: []string{"ended in order, as asked by a signal"},
		run: func(ctx context.Context, _ []string) error {
			if err := r.settings.Apply(cmd.Flags(), serveFlags(cmd)...); err != nil {
				return usagef("%s", err).of(cmd)
			}
			o.DataDir, o.Keyset = r.flags.dataDir, r.Env("TENURE_KEYSET")
			o.RuntimeCandidates, o.AgentSocket = r.Env("PAPERCLIP_RUNTIME_API_CANDIDATES_JSON"), r.Env("SSH_AUTH_SOCK")
			var err error
			if o.PluginEnv, o.PluginSecretEnv, err = parsePluginEnv(pluginEnv, r.Env); err != nil {
				return err
			}
			if err := o.Validate(); err != nil {
				return usagef("%s", err).of(cmd)
			}
			r.serving.Store(true)
			return r.Serve(ctx, o, r.Stderr)
		},
	})
	o.addFlags(cmd)
	if v.role != RoleAPI {
		o.addWorkerFlags(cmd, &pluginEnv)
	}
	if v.role != RoleWorker {
		cmd.Flags().BoolVar(&o.AllowFakeSelection, "allow-fake-selection", false, "let runs that name no environment end up in one whose provider is fake; for tests")
	}
	return cmd
}

// addFlags adds those of every server.
func (o *ServeOptions) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	own := " (default: run one in the data directory)"
	if o.Role != RoleServe {
		own = ""
	}
	f.StringVar(&o.Listen, "listen", o.Listen, "`address` to listen on; port 0 takes a free one")
	f.StringVar(&o.DatabaseURL, "database-url", "", "`URL` of a Postgres to use; with a password in it, rather set TENURE_DATABASE_URL; pool_max_conns in it bounds the connections, from 5, default 20, and three more"+own)
	f.StringVar(&o.DatabaseDirectURL, "database-direct-url", "", "`URL` of the same Postgres past a pooler that --database-url leads through; with a password in it, rather set TENURE_DATABASE_DIRECT_URL (default: there is no pooler)")
	f.BoolVar(&o.InsecureListen, "insecure-listen", false, "allow --listen on an address that others can reach, without TLS")
	f.StringVar(&o.LogFormat, "log-format", o.LogFormat, "`format` of the log: text or json")
	f.StringVar(&o.LogLevel, "log-level", o.LogLevel, "least `level` that is logged: debug, info, warn or error")
	f.DurationVar(&o.WorkerTTL, "worker-ttl", o.WorkerTTL, "how long a process that has gone silent counts as alive")
	f.DurationVar(&o.ClockJump, "clock-jump", o.ClockJump, "how far the database's clock may jump before it is doubted, and no lease ends by its time")
	f.DurationVar(&o.ClockSettle, "clock-settle", o.ClockSettle, "for how long a clock that jumped has to agree with itself to be trusted again; tenure clock confirm does it at once")
	f.DurationVar(&o.GapCap, "gap-cap", o.GapCap, "bound of how far idle deadlines move for a time in which no lease could be renewed; give all processes the same")
	f.DurationVar(&o.NodeGrace, "node-grace", o.NodeGrace, "how long a node may be without a process before it counts as lost; the same for all servers")
	f.DurationVar(&o.DrainTimeout, "drain-timeout", o.DrainTimeout, "bound of the server's end")
}

// addWorkerFlags adds those of who drives.
func (o *ServeOptions) addWorkerFlags(cmd *cobra.Command, pluginEnv *[]string) {
	f := cmd.Flags()
	f.StringVar(&o.Address, "address", "", "`HOST:PORT` at which other processes reach this one, for outputs (default: where it listens)")
	f.IntVar(&o.ExecUID, "exec-uid", o.ExecUID, "`uid` that commands of the local driver run as when the server is root; -1 lets it choose one without rights")
	f.BoolVar(&o.AllowRootExec, "allow-root-exec", false, "let commands of the local driver run as root")
	f.IntVar(&o.PluginUID, "plugin-uid", 0, "`uid` that workers of plugins run as when the server is root; 0 lets it choose one without rights")
	f.StringArrayVar(pluginEnv, "plugin-env", nil, "`PLUGIN=NAME` gives the worker of a plugin the server's variable NAME, and hides its value in what the worker says; PLUGIN=NAME=VALUE gives one that is no secret, since others on this machine can see it here; may be repeated")
	f.StringVar(&o.PublicURL, "public-url", "", "`URL` of this server for others, such as runtimes elsewhere; taken as it is written")
	f.StringArrayVar(&o.AllowedHosts, "allowed-host", nil, "further `host`, host:port or URL by which runtimes reach this server; may be repeated")
	f.StringArrayVar(&o.AllowRuntimeURL, "allow-runtime-url", nil, "name, address or `prefix` that runtimes may look for this server at although it is denied by default; may be repeated")
	f.StringArrayVar(&o.DenyRuntimeURL, "deny-runtime-url", nil, "name, address or `prefix` that runtimes may not look for this server at; may be repeated")
	f.DurationVar(&o.SweepInterval, "sweep-interval", o.SweepInterval, "how often deadlines are looked at")
	f.DurationVar(&o.ProvisionTimeout, "provision-timeout", o.ProvisionTimeout, "bound of one attempt to make a runtime")
	f.DurationVar(&o.ReleaseTimeout, "release-timeout", o.ReleaseTimeout, "bound of one attempt to take a runtime down")
	f.IntVar(&o.CleanupAttempts, "cleanup-attempts", o.CleanupAttempts, "how many tries to take a runtime down may fail before its lease is quarantined: it is on the list of leaks, and tried once an hour")
	f.DurationVar(&o.ReapInterval, "reap-interval", o.ReapInterval, "how often providers are asked what they have; what no lease looks after is destroyed after two looks that agree")
	f.IntVar(&o.ExpiryRate, "expiry-rate", o.ExpiryRate, "bound of how many leases this process ends by their time in a second; what is over waits for its turn")
	f.IntVar(&o.Parallel, "parallel", o.Parallel, "how many leases are worked on at once")
}

// serveFlags are the flags of a server that also have a variable: those that are no lists.
func serveFlags(cmd *cobra.Command) (names []string) {
	for _, name := range []string{
		"listen", "address", "database-url", "database-direct-url", "exec-uid", "allow-root-exec", "insecure-listen", "allow-fake-selection", "plugin-uid", "public-url", "log-format", "log-level",
		"worker-ttl", "sweep-interval", "provision-timeout", "release-timeout", "drain-timeout", "parallel",
		"cleanup-attempts", "reap-interval", "node-grace", "expiry-rate", "clock-jump", "clock-settle", "gap-cap",
	} {
		if cmd.Flags().Lookup(name) != nil {
			names = append(names, name)
		}
	}
	return names
}

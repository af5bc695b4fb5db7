package api

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/admission"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/projections"
	"github.com/tenure-dev/tenure/projections/runner"
)

// Deps are what the API works with.
type Deps struct {
	// Commands is how everything is done; its ledger's store is what is read.
	Commands *commands.Commands
	// Feed reads one company's part of the log.
	Feed CompanyReader
	// Hub says that there is more to read.
	Hub *eventstore.Hub
	// DB has the read models' tables.
	DB projections.DB
	// Projections keeps the read models.
	Projections *runner.Runner
	Processes   Processes
	// Log knows the log's own life.
	Log LogKeeper
	// Plugins knows the processes of plugins; nil where there are none.
	Plugins PluginProcesses
	// Node is this engine's.
	Node   domain.NodeID
	Output OutputReader
	// Internal, if set, serves other processes what is on this node.
	Internal Internal
	// WorkerOnly serves clients nothing but health and metrics.
	WorkerOnly bool
	Checker    EnvironmentChecker
	// Health is nil while this process can serve: migrations are done and its loops run. What it says otherwise is logged
	// and told to nobody.
	Health func(context.Context) error
	// Diagnose says more of an error that the server cannot help, such as [eventstore.ErrUnavailable] or
	// [eventstore.ErrNoSpace] of one that the database's link or disk led to. Optional.
	Diagnose func(error) error
	Version  string
	Logger   *slog.Logger
	Metrics  *prometheus.Registry
	// OpenMetrics serves /metrics without a key, for a scraper on the same machine. Default: a key with metrics.read.
	OpenMetrics bool
	// AllowFakeSelection lets the selection pick environments with the provider fake, for a request that names none.
	AllowFakeSelection bool
	Limits             Limits
}

// CompanyReader reads the events of one company with a position in the log above after, in order.
type CompanyReader interface {
	ReadCompany(ctx context.Context, company domain.CompanyID, after int64, limit int) ([]eventstore.Recorded, error)
}

// Processes lists who drives.
type Processes interface {
	List(ctx context.Context) ([]eventstore.Process, error)
}

// EnvironmentChecker knows the drivers.
type EnvironmentChecker interface {
	// CheckConfig refuses a configuration that the driver cannot use: a [*domain.Refusal] on the field at fault, such as
	// config.path, or any error.
	CheckConfig(driver string, config json.RawMessage) error
	// Provider is who makes the runtimes of an environment with this driver and configuration; ok is false for a driver that
	// this process does not know, and provider is "" for a configuration that does not say.
	Provider(driver string, config json.RawMessage) (provider string, ok bool)
	// Unavailable says why nobody can make runtimes with this driver and configuration, as far as this process knows; nil if
	// somebody can, or may be able to in a moment.
	Unavailable(ctx context.Context, driver string, config json.RawMessage) *domain.Refusal
	// Keeping says whether whoever makes runtimes with this driver and configuration can keep them after their leases, as far
	// as that is declared by anybody who lives, here or elsewhere.
	Keeping(ctx context.Context, driver string, config json.RawMessage) admission.Keeping
	// SecretFields are the fields that config has a secret in, as a value or as a reference; an error, as of CheckConfig, where
	// the driver cannot be asked.
	SecretFields(driver string, config json.RawMessage) ([]SecretField, error)
}

// PluginProcesses knows how the processes of plugins stand on this engine.
type PluginProcesses interface {
	// PluginProcess is that of a plugin; ok is false for one that this engine has none for.
	PluginProcess(id domain.PluginID) (process PluginProcess, ok bool)
}

// PluginProcess is how the process of a plugin stands.
type PluginProcess struct {
	// State is one of the words of wire.PluginProcess.
	State    string
	PID      int
	Restarts int
	// Health is what it last said of itself, "" before that; it holds no secret.
	Health string
	// Error is why it last ended unasked, or did not start; it holds no secret. RetryAt is zero unless a start is due.
	Error   string
	RetryAt time.Time
}

// SecretField is a secret within a configuration, as JSON pointers (RFC 6901): where the secret itself may be written, and
// where a reference to it is kept, which may be the same place.
type SecretField struct{ Value, Ref string }

// OutputReader opens the outputs of commands.
type OutputReader interface {
	// OpenOutput begins at an offset, which may lie ahead of what there is. An output that is not there (yet, or any more)
	// is fs.ErrNotExist; one that cannot be reached now is ErrNodeAway.
	OpenOutput(ctx context.Context, of OutputPlace, offset int64) (Output, error)
}

// OutputPlace says where the output of a command is; the node is zero before the command was claimed.
type OutputPlace struct {
	Exec domain.ExecID
	Node domain.NodeID
}

// ErrNodeAway says that what is asked for is on another machine, which cannot be reached.
var ErrNodeAway = errors.New("the machine that has it cannot be reached")

// Internal is how processes know one another.
type Internal interface {
	// Verify reports whether a token is that of a process of this log, for this path and now.
	Verify(path, token string) bool
}

// Output reads one command's output while it may still grow.
type Output interface {
	// Next returns the next piece; io.EOF is the end of what there is, and Next may be called again.
	Next() (OutputFrame, error)
	Close() error
}

// OutputFrame is a piece of output.
type OutputFrame struct {
	// Offset is that of Data[0], counting both streams.
	Offset int64
	// Stream is stdout or stderr.
	Stream string
	At     time.Time
	// Data is valid until the next call of Next. It is empty in a gap, where Dropped bytes of the stream are missing.
	Data    []byte
	Dropped int64
}

// Limits bound what a call may take. The zero value of each is its default.
type Limits struct {
	// BodyBytes bounds a body, default 1 MiB; ExecBodyBytes one that starts a command, with its input, default 12 MiB.
	BodyBytes, ExecBodyBytes int64
	// BodyTimeout is how long a body may take to arrive; default 60 s.
	BodyTimeout time.Duration
	// MaxWait bounds Prefer: wait=N; default 120 s.
	MaxWait time.Duration
	// ReadModelWait is how long a read model may take to reach a position; default 30 s.
	ReadModelWait time.Duration
	// RunReleaseWait is how long the release of a run waits for the teardown; default 30 s.
	RunReleaseWait time.Duration
	// Heartbeat is how often a stream of events says that it lives, and that its key still does; default 15 s.
	Heartbeat time.Duration
	// WriteTimeout is how long a reader may take nothing before its answer is cut; default 30 s.
	WriteTimeout time.Duration
	// MaxStreams bounds the streams open at once; default 1000.
	MaxStreams int64
}

func (l Limits) withDefaults() Limits {
	l.BodyBytes = orDefault(l.BodyBytes, 1<<20)
	l.ExecBodyBytes = orDefault(l.ExecBodyBytes, 12<<20)
	l.BodyTimeout = orDefault(l.BodyTimeout, 60*time.Second)
	l.MaxWait = orDefault(l.MaxWait, 120*time.Second)
	l.ReadModelWait = orDefault(l.ReadModelWait, 30*time.Second)
	l.RunReleaseWait = orDefault(l.RunReleaseWait, 30*time.Second)
	l.Heartbeat = orDefault(l.Heartbeat, 15*time.Second)
	l.WriteTimeout = orDefault(l.WriteTimeout, 30*time.Second)
	l.MaxStreams = orDefault(l.MaxStreams, 1000)
	return l
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// Package drivers is the vocabulary between the engine and whatever makes runtimes.
//
// A [Driver] makes a runtime for a lease and takes it down again. What else it can do (run commands, resume, list, probe)
// it states in its [Capabilities] and offers as one-method interfaces, which the engine reaches only through the
// functions of operations.go. drivers/driverstest checks that what a driver declares and what it does are the same.
//
// The package knows nothing of the engine: no events, no leases' states, no storage. A driver may be called again with
// the same request after a crash of the engine, so every verb is written to be repeated; how far a repeated Acquire is
// harmless is the driver's [Class].
package drivers

import (
	"context"
	"encoding/json"
	"time"
)

// Driver makes and takes down runtimes. Implementations are safe for concurrent use.
type Driver interface {
	// Describe says what the driver is and can do. The answer never changes during the life of the process.
	Describe() Description
	// Acquire makes the runtime named by req.RuntimeID, or returns the one that an earlier call with this id made.
	// An error tells by [Outcome] whether something may exist outside.
	Acquire(ctx context.Context, req AcquireRequest) (Runtime, error)
	// Release ends everything that runs in the runtime and takes it down, kept or not. Releasing what is already gone succeeds.
	// Where the runtime can hold a fence and has a newer one than the request's, it is left alone, and the error is definite,
	// with [CodeStaleFence]. A request without a fence is by whoever knows that nobody needs the runtime.
	Release(ctx context.Context, req ReleaseRequest) error
}

// Executor runs commands in a runtime.
type Executor interface {
	// StartExec starts one command and returns once it runs. Its output goes to req.JournalDir. An error means that the
	// command did not start; it is a [*StartError] where the stage is known. Where the runtime can hold a fence, comparing
	// it and starting the command are one step: an older one is refused with [StageFence] and [CodeStaleFence].
	StartExec(ctx context.Context, req ExecRequest) (Exec, error)
}

// Pruner is a driver that may come to have more than one runtime under an id: it is not [ClassIdempotent].
type Pruner interface {
	// Prune ends what there is beside the runtime to keep, as far as the driver knows of it. It may be repeated.
	Prune(ctx context.Context, req PruneRequest) error
}

// Keeper is a driver whose runtimes can outlive their lease and be given to another one: the next holder, whose fence is
// larger.
type Keeper interface {
	// Keep ends everything that the lease runs in the runtime and keeps the rest: its files, and with req.Stop nothing that
	// runs. No command of this fence starts any more, until it is resumed. It may be repeated. [ErrGone] says that the runtime
	// certainly does not exist any more, also if something else has its name. An older fence is refused as by Release.
	Keep(ctx context.Context, req KeepRequest) error
	// Resume gives a kept runtime to its next holder. From then on it refuses what carries an older fence, where it can hold
	// one, as one step with the check. It may be repeated by the same holder. [ErrGone] says that the runtime certainly does
	// not exist any more, [ErrMismatch] that what is there under its name is another one, which is left alone; after any other
	// error its files are as they were, and Resume may be called again. It never makes a runtime. An older fence is refused as by
	// Release. What still runs under an older fence is ended.
	Resume(ctx context.Context, req ResumeRequest) (Runtime, error)
}

// Lister tells which runtimes exist, whoever made them.
type Lister interface {
	// ListRuntimes returns every runtime that carries req.Installation as its installation id.
	ListRuntimes(ctx context.Context, req ListRequest) ([]ListedRuntime, error)
}

// Prober tries whether an environment would work, and makes nothing that stays.
type Prober interface {
	// Probe returns an error only if it could not find out; that the environment does not work is a result.
	Probe(ctx context.Context, req ProbeRequest) (ProbeResult, error)
}

// ConfigChecker validates the configuration of an environment without touching anything outside.
type ConfigChecker interface {
	// CheckConfig returns nil or a [*ConfigError] that names every field at fault. In a field that holds a secret it takes
	// the value and a reference to it alike.
	CheckConfig(config json.RawMessage) error
}

// SecretHolder knows which fields of its configuration are secrets.
type SecretHolder interface {
	// SecretFields returns the fields that config has a secret in, as a value or as a reference.
	SecretFields(config json.RawMessage) []SecretField
}

// Description is what a driver says of itself.
type Description struct {
	// Name is the value of an environment's field driver, such as "local".
	Name string
	// Provider is who makes the runtime, such as "local" or "ssh".
	Provider string
	// Class is what a repeated Acquire can do.
	Class Class
	// Isolation is what separates a command from the engine and from other leases, in a word: "none", "uid", "namespaces",
	// "container", "host" (another machine), or "provider" where a plugin does not say.
	Isolation string
	// Capabilities are the optional verbs that the driver offers.
	Capabilities Capabilities
	// NodeBound says that a runtime exists on one machine only and can be driven only there.
	NodeBound bool
	// Plugin is who is behind it; the zero one is this program itself.
	Plugin Plugin
}

// Plugin names an installed plugin.
type Plugin struct {
	// ID is the installation's; Key is the name that its author gave it.
	ID, Key string
	// Version is the plugin's own, as its manifest says.
	Version string
}

// SecretField is a secret within a configuration. Both places are JSON pointers (RFC 6901).
type SecretField struct {
	// Value is where the secret itself may be written by whoever makes the environment.
	Value string
	// Ref is where a reference to it is kept; it may be the same place.
	Ref string
}

// AcquireRequest asks for one runtime.
type AcquireRequest struct {
	// RuntimeID is the idempotency token: the label or directory name of what is made.
	RuntimeID string
	// Installation and Epoch name the log that this runtime belongs to; both are written on what is made.
	Installation string
	Epoch        int64
	// Attempt counts the tries within the lease, from 1. Fence orders the holders; a newer holder has the larger one.
	Attempt int
	Fence   int64

	LeaseID       string
	CompanyID     string
	EnvironmentID string
	RunID         string
	// IssueID, AgentID, ExecutionWorkspaceID, ExecutionWorkspaceMode and AdapterType are client context; "" when absent.
	IssueID                string
	AgentID                string
	ExecutionWorkspaceID   string
	ExecutionWorkspaceMode string
	AdapterType            string
	// Config is the environment's configuration as it was when the lease was requested. Where it holds a reference to a
	// secret, the secret is in its place: it is neither logged nor kept.
	Config json.RawMessage
	// StoredConfig is Config with the references as they are, for what may be kept.
	StoredConfig json.RawMessage
	// Settled, if set, is called once it is decided what came of a call that was still open when Acquire returned an error: at
	// most once, from a goroutine of the driver's, and it may block.
	Settled func()
}

// Runtime is what Acquire made.
type Runtime struct {
	// ProviderLeaseID is the runtime's name at the provider; nil where it has none (local).
	ProviderLeaseID *string
	// Metadata is what a client may want to know: paths, ports. It is a JSON object or nil, holds no secret, and comes back
	// in every [Handle]. The engine adds driver and executionWorkspaceMode.
	Metadata json.RawMessage
	// Resumed says that the runtime existed before this call.
	Resumed bool
}

// Handle names a runtime for the verbs after Acquire. It holds only what the log knows, so that a runtime can be taken
// down by another process, years later.
type Handle struct {
	RuntimeID       string
	ProviderLeaseID *string
	Metadata        json.RawMessage
	// Config is as in [AcquireRequest]: with secrets in it.
	Config json.RawMessage
	// Installation, Fence, LeaseID, CompanyID, EnvironmentID and IssueID are those of the lease.
	Installation  string
	Fence         int64
	LeaseID       string
	CompanyID     string
	EnvironmentID string
	IssueID       string
}

// ReleaseRequest asks to take a runtime down.
type ReleaseRequest struct {
	Handle
	// Attempt counts the tries to take this runtime down, from 1.
	Attempt int
}

// KeepRequest asks to keep a runtime whose lease ends.
type KeepRequest struct {
	Handle
	// Attempt counts the tries, with those to take it down, from 1.
	Attempt int
	// Stop says that it is to use as little as possible until it is resumed.
	Stop bool
}

// ResumeRequest asks for a kept runtime. RuntimeID is that of the runtime, everything else is the next holder's.
type ResumeRequest struct {
	AcquireRequest
	// ProviderLeaseID and Metadata are what its last holder knew of it.
	ProviderLeaseID *string
	Metadata        json.RawMessage
}

// PruneRequest asks to take down what more there is under a runtime's id than the one that a lease holds. The handle's
// ProviderLeaseID names one of those, if the caller knows any.
type PruneRequest struct {
	Handle
	// Keep is the one that the lease holds.
	Keep string
}

// ExecRequest asks to run one command.
type ExecRequest struct {
	Handle
	// ExecID names the command, in letters, digits, '.', '_' and '-'; the engine never starts the same id twice.
	ExecID string
	// Argv is the command and its arguments, passed on byte for byte, never through a shell. Argv[0] is looked up in
	// the PATH of the command's own environment.
	Argv []string
	// Cwd is the working directory; relative means relative to the workspace, "" is the workspace.
	Cwd string
	// Env is laid over the driver's base environment in order; of two equal names the later wins.
	Env []EnvVar
	// Stdin is the whole standard input; nil is an empty one.
	Stdin []byte
	// Timeout ends the command and all its descendants; 0 is no limit.
	Timeout time.Duration
	// Grace lies between the polite signal and the hard one; 0 is the driver's default.
	Grace time.Duration
	// JournalDir is where the output journal is written (see drivers/journal). The driver makes it.
	JournalDir string
}

// EnvVar is one variable of a command's environment. Name is not empty and has no '=' or NUL; Value has no NUL.
type EnvVar struct{ Name, Value string }

// Exec is a command that runs or ran.
type Exec interface {
	// Process says which process it is. For a command that was never executed (exit 126 and 127) the process that tried
	// stands in.
	Process() Process
	// Wait blocks until the command has ended and its output is sealed, or ctx is done. It may be called again.
	Wait(ctx context.Context) (ExecResult, error)
	// Kill ends the command and its descendants; Wait then says Killed with why. Killing what has ended does nothing.
	Kill(ctx context.Context, why string) error
}

// Process identifies a process beyond the reuse of its pid.
type Process struct {
	PID int `json:"pid"`
	// StartTime is field 22 of /proc/PID/stat: clock ticks since boot.
	StartTime uint64 `json:"startTime"`
	BootID    string `json:"bootId"`
}

// ExecEnd is how a command ended. Exactly one holds.
type ExecEnd string

// The ends of a command.
const (
	// ExecExited: the command exited by itself; ExitCode is set (127 not found, 126 not executable).
	ExecExited ExecEnd = "exited"
	// ExecSignaled: a signal that was not ours ended it; Signal is set.
	ExecSignaled ExecEnd = "signaled"
	// ExecTimedOut: its timeout ended it.
	ExecTimedOut ExecEnd = "timeout"
	// ExecKilled: somebody asked for its end; Why is set.
	ExecKilled ExecEnd = "killed"
	// ExecUnknown: how it ended cannot be known; Why is set. It has no number.
	ExecUnknown ExecEnd = "unknown"
)

// ExecResult is the end of a command and of its output, two separate things.
type ExecResult struct {
	End      ExecEnd `json:"end"`
	ExitCode int     `json:"exitCode"`
	// Signal is its name, such as "SIGSEGV".
	Signal string `json:"signal,omitempty"`
	Why    string `json:"why,omitempty"`
	// Leftovers counts the processes that outlived the command and could not be ended.
	Leftovers int        `json:"leftovers"`
	Output    OutputSeal `json:"output"`
}

// OutputState is how the output of a command ended.
type OutputState string

// The ends of an output.
const (
	// OutputComplete: every byte was journaled.
	OutputComplete OutputState = "complete"
	// OutputTruncated: bytes were dropped (a full disk, a cap); they are counted and hashed all the same.
	OutputTruncated OutputState = "truncated"
	// OutputAbandoned: the command ended but something still held its output open after the drain.
	OutputAbandoned OutputState = "abandoned"
	// OutputLost: the journal or its writer is gone.
	OutputLost OutputState = "lost"
)

// OutputSeal closes an output. Counts and hashes cover all bytes read from the command, dropped ones included.
type OutputSeal struct {
	State  OutputState `json:"state"`
	Stdout StreamSeal  `json:"stdout"`
	Stderr StreamSeal  `json:"stderr"`
	// Dropped counts the bytes of both streams that are not in the journal.
	Dropped int64 `json:"dropped"`
}

// StreamSeal counts and hashes one stream.
type StreamSeal struct {
	Bytes int64 `json:"bytes"`
	// SHA256 is lower-case hexadecimal.
	SHA256 string `json:"sha256"`
}

// ListRequest asks for the runtimes of an installation.
type ListRequest struct {
	Installation string
	// Config is an environment's, as in [AcquireRequest]: it says where to look.
	Config json.RawMessage
}

// ListedRuntime is one runtime found by a Lister.
type ListedRuntime struct {
	RuntimeID       string
	ProviderLeaseID *string
	LeaseID         string
	Epoch           int64
	CreatedAt       time.Time
}

// ProbeRequest asks whether an environment would work.
type ProbeRequest struct {
	CompanyID string
	// EnvironmentID is "" for one that is not saved.
	EnvironmentID string
	// Config is as in [AcquireRequest]: with secrets in it.
	Config json.RawMessage
}

// ProbeResult says whether it would. It holds no secret.
type ProbeResult struct {
	OK bool `json:"ok"`
	// Phase is where it failed, such as "dial", "host_key" or "auth"; "" when it did not.
	Phase       string       `json:"phase,omitempty"`
	Summary     string       `json:"summary"`
	Diagnostics []Diagnostic `json:"diagnostics,omitempty"`
}

// Severity grades a diagnostic.
type Severity string

// The severities.
const (
	SeverityInfo    Severity = "info"
	SeverityWarning Severity = "warning"
	SeverityError   Severity = "error"
)

// Diagnostic is one finding of a probe.
type Diagnostic struct {
	Severity Severity `json:"severity"`
	// Code is stable where there is one; else "".
	Code        string `json:"code,omitempty"`
	Message     string `json:"message"`
	Remediation string `json:"remediation,omitempty"`
}

// Package sandbox is the driver for runtimes that a provider makes: it resolves an environment's provider to a plugin
// worker and delegates to it.
//
// This file is the seam. [Worker] is what the driver needs of a provider's process, in the words of package drivers;
// plugins/host implements it over the plugin protocol. A worker may die at any moment, its replies may be lost, and most
// providers know no idempotency token, so each method says what a caller may conclude from an error.
package sandbox

import (
	"context"
	"encoding/json"
	"time"

	"github.com/tenure-dev/tenure/drivers"
)

// Worker is one provider's process. Methods are safe for concurrent use; calls for different leases run side by side, and
// a call for one lease never fails because of another.
//
// A verb that the worker does not advertise answers [drivers.ErrUnsupported] without a call. Any other error is a
// [*drivers.Failure]: its [drivers.Outcome] is ambiguous whenever the request may have reached the provider and no reply
// came, definite only if the worker itself refused before it acted.
type Worker interface {
	// Describe says which plugin this is and what it can do now. It changes when the process is started again.
	Describe() WorkerDescription
	Leaser
	Ender
	Commander
	Checker
}

// Leaser brings runtimes into being.
type Leaser interface {
	// Acquire makes a runtime. After an ambiguous failure it is not called again for the same attempt unless the class of
	// the worker is [drivers.ClassIdempotent]: the protocol has no token that makes a second call harmless. A reply that
	// comes after ctx is done is not dropped; it goes to the handler that the implementation was given.
	Acquire(ctx context.Context, req AcquireRequest) (Lease, error)
	// Resume finds a runtime again. [drivers.ErrGone] is the only answer that permits a replacement; every other error
	// leaves the runtime as it may be. It may be repeated.
	Resume(ctx context.Context, req LeaseRequest) (Lease, error)
}

// Ender takes runtimes down. Both verbs may be repeated, and succeed on what is already gone.
type Ender interface {
	// Release ends the use of a runtime; the provider may keep it for a later Resume.
	Release(ctx context.Context, req EndRequest) (Receipt, error)
	// Destroy removes the runtime and all it holds.
	Destroy(ctx context.Context, req EndRequest) (Receipt, error)
}

// Commander runs commands.
type Commander interface {
	// Execute runs one command to its end. The protocol has neither cancel nor deadline: when ctx is done Execute returns,
	// the command may run on, and how it ends is unknown. It is never called twice for one command.
	Execute(ctx context.Context, req ExecuteRequest) (ExecuteResult, error)
}

// Checker looks without changing anything.
type Checker interface {
	// ValidateConfig judges a configuration. Problems are a [*drivers.ConfigError]; an error of any other kind says that
	// the worker could not be asked.
	ValidateConfig(ctx context.Context, config json.RawMessage) (ConfigVerdict, error)
	// Probe tries the configuration against the provider.
	Probe(ctx context.Context, req ProbeRequest) (ProbeResult, error)
}

// WorkerDescription is what a plugin says of itself.
type WorkerDescription struct {
	// PluginID is the installed plugin; PluginKey is its public name. A lease is pinned to the id, since two plugins may
	// offer the same provider.
	PluginID  string
	PluginKey string
	// Provider is the key that environments name.
	Provider string
	// Class is what a repeated Acquire can do; [drivers.ClassBlind] unless the plugin proves better.
	Class drivers.Class
	// ReusableLeases says that Resume, Release and Destroy are all there and reuse is declared.
	ReusableLeases bool
	// StreamsOutput says that Execute calls Output while the command runs.
	StreamsOutput bool
}

// Scope names whose environment a call is for. Workers see no other company's data through it.
type Scope struct {
	CompanyID     string
	EnvironmentID string
	// IssueID is "" when there is none.
	IssueID string
	// Config is the environment's configuration as recorded with the lease, with secret references resolved for this call.
	// It is never logged and never stored.
	Config json.RawMessage
}

// AcquireRequest asks a provider for one runtime. Config in it is resolved, as in [Scope].
type AcquireRequest struct {
	drivers.AcquireRequest
	// RequestedCwd is where the client wants to work; "" leaves it to the provider.
	RequestedCwd string
	// WorkspaceSettings are the client's own and passed on unread.
	WorkspaceSettings json.RawMessage
	// RequestedExpiresAt lets the provider end what everybody forgot; zero asks for nothing.
	RequestedExpiresAt time.Time
}

// Lease is a runtime as its provider names it.
type Lease struct {
	// ProviderLeaseID is opaque, and nil where the provider has no name for it.
	ProviderLeaseID *string
	// Metadata belongs to the plugin and is passed back unread.
	Metadata json.RawMessage
	// ExpiresAt is when the provider ends it by itself; zero is never.
	ExpiresAt time.Time
}

// LeaseRequest names a runtime that a worker made earlier, perhaps in another process.
type LeaseRequest struct {
	Scope
	Lease Lease
}

// EndRequest asks to release or destroy a runtime.
type EndRequest struct {
	LeaseRequest
	// CancelActiveWork ends running commands first; a provider that cannot confirm it has failed.
	CancelActiveWork bool
}

// ReceiptState is how sure the end of a runtime is.
type ReceiptState string

// The states of a receipt.
const (
	// ReceiptUnconfirmed: the provider accepted and said no more. The runtime may still exist, so nobody else may be given
	// what it held.
	ReceiptUnconfirmed ReceiptState = "unconfirmed"
	// ReceiptStopped: it does not run, and can be resumed.
	ReceiptStopped ReceiptState = "stopped"
	// ReceiptDestroyed: it does not exist.
	ReceiptDestroyed ReceiptState = "destroyed"
)

// Receipt is what a provider says of a runtime it was asked to end.
type Receipt struct {
	State ReceiptState
}

// ExecuteRequest asks to run one command.
type ExecuteRequest struct {
	LeaseRequest
	// Argv is passed on as command and arguments, never through a shell of ours.
	Argv []string
	// Cwd is the working directory; "" is the provider's.
	Cwd string
	// Env is the whole environment of the command, in order; of two equal names the later wins.
	Env []drivers.EnvVar
	// Stdin is the whole standard input. The protocol carries text: bytes that are no UTF-8 are refused before the call.
	Stdin []byte
	// Timeout is the provider's to enforce; 0 is no limit.
	Timeout time.Duration
	// Output receives what arrives while the command runs, one call at a time; nil is not to be told. It is advisory: the
	// result is the whole truth and repeats it.
	Output func(OutputChunk)
}

// OutputChunk is a piece of one stream.
type OutputChunk struct {
	// Stream is "stdout" or "stderr".
	Stream string
	Data   []byte
}

// ExecuteResult is the end of a command as its provider saw it.
type ExecuteResult struct {
	// ExitCode is nil when there is none: a signal, a timeout, or a provider that does not know.
	ExitCode *int
	// Signal is "" when none ended it.
	Signal   string
	TimedOut bool
	Stdout   []byte
	Stderr   []byte
	// Metadata belongs to the plugin.
	Metadata json.RawMessage
}

// ConfigVerdict is a configuration found good.
type ConfigVerdict struct {
	// Normalized is the configuration as it should be stored; nil leaves it as it is.
	Normalized json.RawMessage
	// Warnings are for the person who wrote it.
	Warnings []string
}

// ProbeRequest asks whether an environment would work.
type ProbeRequest struct {
	Scope
}

// ProbeResult says whether it would.
type ProbeResult struct {
	OK          bool
	Summary     string
	Diagnostics []Diagnostic
}

// Severity grades a diagnostic.
type Severity string

// The severities.
const (
	SeverityInfo    Severity = "info"
	SeverityWarning Severity = "warning"
	SeverityError   Severity = "error"
)

// Diagnostic is one finding of a probe. It holds no secret.
type Diagnostic struct {
	Severity Severity
	// Code is stable where the plugin has one; else "".
	Code    string
	Message string
}

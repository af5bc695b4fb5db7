// Package provider is the seam between the engine's drivers and the processes of plugins that make runtimes.
//
//	sandbox, pluginenv ──► provider.Driver ──► Offer (what a manifest says) ──► Worker (a process) ──wire──► provider
//	                                           └────────── plugins/host implements both ─────────┘
//
// A worker may die at any moment, its replies may be lost, and many providers know no idempotency token, so each method
// says what a caller may conclude from an error. [Driver] makes of all that a [drivers.Driver].
package provider

import (
	"context"
	"encoding/json"
	"time"

	"github.com/tenure-dev/tenure/drivers"
)

// Kind is what a plugin offers.
type Kind string

// The kinds.
const (
	// KindSandbox makes sandboxes for the driver sandbox.
	KindSandbox Kind = "sandbox_provider"
	// KindDriver is a driver of its own, behind the driver plugin.
	KindDriver Kind = "environment_driver"
)

// Query asks who makes, or made, a runtime.
type Query struct {
	Kind Kind
	// Key is the provider's or the driver's, as the plugin's manifest names it.
	Key string
	// PluginKey asks for one plugin; "" takes any that offers Key.
	PluginKey string
	// Plugin asks for the one that made a runtime, by id and version; the zero one for the one that is enabled.
	Plugin drivers.Plugin
}

// Workers are the plugins of this process.
type Workers interface {
	// Offer finds a plugin. Its error is a [*drivers.Failure] that says what to do: nothing of this name is installed, it is
	// disabled, or the version that is asked for is not here any more.
	Offer(q Query) (Offer, error)
}

// Offer is one driver of a plugin, as the manifest declares it. Asking it starts no process.
type Offer interface {
	Describe() Description
	drivers.ConfigChecker
	drivers.SecretHolder
	// Worker returns the process, and starts it if it does not run. ctx bounds the wait. The error is a [*drivers.Failure]
	// with outcome retryable, since nothing was asked of the provider: it fails to start, or rests between two tries.
	Worker(ctx context.Context) (Worker, error)
}

// Description is what a manifest declares. A worker whose verbs are not those is not used, and its plugin says so.
type Description struct {
	Plugin drivers.Plugin
	Kind   Kind
	Key    string
	// Class is what a repeated Acquire can do; [drivers.ClassBlind] unless the plugin declares and serves better.
	Class drivers.Class
	// Isolation is as in [drivers.Description]; "provider" when the plugin does not say.
	Isolation string
	NodeBound bool
	// Exec says that commands can be run, Streams that they are started, fed and ended as [drivers.Executor] does it;
	// without it there is only [Worker.Execute]. Probe and List are further verbs.
	Exec, Streams, Probe, List bool
	// Destroy says that runtimes can be destroyed; without it they are only released.
	Destroy bool
	// ReusableLeases says that Resume, Release and Destroy are all there and reuse is declared.
	ReusableLeases bool
}

// Worker is one provider's process. Methods are safe for concurrent use; calls for different leases run side by side, and
// a call for one lease never fails because of another.
//
// A verb that the worker does not offer answers [drivers.ErrUnsupported] without a call. Any other error is a
// [*drivers.Failure]: its [drivers.Outcome] is ambiguous whenever the request may have reached the provider and no reply
// came, retryable if it certainly did not, and definite if the worker itself refused before it acted.
type Worker interface {
	// Acquire makes a runtime, or, with [drivers.ClassIdempotent], finds the one of this runtime id.
	Acquire(ctx context.Context, req AcquireRequest) (Lease, error)
	// Resume finds a runtime again. [drivers.ErrGone] is the only answer that permits a replacement; every other error
	// leaves the runtime as it may be. It may be repeated.
	// [drivers.ErrMismatch] says that the provider found another one.
	Resume(ctx context.Context, req ResumeRequest) (Lease, error)
	// Release ends the use of a runtime; the provider may keep it for a later Resume, and is asked to by req.Keep. It may be
	// repeated, and succeeds on what is already gone.
	Release(ctx context.Context, req EndRequest) (Receipt, error)
	// Destroy removes the runtime and all it holds. It may be repeated as Release.
	Destroy(ctx context.Context, req EndRequest) (Receipt, error)
	// StartExec starts a command and writes its output to req.JournalDir, as [drivers.Executor] says. If the process ends
	// over it, the command's end is unknown.
	StartExec(ctx context.Context, req StartRequest) (drivers.Exec, error)
	// Execute runs one command to its end. The protocol has neither cancel nor deadline: when ctx is done Execute returns,
	// the command may run on, and how it ends is unknown. It is never called twice for one command.
	Execute(ctx context.Context, req ExecuteRequest) (ExecuteResult, error)
	// ListRuntimes is [drivers.Lister] for one environment's configuration.
	ListRuntimes(ctx context.Context, req ListRequest) ([]drivers.ListedRuntime, error)
	// Probe is [drivers.Prober].
	Probe(ctx context.Context, scope Scope) (drivers.ProbeResult, error)
	// ValidateConfig lets the plugin judge a configuration. Problems are a [*drivers.ConfigError]; an error of any other
	// kind says that the worker could not be asked.
	ValidateConfig(ctx context.Context, config json.RawMessage) (ConfigVerdict, error)
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

// AcquireRequest asks a provider for one runtime.
type AcquireRequest struct {
	Scope
	// Token names the runtime to workers that know tokens.
	Token   Token
	Attempt int
	Epoch   int64

	RunID                  string
	AgentID                string
	ExecutionWorkspaceID   string
	ExecutionWorkspaceMode string
	AdapterType            string
	// RequestedExpiresAt lets the provider end what everybody forgot; zero asks for nothing.
	RequestedExpiresAt time.Time
	// Late receives a reply that comes after ctx is done, at most once and only if Acquire returned without a lease: a
	// runtime that somebody has to take down.
	Late func(Lease)
}

// Unanswered is in the chain of an Acquire's error if the worker may still act on the call: the process lives and has given
// no answer.
type Unanswered struct {
	// Over is closed when nothing comes of the call any more: it was answered after all, and Late has returned if it was to be
	// called, or the process has ended.
	Over <-chan struct{}
	Err  error
}

func (u *Unanswered) Error() string { return u.Err.Error() }

func (u *Unanswered) Unwrap() error { return u.Err }

// Token names a runtime before its provider does, and whose it is.
type Token struct {
	RuntimeID    string
	Installation string
	LeaseID      string
	Fence        int64
}

// Lease is a runtime as its provider names it.
type Lease struct {
	// ProviderLeaseID is opaque, and nil where the provider has no name for it.
	ProviderLeaseID *string
	// Metadata belongs to the plugin and is passed back unread. It is a JSON object or nil.
	Metadata json.RawMessage
	// ExpiresAt is when the provider ends it by itself; zero is never.
	ExpiresAt time.Time
	// Resumed says that the runtime existed before the call.
	Resumed bool
}

// LeaseRequest names a runtime that a worker made earlier, perhaps in another process.
type LeaseRequest struct {
	Scope
	Token Token
	Lease Lease
}

// EndRequest asks to release or destroy a runtime.
type EndRequest struct {
	LeaseRequest
	// CancelActiveWork ends running commands first; a provider that cannot confirm it has failed.
	CancelActiveWork bool
	// Keep tells a worker that speaks the extension, at Release, to keep the runtime; others do as the published protocol lets
	// them. Stop is as in [drivers.KeepRequest].
	Keep, Stop bool
	// Attempt counts the tries, from 1.
	Attempt int
}

// ResumeRequest asks for a runtime that was kept; Scope and Token are the next holder's.
type ResumeRequest struct {
	LeaseRequest
	Attempt int
	Epoch   int64

	RunID                  string
	AgentID                string
	ExecutionWorkspaceID   string
	ExecutionWorkspaceMode string
	AdapterType            string
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

// StartRequest asks to start one command; see [drivers.ExecRequest], whose Handle it has no use for.
type StartRequest struct {
	LeaseRequest
	Exec drivers.ExecRequest
}

// ExecuteRequest asks to run one command to its end.
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
}

// ListRequest asks for the runtimes of an installation that an environment's configuration can see.
type ListRequest struct {
	Scope
	Installation string
}

// ConfigVerdict is a configuration found good.
type ConfigVerdict struct {
	// Normalized is the configuration as it should be stored; nil leaves it as it is.
	Normalized json.RawMessage
	// Warnings are for the person who wrote it.
	Warnings []string
}

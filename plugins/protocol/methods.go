package protocol

import "encoding/json"

// Methods that the host calls. The names and parameters up to MethodExecute are those of the published SDK; what a worker
// offers is in the supportedMethods of its answer to initialize. Those that begin with "tenure" are the extension below.
const (
	MethodInitialize     = "initialize"
	MethodHealth         = "health"
	MethodShutdown       = "shutdown"
	MethodConfigChanged  = "configChanged"
	MethodValidateConfig = "environmentValidateConfig"
	MethodProbe          = "environmentProbe"
	MethodAcquire        = "environmentAcquireLease"
	MethodResume         = "environmentResumeLease"
	MethodRelease        = "environmentReleaseLease"
	MethodDestroy        = "environmentDestroyLease"
	MethodRealize        = "environmentRealizeWorkspace"
	MethodExecute        = "environmentExecute"
)

// The extension. A host offers it by [InitializeParams].Tenure, a worker takes it by [InitializeResult].Tenure; the
// published SDK ignores the one and never sends the other. Its verbs are called only if both did. With it
//
//   - acquire, resume, release, destroy and execute carry a [TenureToken], by which an idempotent worker knows a runtime, and
//     refuses a holder that a newer one came after;
//   - release says whether the runtime is to be kept for a later resume ([TenureToken].Keep);
//   - commands are started, streamed and ended, byte for byte, with credit for the output instead of unbounded pipes;
//   - runtimes can be listed by installation;
//   - an error's data says what the failure left behind ([ErrorData]).
const (
	// MethodExecStart starts a command ([ExecStartParams] → [ExecStartResult]).
	MethodExecStart = "tenureExecStart"
	// MethodExecKill asks for a command's end ([ExecKillParams] → null).
	MethodExecKill = "tenureExecKill"
	// MethodList lists runtimes ([ListParams] → [ListResult]).
	MethodList = "tenureListRuntimes"
	// NotifyExecCredit, host to worker, allows more output ([ExecCredit]).
	NotifyExecCredit = "tenureExec.credit" //nolint:gosec // a number of bytes, no credential
	// NotifyExecOutput, worker to host, is a piece of output ([ExecOutput]).
	NotifyExecOutput = "tenureExec.output"
	// NotifyExecEnd, worker to host, is the end of a command and of its output ([ExecEnd]). It comes after all of it.
	NotifyExecEnd = "tenureExec.end"
	// NotifyCancel, host to worker, says that nobody waits for a request any more ({"id": …}). Its work may stop; a reply is
	// still welcome.
	NotifyCancel = "$/cancel"
)

// Notifications of the published SDK, worker to host.
const (
	NotifyLog        = "log"
	NotifyExecuteLog = "execute.log"
)

// ExtensionVersion is the version of the extension that this package describes.
const ExtensionVersion = 1

// TenureOffer is the host's side of the extension's handshake.
type TenureOffer struct {
	Version int `json:"version"`
}

// TenureAccept is the worker's.
type TenureAccept struct {
	Version int `json:"version"`
	// Drivers says what each driver of the worker is, by its key. It must be what the manifest declares.
	Drivers map[string]TenureDriver `json:"drivers"`
}

// TenureDriver is what a driver of a plugin is, in the words of package drivers. A manifest declares it at the top level,
// under tenure.drivers, where the published manifest schema drops what it does not know.
type TenureDriver struct {
	// Class is idempotent, listable or blind.
	Class string `json:"class"`
	// Isolation is as in drivers.Description.
	Isolation string `json:"isolation"`
	NodeBound bool   `json:"nodeBound,omitempty"`
	// Exec says that tenureExecStart and tenureExecKill are served, List that tenureListRuntimes is.
	Exec bool `json:"exec,omitempty"`
	List bool `json:"list,omitempty"`
}

// InitializeParams begins a worker.
type InitializeParams struct {
	Manifest          json.RawMessage `json:"manifest"`
	Config            json.RawMessage `json:"config"`
	InstanceInfo      InstanceInfo    `json:"instanceInfo"`
	APIVersion        int             `json:"apiVersion"`
	DatabaseNamespace *string         `json:"databaseNamespace"`
	Tenure            *TenureOffer    `json:"tenure,omitempty"`
}

// InstanceInfo says who the host is.
type InstanceInfo struct {
	InstanceID         string `json:"instanceId"`
	HostVersion        string `json:"hostVersion"`
	DeploymentMode     string `json:"deploymentMode,omitempty"`
	DeploymentExposure string `json:"deploymentExposure,omitempty"`
}

// InitializeResult is the worker's answer.
type InitializeResult struct {
	OK               bool          `json:"ok"`
	SupportedMethods []string      `json:"supportedMethods"`
	Tenure           *TenureAccept `json:"tenure,omitempty"`
}

// HealthResult is the answer to health.
type HealthResult struct {
	// Status is ok, degraded or error.
	Status  string          `json:"status"`
	Message string          `json:"message,omitempty"`
	Details json.RawMessage `json:"details,omitempty"`
}

// Base is in the parameters of every verb on environments but validate.
type Base struct {
	DriverKey     string          `json:"driverKey"`
	CompanyID     string          `json:"companyId"`
	EnvironmentID string          `json:"environmentId"`
	IssueID       *string         `json:"issueId"`
	Config        json.RawMessage `json:"config"`
}

// TenureToken names a runtime before its provider does, and whose it is.
type TenureToken struct {
	RuntimeID    string `json:"runtimeId"`
	Installation string `json:"installation"`
	LeaseID      string `json:"leaseId"`
	// Fence orders the holders of a runtime; a newer holder has the larger one.
	Fence   int64 `json:"fence"`
	Epoch   int64 `json:"epoch,omitempty"`
	Attempt int   `json:"attempt,omitempty"`
	// Keep, at release, asks to keep the runtime: [KeepRunning] or [KeepStopped]. Without it a release leaves nothing.
	Keep string `json:"keep,omitempty"`
	// Holder, at resume, is who gets the runtime.
	Holder *TenureHolder `json:"holder,omitempty"`
}

// What a release keeps.
const (
	// KeepRunning ends what the lease runs and leaves the rest as it is, KeepStopped uses as little as possible.
	KeepRunning = "running"
	KeepStopped = "stopped"
)

// TenureHolder says of the next holder of a runtime what acquire says of the first.
type TenureHolder struct {
	RunID                string `json:"runId,omitempty"`
	AgentID              string `json:"agentId,omitempty"`
	ExecutionWorkspaceID string `json:"executionWorkspaceId,omitempty"`
	WorkspaceMode        string `json:"workspaceMode,omitempty"`
	AdapterType          string `json:"adapterType,omitempty"`
}

// ValidateConfigParams asks whether a configuration is good.
type ValidateConfigParams struct {
	DriverKey string          `json:"driverKey"`
	Config    json.RawMessage `json:"config"`
}

// ValidateConfigResult judges it.
type ValidateConfigResult struct {
	OK               bool            `json:"ok"`
	Warnings         []string        `json:"warnings,omitempty"`
	Errors           []string        `json:"errors,omitempty"`
	NormalizedConfig json.RawMessage `json:"normalizedConfig,omitempty"`
}

// ProbeParams asks whether an environment would work.
type ProbeParams struct{ Base }

// ProbeResult says whether it would.
type ProbeResult struct {
	OK          bool            `json:"ok"`
	Summary     string          `json:"summary,omitempty"`
	Diagnostics []Diagnostic    `json:"diagnostics,omitempty"`
	Metadata    json.RawMessage `json:"metadata,omitempty"`
	// Phase is the extension's: where it failed.
	Phase string `json:"phase,omitempty"`
}

// Diagnostic is one finding of a probe.
type Diagnostic struct {
	Severity string          `json:"severity"`
	Message  string          `json:"message"`
	Code     string          `json:"code,omitempty"`
	Details  json.RawMessage `json:"details,omitempty"`
	// Remediation is the extension's.
	Remediation string `json:"remediation,omitempty"`
}

// AcquireParams asks for a runtime.
type AcquireParams struct {
	Base
	RunID                string       `json:"runId"`
	WorkspaceMode        *string      `json:"workspaceMode,omitempty"`
	RequestedCwd         *string      `json:"requestedCwd,omitempty"`
	AgentID              *string      `json:"agentId,omitempty"`
	ExecutionWorkspaceID *string      `json:"executionWorkspaceId,omitempty"`
	AdapterType          *string      `json:"adapterType,omitempty"`
	RequestedExpiresAt   *string      `json:"requestedExpiresAt,omitempty"`
	Tenure               *TenureToken `json:"tenure,omitempty"`
}

// Lease is a runtime as its provider names it.
type Lease struct {
	ProviderLeaseID *string         `json:"providerLeaseId"`
	Metadata        json.RawMessage `json:"metadata,omitempty"`
	ExpiresAt       *string         `json:"expiresAt,omitempty"`
	// Resumed is the extension's: the runtime existed before the call.
	Resumed bool `json:"resumed,omitempty"`
}

// LeaseParams names a runtime, for resume.
type LeaseParams struct {
	Base
	ProviderLeaseID *string         `json:"providerLeaseId"`
	LeaseMetadata   json.RawMessage `json:"leaseMetadata,omitempty"`
	Tenure          *TenureToken    `json:"tenure,omitempty"`
}

// EndParams asks to release or destroy a runtime.
type EndParams struct {
	LeaseParams
	CancelActiveWork bool `json:"cancelActiveWork,omitempty"`
}

// Receipt is what a worker may answer to release and destroy; null is none.
type Receipt struct {
	ProviderLeaseID string `json:"providerLeaseId"`
	// State is stopped or destroyed.
	State string `json:"state"`
}

// ExecuteParams asks to run a command to its end.
type ExecuteParams struct {
	Base
	Lease         Lease             `json:"lease"`
	Command       string            `json:"command"`
	Args          []string          `json:"args,omitempty"`
	Cwd           string            `json:"cwd,omitempty"`
	Env           map[string]string `json:"env,omitempty"`
	Stdin         *string           `json:"stdin,omitempty"`
	TimeoutMs     int64             `json:"timeoutMs,omitempty"`
	BypassSession bool              `json:"bypassSession,omitempty"`
	Tenure        *TenureToken      `json:"tenure,omitempty"`
}

// ExecuteResult is the end of a command and its whole output, as text.
type ExecuteResult struct {
	ExitCode *int            `json:"exitCode"`
	Signal   *string         `json:"signal,omitempty"`
	TimedOut bool            `json:"timedOut"`
	Stdout   string          `json:"stdout"`
	Stderr   string          `json:"stderr"`
	Metadata json.RawMessage `json:"metadata,omitempty"`
}

// ExecuteLog is a piece of output while a command runs. It belongs to the call named by the notification's
// paperclipInvocationId.
type ExecuteLog struct {
	// Stream is stdout or stderr.
	Stream string `json:"stream"`
	Chunk  string `json:"chunk"`
}

// LogParams is a line for the host's log.
type LogParams struct {
	// Level is info, warn, error or debug.
	Level   string          `json:"level"`
	Message string          `json:"message"`
	Meta    json.RawMessage `json:"meta,omitempty"`
}

// ExecStartParams starts a command in a runtime. Byte strings are base64 in JSON, since arguments need not be UTF-8.
type ExecStartParams struct {
	LeaseParams
	ExecID string      `json:"execId"`
	Argv   [][]byte    `json:"argv"`
	Cwd    []byte      `json:"cwd,omitempty"`
	Env    []ExecValue `json:"env,omitempty"`
	Stdin  []byte      `json:"stdin,omitempty"`
	// TimeoutMs and GraceMs are as in drivers.ExecRequest; 0 is none, or the driver's own.
	TimeoutMs int64 `json:"timeoutMs,omitempty"`
	GraceMs   int64 `json:"graceMs,omitempty"`
	// Credit is how many bytes of output may be sent before more is allowed by [NotifyExecCredit].
	Credit int64 `json:"credit"`
}

// ExecValue is one variable.
type ExecValue struct {
	Name  []byte `json:"name"`
	Value []byte `json:"value"`
}

// ExecStartResult says that a command runs. A command that did not start is an error with [ErrorData].Stage.
type ExecStartResult struct {
	PID       int    `json:"pid"`
	StartTime uint64 `json:"startTime"`
	BootID    string `json:"bootId"`
}

// ExecKillParams asks for the end of a command.
type ExecKillParams struct {
	ExecID string `json:"execId"`
	Why    string `json:"why"`
}

// ExecCredit allows Bytes more bytes of output.
type ExecCredit struct {
	ExecID string `json:"execId"`
	Bytes  int64  `json:"bytes"`
}

// ExecOutput is a piece of output, in order. The credit counts the bytes of Data.
type ExecOutput struct {
	ExecID string `json:"execId"`
	// Stream is 1 for stdout and 2 for stderr.
	Stream int    `json:"stream"`
	Data   []byte `json:"data,omitempty"`
	// Dropped counts bytes of the stream that are missing at this place, which the worker could not keep.
	Dropped int64 `json:"dropped,omitempty"`
}

// ExecEnd is the end of a command. Result is drivers.ExecResult as JSON.
type ExecEnd struct {
	ExecID string          `json:"execId"`
	Result json.RawMessage `json:"result"`
}

// ListParams asks for the runtimes that carry an installation's id.
type ListParams struct {
	Base
	Installation string `json:"installation"`
}

// ListResult has them.
type ListResult struct {
	Runtimes []ListedRuntime `json:"runtimes"`
}

// ListedRuntime is one.
type ListedRuntime struct {
	RuntimeID       string  `json:"runtimeId"`
	ProviderLeaseID *string `json:"providerLeaseId"`
	LeaseID         string  `json:"leaseId"`
	Epoch           int64   `json:"epoch"`
	// CreatedAt is RFC 3339.
	CreatedAt string `json:"createdAt"`
}

// Error codes of the wire.
const (
	CodeParse                = -32700
	CodeInvalidRequest       = -32600
	CodeMethodNotFound       = -32601
	CodeInvalidParams        = -32602
	CodeInternal             = -32603
	CodeWorkerUnavailable    = -32000
	CodeCapabilityDenied     = -32001
	CodeWorkerError          = -32002
	CodeTimeout              = -32003
	CodeMethodNotImplemented = -32004
	CodeScopeDenied          = -32005
	CodeCrossTenantConfig    = -32006
	CodeUnknown              = -32099
)

// ErrorSchema marks an error's data as [ErrorData].
const ErrorSchema = "tenure/error/v1"

// ErrorData says what a failure left behind and what to do, in the words of package drivers. It is the data of an error of
// a worker that speaks the extension.
type ErrorData struct {
	Schema string `json:"schema"`
	// Outcome is retryable, definite or ambiguous; "" for a command that did not start.
	Outcome     string `json:"outcome,omitempty"`
	Code        string `json:"code,omitempty"`
	Step        string `json:"step,omitempty"`
	Remediation string `json:"remediation,omitempty"`
	// NothingMade says of a retryable failure of an acquire that it made nothing.
	NothingMade bool `json:"nothingMade,omitempty"`
	// Stage says that a command did not start, and where it failed.
	Stage string `json:"stage,omitempty"`
	// Gone says that the runtime does not exist any more.
	Gone bool `json:"gone,omitempty"`
	// Mismatch says that something else has the runtime's name.
	Mismatch bool `json:"mismatch,omitempty"`
	// Unsupported says that the driver does not offer the verb.
	Unsupported bool `json:"unsupported,omitempty"`
	// Problems are fields of a configuration that are at fault.
	Problems []FieldProblem `json:"problems,omitempty"`
}

// FieldProblem is one field at fault.
type FieldProblem struct {
	Field       string `json:"field"`
	Problem     string `json:"problem"`
	Remediation string `json:"remediation,omitempty"`
}

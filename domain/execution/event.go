package execution

import "github.com/tenure-dev/tenure/domain"

// Event is a fact in the life of an execution.
//
//sumtype:decl
type Event interface {
	domain.Event
	executionEvent()
}

// Requested says: a command is to run in a lease.
type Requested struct {
	Company domain.CompanyID `json:"companyId"`
	Lease   domain.LeaseID   `json:"leaseId"`
	Argv    []string         `json:"argv"`
	// Cwd is where it runs; "" is the workspace.
	Cwd string `json:"cwd,omitempty"`
	// Env names its variables; their values are kept beside the log and go with the end.
	Env []domain.EnvName `json:"env,omitempty"`
	// StdinBytes and StdinHash say what its input is; the input itself is kept beside the log and goes with the end.
	StdinBytes int64  `json:"stdinBytes"`
	StdinHash  string `json:"stdinHash,omitempty"`
	// TimeoutMs is how long it may run; 0 is no limit of its own.
	TimeoutMs int64 `json:"timeoutMs"`
	// Node is where the lease's runtime is, if it can be driven there only.
	Node domain.NodeID `json:"nodeId,omitzero"`
}

// Claimed says: a worker is about to start it. From here on it may have run.
type Claimed struct {
	Worker domain.WorkerID `json:"workerId"`
	// Node is where its output will be.
	Node domain.NodeID `json:"nodeId,omitzero"`
}

// Started says: its process is there. The three together name the process also after its number was given away again.
type Started struct {
	PID       int    `json:"pid"`
	StartTime uint64 `json:"startTime"`
	BootID    string `json:"bootId"`
}

// KillRequested says: somebody wants it ended.
type KillRequested struct {
	By  domain.PrincipalID `json:"by"`
	Why string             `json:"why,omitempty"`
}

// Ended says: it runs no more, or never did.
type Ended struct {
	End End `json:"end"`
	// ExitCode is there exactly when it exited.
	ExitCode *int `json:"exitCode,omitempty"`
	// Signal is what ended a signaled one, such as "SIGSEGV".
	Signal string `json:"signal,omitempty"`
	// Why is the reason of a kill or of an unknown end.
	Why string `json:"why,omitempty"`
	// Stage, Code and Message say what went wrong before a start.
	Stage   string `json:"stage,omitempty"`
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
	// Leftovers is how many processes of its tree could not be ended.
	Leftovers int `json:"leftovers,omitempty"`
}

// End is how an execution ended.
type End string

// The ends.
const (
	EndExited   End = "exited"
	EndSignaled End = "signaled"
	EndTimeout  End = "timeout"
	EndKilled   End = "killed"
	// EndStartFailed: it never started.
	EndStartFailed End = "start_failed"
	// EndUnknown: it may have run, and nobody saw how it ended.
	EndUnknown End = "unknown"
)

func (e End) String() string { return string(e) }

// OutputSealed says: nothing is added to its output any more.
type OutputSealed struct {
	State  SealState `json:"state"`
	Stdout Stream    `json:"stdout"`
	Stderr Stream    `json:"stderr"`
	// Dropped is how many bytes were read and not kept; the streams' counts and hashes include them.
	Dropped int64 `json:"dropped,omitempty"`
}

// Stream is the size and the hash of one output stream.
type Stream struct {
	Bytes int64 `json:"bytes"`
	// SHA256 is in hexadecimal; "" when it is not known.
	SHA256 string `json:"sha256,omitempty"`
}

// SealState says how much of the output was kept.
type SealState string

// The states of a sealed output.
const (
	// SealComplete: every byte.
	SealComplete SealState = "complete"
	// SealTruncated: bytes were dropped, as counted.
	SealTruncated SealState = "truncated"
	// SealAbandoned: the command ended and something still held its output open.
	SealAbandoned SealState = "abandoned"
	// SealLost: nobody knows.
	SealLost SealState = "lost"
)

func (s SealState) String() string { return string(s) }

// EmptySHA256 is the hash of no bytes.
const EmptySHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// NoOutput is the seal of a command that never ran.
var NoOutput = OutputSealed{
	State: SealComplete, Stdout: Stream{SHA256: EmptySHA256}, Stderr: Stream{SHA256: EmptySHA256},
}

func (Requested) EventName() string     { return "ExecRequested" }
func (Claimed) EventName() string       { return "ExecClaimed" }
func (Started) EventName() string       { return "ExecStarted" }
func (KillRequested) EventName() string { return "ExecKillRequested" }
func (Ended) EventName() string         { return "ExecEnded" }
func (OutputSealed) EventName() string  { return "ExecOutputSealed" }

func (Requested) executionEvent()     {}
func (Claimed) executionEvent()       {}
func (Started) executionEvent()       {}
func (KillRequested) executionEvent() {}
func (Ended) executionEvent()         {}
func (OutputSealed) executionEvent()  {}

// Codec is the catalog of this part.
var Codec = domain.NewCodec(
	domain.Spec[Requested, Event](),
	domain.Spec[Claimed, Event](),
	domain.Spec[Started, Event](),
	domain.Spec[KillRequested, Event](),
	domain.Spec[Ended, Event](),
	domain.Spec[OutputSealed, Event](),
)

package wire

import (
	"time"

	"github.com/google/uuid"
)

// ExecEnded is the status of an exec that runs no more.
const ExecEnded = "ended"

// The ends of an exec.
const (
	EndExited      = "exited"
	EndSignaled    = "signaled"
	EndTimeout     = "timeout"
	EndKilled      = "killed"
	EndStartFailed = "start_failed"
	EndUnknown     = "unknown"
)

// Exec is one command in a lease. It runs at most once.
type Exec struct {
	ID        uuid.UUID `json:"id"`
	CompanyID uuid.UUID `json:"companyId"`
	LeaseID   uuid.UUID `json:"leaseId"`
	// Status is requested, starting, running or ended.
	Status string   `json:"status"`
	Argv   []string `json:"argv"`
	// Cwd is where it runs; "" is the workspace.
	Cwd string `json:"cwd"`
	// EnvNames names its variables; their values are not kept.
	EnvNames   []string `json:"envNames"`
	StdinBytes int64    `json:"stdinBytes"`
	// TimeoutMs is how long it may run; 0 is no limit of its own.
	TimeoutMs int64      `json:"timeoutMs"`
	CreatedAt time.Time  `json:"createdAt"`
	StartedAt *time.Time `json:"startedAt"`
	EndedAt   *time.Time `json:"endedAt"`
	// PID is the number of its process where it runs; null before the start.
	PID *int `json:"pid"`
	// KillRequested says that somebody asked to end it.
	KillRequested bool `json:"killRequested"`
	// Result is how it ended; null before that.
	Result *ExecResult `json:"result"`
	// Output is the seal of its output; null before the end.
	Output   *Sealed `json:"output"`
	Version  int64   `json:"version"`
	Position int64   `json:"position,omitempty"`
}

// ExecResult is how an exec ended. Only exited has a number: unknown has none.
type ExecResult struct {
	// End is exited, signaled, timeout, killed, start_failed or unknown.
	End      string  `json:"end"`
	ExitCode *int    `json:"exitCode"`
	Signal   *string `json:"signal"`
	// Why is the reason of a kill or of an unknown end.
	Why *string `json:"why"`
	// Stage, Code and Message say what went wrong before a start.
	Stage   *string `json:"stage"`
	Code    *string `json:"code"`
	Message *string `json:"message"`
	// Leftovers is how many processes of its tree could not be ended.
	Leftovers int `json:"leftovers"`
}

// StartExec asks to run a command in an active lease.
type StartExec struct {
	// ID may be chosen by the client.
	ID   *uuid.UUID        `json:"id,omitempty"`
	Argv []string          `json:"argv"`
	Cwd  string            `json:"cwd,omitempty"`
	Env  map[string]string `json:"env,omitempty"`
	// Stdin is text, StdinBase64 any bytes; at most one of them.
	Stdin       string `json:"stdin,omitempty"`
	StdinBase64 []byte `json:"stdinBase64,omitempty"`
	TimeoutMs   int64  `json:"timeoutMs,omitempty"`
}

// KillExec asks to end a command.
type KillExec struct {
	Why string `json:"why,omitempty"`
}

// OutputLine is one line of an exec's output as NDJSON: a piece of it, a gap (Dropped > 0), or the seal, which is the last.
type OutputLine struct {
	// Offset counts the bytes of both streams in the order in which they were read.
	Offset int64 `json:"offset"`
	// Stream is stdout or stderr.
	Stream string    `json:"stream,omitempty"`
	At     time.Time `json:"at,omitzero"`
	Data   []byte    `json:"data,omitempty"`
	// Dropped is how many bytes of the stream are missing here.
	Dropped int64   `json:"dropped,omitempty"`
	Sealed  *Sealed `json:"sealed,omitempty"`
}

// Sealed says how an output ended; nothing is added to it any more.
type Sealed struct {
	// State is complete, truncated, abandoned or lost.
	State  string       `json:"state"`
	Stdout StreamDigest `json:"stdout"`
	Stderr StreamDigest `json:"stderr"`
	// Dropped is how many bytes were read and not kept; the counts and hashes include them.
	Dropped int64 `json:"dropped"`
}

// StreamDigest is the size and the hash of one output stream.
type StreamDigest struct {
	Bytes int64 `json:"bytes"`
	// SHA256 is in hexadecimal; "" when it is not known.
	SHA256 string `json:"sha256"`
}

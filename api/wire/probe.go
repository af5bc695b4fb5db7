package wire

import (
	"encoding/json"
	"time"

	"github.com/google/uuid"
)

// The statuses of a probe.
const (
	ProbeRequested = "requested"
	ProbeRunning   = "running"
	ProbeCompleted = "completed"
)

// ProbeSettings asks whether settings that are not saved would work.
type ProbeSettings struct {
	Driver string `json:"driver"`
	// Config is the driver's own. Secrets in it are used for this probe only.
	Config json.RawMessage `json:"config,omitempty"`
}

// Probe is the question whether an environment would work, and the answer.
type Probe struct {
	ID        uuid.UUID `json:"id"`
	CompanyID uuid.UUID `json:"companyId"`
	// EnvironmentID is the saved one; null for settings that are not saved.
	EnvironmentID *uuid.UUID `json:"environmentId"`
	Driver        string     `json:"driver"`
	Provider      string     `json:"provider"`
	// Status is requested, running or completed.
	Status string `json:"status"`
	// Result is the answer; null until it is completed.
	Result      *ProbeResult `json:"result"`
	CreatedAt   time.Time    `json:"createdAt"`
	CompletedAt *time.Time   `json:"completedAt"`
	Version     int64        `json:"version"`
	Position    int64        `json:"position,omitempty"`
}

// ProbeResult says whether it would work.
type ProbeResult struct {
	OK bool `json:"ok"`
	// Phase is where it failed; null when it did not.
	Phase       *string      `json:"phase"`
	Summary     string       `json:"summary"`
	Diagnostics []Diagnostic `json:"diagnostics"`
	// DriverMs is how long the driver took.
	DriverMs int64 `json:"driverMs"`
}

// Diagnostic is one finding of a probe.
type Diagnostic struct {
	// Severity is info, warning or error.
	Severity    string  `json:"severity"`
	Code        *string `json:"code"`
	Message     string  `json:"message"`
	Remediation *string `json:"remediation"`
}

package wire

import (
	"time"

	"github.com/google/uuid"
)

// The states of a read model.
const (
	ProjectionLive = "live"
	// ProjectionRebuilding: it answers, and a new generation is being made.
	ProjectionRebuilding = "rebuilding"
	// ProjectionBuilding: it does not answer yet.
	ProjectionBuilding = "building"
	// ProjectionStopped: nobody keeps it up to date.
	ProjectionStopped = "stopped"
)

// Projection is how a read model stands.
type Projection struct {
	Name     string `json:"name"`
	Revision int    `json:"revision"`
	// Generation is the table that answers; Previous the one to go back to. 0 for none.
	Generation int64 `json:"generation"`
	Previous   int64 `json:"previous"`
	// State is live, rebuilding, building or stopped.
	State string `json:"state"`
	// Position is how far it got, Head where the log ends, Lag the events between.
	Position int64 `json:"position"`
	Head     int64 `json:"head"`
	Lag      int64 `json:"lag"`
	// Parked is how many streams it left behind because an event of theirs could not be applied.
	Parked int `json:"parked"`
	// Stopped says why it does not go on; null when it does.
	Stopped *string `json:"stopped"`
	// Rebuild is the rebuild under way, or the last one that this server made; null when there was none.
	Rebuild *Rebuild `json:"rebuild"`
}

// The states of a rebuild.
const (
	RebuildRunning = "running"
	RebuildDone    = "done"
	RebuildFailed  = "failed"
)

// Rebuild is how far a read model's new generation is.
type Rebuild struct {
	Name string `json:"name"`
	// State is running, done or failed.
	State string `json:"state"`
	// Position is how far in the log it got, of Target.
	Position int64 `json:"position"`
	Target   int64 `json:"target"`
	// EventsPerSecond and RemainingMs are 0 until they can be told.
	EventsPerSecond float64 `json:"eventsPerSecond"`
	RemainingMs     int64   `json:"remainingMs"`
	// Rows are in the new generation; Differences of them were not as in the one before, at the same position. Both are null
	// until it is done.
	Rows        *int64 `json:"rows"`
	Differences *int64 `json:"differences"`
	// Error is why it failed.
	Error *string `json:"error"`
}

// RebuildStarted is the answer to a request to rebuild.
type RebuildStarted struct {
	// Projections names the read models that are being rebuilt.
	Projections []string `json:"projections"`
}

// ParkedStream is a stream that a read model left behind.
type ParkedStream struct {
	Stream string `json:"stream"`
	// Position, Version and Event are those of the event that could not be applied, Reason is why.
	Position int64  `json:"position"`
	Version  int64  `json:"version"`
	Event    string `json:"event"`
	Reason   string `json:"reason"`
	// Attempts is how often it was tried.
	Attempts int       `json:"attempts"`
	ParkedAt time.Time `json:"parkedAt"`
	// RetryAt is when it is tried again by itself; null for only when asked to.
	RetryAt *time.Time `json:"retryAt"`
	// Behind is how many later events of the stream wait.
	Behind int `json:"behind"`
}

// Worker is one incarnation of a process that drives.
type Worker struct {
	ID         uuid.UUID `json:"id"`
	NodeID     uuid.UUID `json:"nodeId"`
	Hostname   string    `json:"hostname"`
	PID        int       `json:"pid"`
	Version    string    `json:"version"`
	StartedAt  time.Time `json:"startedAt"`
	AliveUntil time.Time `json:"aliveUntil"`
	Alive      bool      `json:"alive"`
	// Role is serve, worker or api; the last one drives nothing.
	Role string `json:"role"`
	// Address is where other processes reach it; null for nowhere.
	Address *string `json:"address"`
	// Draining says that it is about to end and gives away its part of the work.
	Draining bool `json:"draining"`
}

// Health says that this process can serve; one that cannot answers with a problem and the status 503.
type Health struct {
	// Status is ok.
	Status  string `json:"status"`
	Version string `json:"version"`
	// Log is in_force; or forked: then nothing is driven until the log is adopted, and requests wait.
	Log string `json:"log"`
}

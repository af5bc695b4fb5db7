package wire

import (
	"time"

	"github.com/google/uuid"
)

// The states of a node.
const (
	NodeAlive = "alive"
	// NodeDraining: its process is about to end and takes nothing new.
	NodeDraining = "draining"
	// NodeAway: it has no process, for no longer than a restart takes.
	NodeAway = "away"
	// NodeLost: it has no process, and what is bound to it waits.
	NodeLost = "lost"
	// NodeForgotten: it was given up, with all that is on it, and is not back.
	NodeForgotten = "forgotten"
)

// Node is a machine, which is a data directory, that runtimes may be bound to.
type Node struct {
	ID uuid.UUID `json:"id"`
	// State is alive, draining, away, lost or forgotten.
	State string `json:"state"`
	// Hostname is what its last process said; null if nothing is known of that any more.
	Hostname *string `json:"hostname"`
	// Process is the last one; null if nothing is known of it any more.
	Process *NodeProcess `json:"process"`
	// Since is when that process started, LastSeenAt when it last said that it lives.
	Since      *time.Time `json:"since"`
	LastSeenAt *time.Time `json:"lastSeenAt"`
	// Drivers are those whose runtimes it can make, Partitions how many of the 64 parts of the work it has.
	Drivers    []string `json:"drivers"`
	Partitions int      `json:"partitions"`
	// Leases are bound to it and being made or active, Kept keep a runtime there, Releasing are being taken down, Waiting are
	// to be taken down once it is back.
	Leases    int64 `json:"leases"`
	Kept      int64 `json:"kept"`
	Releasing int64 `json:"releasing"`
	Waiting   int64 `json:"waiting"`
	// Forgotten is how it was given up last; null if it never was.
	Forgotten *NodeForgetting `json:"forgotten"`
	Position  int64           `json:"position,omitempty"`
}

// NodeProcess is a node's process.
type NodeProcess struct {
	ID      uuid.UUID `json:"id"`
	Role    string    `json:"role"`
	PID     int       `json:"pid"`
	Version string    `json:"version"`
	Address *string   `json:"address"`
}

// NodeForgetting is how a node was given up. Who did it, the event NodeForgotten says.
type NodeForgetting struct {
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
	// ReturnedAt is when a process of it lived again; null if none did.
	ReturnedAt *time.Time `json:"returnedAt"`
}

// ForgetNode gives a node up, with all that is on it.
type ForgetNode struct {
	Reason string `json:"reason"`
}

package wire

import "github.com/google/uuid"

// The states of the log.
const (
	LogInForce = "in_force"
	// LogForked: the log waits for its adoption, and nothing is driven.
	LogForked = "forked"
)

// Log is the log itself.
type Log struct {
	// Installation is written on every runtime made for this log.
	Installation uuid.UUID `json:"installation"`
	// Epoch is the log's incarnation: no pair of epoch and position ever names two events.
	Epoch int64 `json:"epoch"`
	// State is in_force or forked.
	State string `json:"state"`
	// Position is where the log ends.
	Position int64 `json:"position"`
	// LostAtMost is how many acknowledged events are lost at most, as far as any process remembers.
	LostAtMost int64 `json:"lostAtMost"`
	// Forks are what was found since the last adoption, or before it.
	Forks []LogFork `json:"forks"`
	// Adopted is the last adoption; null while the log waits for one, or had none.
	Adopted *LogAdopted `json:"adopted"`
	Place   LogPlace    `json:"place"`
	// Standbys is how many follow the database, SynchronousStandbys its setting synchronous_standby_names.
	Standbys            int    `json:"standbys"`
	SynchronousStandbys string `json:"synchronousStandbys"`
}

// LogFork is a fork as a process found it.
type LogFork struct {
	// Findings are the signs: lost, timeline, system, database, copied, elsewhere.
	Findings []string `json:"findings"`
	// FromEpoch is the epoch that ended; Head is where the log ended.
	FromEpoch int64 `json:"fromEpoch"`
	Head      int64 `json:"head"`
	// Remembered is the last event that the process remembers of those that are lost, or of all; null if it remembers nothing.
	Remembered *LogMark `json:"remembered"`
	// Kept is up to where the log is known to be what was remembered.
	Kept       int64      `json:"kept"`
	LostAtMost int64      `json:"lostAtMost"`
	Was        LogPlace   `json:"was"`
	Is         LogPlace   `json:"is"`
	NodeID     *uuid.UUID `json:"nodeId"`
}

// LogMark is an event of the log that somebody remembers.
type LogMark struct {
	Epoch    int64  `json:"epoch"`
	Position int64  `json:"position"`
	Hash     string `json:"hash"`
}

// LogPlace is where the log is. What the database does not tell is null.
type LogPlace struct {
	System   *string `json:"system"`
	Timeline *string `json:"timeline"`
	Database *string `json:"database"`
	Birth    *string `json:"birth"`
	Port     *string `json:"port"`
	Address  *string `json:"address"`
}

// LogAdopted is an adoption of the log.
type LogAdopted struct {
	Reason     string `json:"reason"`
	LostAtMost int64  `json:"lostAtMost"`
	// FormerInstallation is null if the log kept its id.
	FormerInstallation *uuid.UUID `json:"formerInstallation"`
}

// AdoptLog takes a log that has forked as it is.
type AdoptLog struct {
	Reason string `json:"reason,omitempty"`
	// Epoch is the one that was shown: another one is not adopted. 0 for whichever it is.
	Epoch int64 `json:"epoch,omitempty"`
	// NewInstallation is for a copy beside the original: it gets an id of its own, and lets go of every lease that it
	// inherited, whose runtimes are the original's.
	NewInstallation bool `json:"newInstallation,omitempty"`
	// Anyway adopts also a log that no process found forked.
	Anyway bool `json:"anyway,omitempty"`
}

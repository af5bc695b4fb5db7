// Package epoch is the record of the log's own life: that it was found to have forked, and that somebody took it as it is.
//
//	in force ──Forked: epoch + 1──► forked, nothing is driven ──Adopted──► in force
//	   │                                  ▲      │ Forked again: somebody remembers more
//	   └──────────────────────────────────┘ ◄────┘
//
// A log has forked when there may be two continuations of it: after a failover to a standby that lacked events, a restore
// from a backup, a clone. Positions would repeat then, with other events. So whoever notices it begins a new epoch before
// anything else is appended, and a pair of epoch and position never names two events. What was lost, and whether another
// copy of the log drives the same runtimes, no process can know; so nothing is driven until a person has adopted the log.
// eventstore/pg notices and appends; docs/adr/0017 has the reasons.
package epoch

import (
	"slices"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
)

// Category is the first part of the name of the log's own stream, of which there is one.
const Category = "epoch"

// ID is that stream's.
var ID = uuid.Nil

// Event is a fact about the log.
//
//sumtype:decl
type Event interface {
	domain.Event
	epochEvent()
}

// Finding is a sign of a fork.
type Finding string

// The findings.
const (
	// FindingLost: an event that a process remembers is not in the log, or another one is in its place.
	FindingLost Finding = "lost"
	// FindingTimeline: the server is on another timeline: a standby was promoted, or a backup recovered.
	FindingTimeline Finding = "timeline"
	// FindingSystem: it is another cluster: a dump was restored.
	FindingSystem Finding = "system"
	// FindingDatabase: it is another database of the cluster: it was copied there.
	FindingDatabase Finding = "database"
	// FindingCopied: the cluster's files are a copy.
	FindingCopied Finding = "copied"
	// FindingElsewhere: the server is at another address, and who found it remembers nothing of the log.
	FindingElsewhere Finding = "elsewhere"
)

func (f Finding) String() string { return string(f) }

// Place is where a log is, as far as its server tells: what a copy of it has otherwise.
type Place struct {
	// System is the cluster's identifier, Timeline the WAL's, Database the database's within the cluster.
	System   string `json:"system,omitempty"`
	Timeline string `json:"timeline,omitempty"`
	Database string `json:"database,omitempty"`
	// Birth is when the cluster's files came to where they are.
	Birth   string `json:"birth,omitempty"`
	Port    string `json:"port,omitempty"`
	Address string `json:"address,omitempty"`
}

// IsZero reports whether nothing is known.
func (p Place) IsZero() bool { return p == Place{} }

// Mark is an event that somebody remembers.
type Mark struct {
	Epoch    int64  `json:"epoch"`
	Position int64  `json:"position"`
	Hash     string `json:"hash"`
}

// Forked says: the log may have two continuations; this one goes on under a new epoch, which begins with this event.
type Forked struct {
	Findings []Finding `json:"findings"`
	// FromEpoch is the epoch that ended. Head is where the log ended.
	FromEpoch int64 `json:"fromEpoch"`
	Head      int64 `json:"head"`
	// Remembered is the last event that who found it remembers; absent if nothing. Kept is the last position up to which the
	// log is known to be what was remembered.
	Remembered *Mark `json:"remembered,omitempty"`
	Kept       int64 `json:"kept"`
	// Was is where the log was, Is where it was found.
	Was Place `json:"was,omitzero"`
	Is  Place `json:"is,omitzero"`
	// Node is whose process found it.
	Node domain.NodeID `json:"nodeId,omitzero"`
}

// LostAtMost is how many events that were acknowledged may be lost, as far as who found it remembers.
func (f Forked) LostAtMost() int64 {
	if f.Remembered == nil {
		return 0
	}
	return max(f.Remembered.Position-f.Kept, 0)
}

// Lost reports whether something that was remembered is lost for certain.
func (f Forked) Lost() bool { return slices.Contains(f.Findings, FindingLost) }

// Adopted says: the log is taken as it is, and its runtimes are driven again.
type Adopted struct {
	Reason string `json:"reason"`
	// LostAtMost is how many events were known to be lost at most.
	LostAtMost int64 `json:"lostAtMost"`
	// Installation is the log's new id, and Former the one before; absent if it keeps it.
	Installation *uuid.UUID `json:"installation,omitempty"`
	Former       *uuid.UUID `json:"formerInstallation,omitempty"`
}

// EventName is the name in the log.
func (Forked) EventName() string { return "LogForked" }

// EventName is the name in the log.
func (Adopted) EventName() string { return "LogAdopted" }

func (Forked) epochEvent()  {}
func (Adopted) epochEvent() {}

// Codec is the catalog of this part.
var Codec = domain.NewCodec(domain.Spec[Forked, Event](), domain.Spec[Adopted, Event]())

// Command is what may be asked of the log's own life: nothing. The store appends to it.
type Command interface{ epochCommand() }

// State is what the events add up to.
type State struct {
	// Forked says that nobody has adopted the log since the last fork.
	Forked bool
	// Forks are the forks since the last adoption, or else those before it. ForkedAt is the position of the first of them.
	Forks    []Forked
	ForkedAt int64
	// LostAtMost is the most of what those who found a fork say, LostTo the highest position that any of them remembers.
	LostAtMost, LostTo int64
	Adopted            *Adopted
}

// Decider only folds.
var Decider = domain.Decider[State, Command, Event]{
	Initial: func() State { return State{} },
	Decide: func(State, Command) ([]Event, error) {
		return nil, domain.Refuse(domain.KindInvalid, "unknown_command", "forks of the log are only recorded")
	},
	Evolve: Evolve,
}

// Evolve is the state after e.
func Evolve(s State, e Event, m domain.Meta) State {
	switch e := e.(type) {
	case Forked:
		if !s.Forked {
			s = State{Forked: true, ForkedAt: m.Position}
		}
		s.Forks = append(slices.Clip(s.Forks), e)
		s.LostAtMost = max(s.LostAtMost, e.LostAtMost())
		if e.Remembered != nil {
			s.LostTo = max(s.LostTo, e.Remembered.Position)
		}
	case Adopted:
		s.Forked, s.Adopted = false, &e
	}
	return s
}

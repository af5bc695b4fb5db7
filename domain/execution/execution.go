// Package execution is the life of one command in a lease.
//
//	            claim             start             end
//	requested ────────► starting ────────► running ────────► ended: exited | signaled | timeout | killed | unknown
//	    │                   │                                  ▲
//	    │                   └──── start failed, worker gone ───┤
//	    └──── killed, or refused: its lease ended ─────────────┘
//
// A command runs at most once. A worker claims it by an event before it starts anything; nobody ever claims it again, so
// that what a lost worker left is ended as unknown and never started a second time. Unknown has no number.
//
// The output is a second axis: its seal comes with the end, in the same append, and says whether all of it was kept.
package execution

import (
	"time"

	"github.com/tenure-dev/tenure/domain"
)

// Category is the first part of the name of an execution's stream.
const Category = "execution"

// Decider is the execution's decider.
var Decider = domain.Decider[State, Command, Event]{
	Initial: func() State { return State{} },
	Decide:  Decide,
	Evolve:  Evolve,
}

// Status is where an execution stands.
type Status string

// The statuses of an execution.
const (
	StatusNone      Status = ""
	StatusRequested Status = "requested"
	// StatusClaimed: a worker has it and may have started it.
	StatusClaimed Status = "starting"
	StatusRunning Status = "running"
	StatusEnded   Status = "ended"
)

func (s Status) String() string { return string(s) }

// State is what the events of an execution add up to.
type State struct {
	Status Status
	// Request is what was asked for.
	Request Requested
	// Worker is who claimed it; zero before that.
	Worker  domain.WorkerID
	Process Started
	// Node is where its output is; zero before it was claimed.
	Node domain.NodeID

	// Killing says that somebody asked to kill it; KillBy and KillWhy are who and why.
	Killing bool
	KillBy  domain.PrincipalID
	KillWhy string

	// Ended and Seal are its end, once Status says so.
	Ended Ended
	Seal  OutputSealed

	RequestedAt time.Time
	StartedAt   time.Time
	EndedAt     time.Time
}

// Evolve is the state after e.
func Evolve(s State, e Event, m domain.Meta) State {
	switch e := e.(type) {
	case Requested:
		s.Status, s.Request, s.RequestedAt = StatusRequested, e, m.At
	case Claimed:
		s.Status, s.Worker, s.Node = StatusClaimed, e.Worker, e.Node
	case Started:
		s.Status, s.Process, s.StartedAt = StatusRunning, e, m.At
	case KillRequested:
		s.Killing, s.KillBy, s.KillWhy = true, e.By, e.Why
	case Ended:
		s.Status, s.Ended, s.EndedAt = StatusEnded, e, m.At
	case OutputSealed:
		s.Seal = e
	}
	return s
}

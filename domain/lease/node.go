package lease

import (
	"time"

	"github.com/tenure-dev/tenure/domain"
)

// A runtime may be bound to one machine, its node, and nobody else can drive it. When that node is lost:
//
//	teardown due ──NodeLost──► pending_cleanup, which waits ──the node is back──► teardown
//	                                                         └──a person gives it up──NodeForgotten──► the lease ends
//	being made ──NodeLost──► failed; what may have been made waits like that
//	to resume a runtime that is kept there ──► failed; the runtime stays kept
//	active ──► goes on until its time is over, then its teardown is due
//
// Waiting is no attempt: no driver is called, nothing counts toward quarantine, and it lasts as long as the node is away.

// NodeLost says: the node of the runtime is lost, and its teardown waits for it.
type NodeLost struct {
	Node domain.NodeID `json:"nodeId"`
}

// NodeForgotten says: a person gave the node up, and so the runtime counts as destroyed. Nobody saw that it is.
type NodeForgotten struct {
	Node domain.NodeID `json:"nodeId"`
}

// EventName is the event's name in the log.
func (NodeLost) EventName() string { return "LeaseNodeLost" }

// EventName is the event's name in the log.
func (NodeForgotten) EventName() string { return "LeaseNodeForgotten" }

func (NodeLost) leaseEvent()      {}
func (NodeForgotten) leaseEvent() {}

// LoseNode says that the node which the runtime is on has had no process for a while; Now is when. Of a lease that needs
// nothing of it now it changes nothing.
type LoseNode struct {
	Node domain.NodeID
	Now  time.Time
}

// ForgetNode ends what a lease has on a node that a person gave up.
type ForgetNode struct{ Node domain.NodeID }

func (LoseNode) leaseCommand()   {}
func (ForgetNode) leaseCommand() {}

// Why a lease waits or failed.
const (
	CodeNodeLost      = "node_lost"
	CodeNodeForgotten = "node_forgotten"
)

// RetentionForgotten is why a kept runtime goes whose node was given up.
const RetentionForgotten RetentionReason = CodeNodeForgotten

// Awaiting reports whether the teardown waits for the node.
func (s State) Awaiting() bool { return s.AwaitsNode && s.NeedsTeardown() }

func loseNode(s State, c LoseNode) ([]Event, error) {
	if err := checkNode(s, c.Node); err != nil {
		return nil, err
	}
	switch {
	case s.NeedsTeardown() && s.AwaitsNode:
		return nil, nil
	case s.NeedsTeardown():
		return append(s.abandoned(CodeNodeLost), NodeLost{Node: c.Node}), nil
	case s.Status() == StatusGranted, s.Status() == StatusProvisioning:
		return s.failedByNode(c), nil
	}
	return nil, nil
}

// failedByNode ends a lease whose runtime cannot be made, or resumed, where it is bound to.
func (s State) failedByNode(c LoseNode) []Event {
	failed := Failed{Code: CodeNodeLost, Message: nodeLostMessage(c.Node), CleanupPending: s.CleanupNeeded}
	events := s.brokenOff(failed.Code, failed.Message)
	switch {
	case s.Resuming:
		until := c.Now.Add(s.RetainFor)
		failed.KeptUntil = &until
	case s.CleanupNeeded:
		return append(events, failed, NodeLost{Node: c.Node})
	}
	return append(events, failed)
}

func forgetNode(s State, c ForgetNode) ([]Event, error) {
	if err := checkNode(s, c.Node); err != nil {
		return nil, err
	}
	forgotten := NodeForgotten(c)
	failed := Failed{Code: CodeNodeForgotten, Message: "the node " + c.Node.String() + " was given up, with all that is on it"}
	switch {
	case s.Over():
		return nil, nil
	case s.Kept:
		return []Event{RetentionEnded{Reason: RetentionForgotten}, forgotten, CleanupCompleted{}}, nil
	case s.NeedsTeardown() && s.End != StatusNone:
		return append(s.abandoned(failed.Code), forgotten, CleanupCompleted{}), nil
	case s.NeedsTeardown():
		return append(s.abandoned(failed.Code), forgotten, s.ending()), nil
	case s.Status() == StatusProvisioning:
		return append(s.brokenOff(failed.Code, failed.Message), forgotten, failed), nil
	case s.Status() == StatusActive:
		return []Event{forgotten, failed}, nil
	}
	return nil, nil // what it was to resume is another lease's matter still
}

// checkNode refuses what is said of a node that the runtime is not on.
func checkNode(s State, node domain.NodeID) error {
	if node.IsZero() || s.Node != node {
		return stale("the lease has nothing on node %s", node)
	}
	return nil
}

// checkPlace refuses whoever cannot drive the runtime, because it is on another node.
func checkPlace(s State, node domain.NodeID) error {
	if !s.Node.IsZero() && s.Node != node {
		return stale("the runtime is on node %s", s.Node)
	}
	return nil
}

// abandoned is the end of an open attempt of a lease that is to be taken down.
func (s State) abandoned(code string) []Event {
	if !s.Attempting {
		return nil
	}
	return []Event{ProvisioningAbandoned{Attempt: s.Attempt, Code: code}}
}

// brokenOff is the end of an open attempt, of which nobody knows what it made.
func (s State) brokenOff(code, message string) []Event {
	if !s.Attempting {
		return nil
	}
	return []Event{ProvisioningFailed{Attempt: s.Attempt, Kind: FailureAmbiguous, Code: code, Message: message}}
}

func nodeLostMessage(node domain.NodeID) string {
	return "the runtime can be driven on node " + node.String() + " only, and no process of that node lives; " +
		"start it again, or give it up with all that is on it: tenure node forget"
}

// awaitsNode is the state of a lease whose teardown waits.
func (s State) awaitsNode(e NodeLost) State {
	s.AwaitsNode, s.TearingDown, s.TeardownFailed, s.TeardownRetryAt = true, false, true, time.Time{}
	s.TeardownCode, s.TeardownMessage = CodeNodeLost, nodeLostMessage(e.Node)
	return s
}

package supervisor

import (
	"context"
	"slices"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/node"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
)

// What is bound to a node that has no process any more is nobody's to drive: its absence on another machine says nothing.
// The owner of the partition only writes down how it stands, and calls no driver:
//
//	away (a restart takes no longer than the grace) ──► nothing happens
//	lost ──► teardowns wait, what was to be made or resumed there fails ([lease.LoseNode])
//	forgotten, by a person ──► what is there counts as destroyed ([lease.ForgetNode])
//
// A node that was forgotten and comes back says so before it drives, and destroys what was forgotten: the reaper finds it.

// whereabouts is how a node stands.
type whereabouts int

const (
	nodeAlive whereabouts = iota
	nodeAway
	nodeLost
	nodeForgotten
)

// whereIs says how a node stands. One that seems dead is looked at afresh: it may just have come back.
func (s *Supervisor) whereIs(ctx context.Context, id domain.NodeID) (whereabouts, error) {
	lives := func(list []eventstore.Process) bool {
		return slices.ContainsFunc(list, func(p eventstore.Process) bool { return p.Node == id && p.Alive })
	}
	if id == s.deps.Process.Node || lives(s.standing.Load().processes) {
		return nodeAlive, nil
	}
	list, err := s.everyone(ctx)
	if err != nil || lives(list) {
		return nodeAlive, err
	}
	said, err := s.deps.Commands.KnownNode(ctx, id)
	if err != nil {
		return nodeAlive, err
	}
	now := s.now()
	switch {
	case said.Forgotten:
		return nodeForgotten, nil
	case eventstore.NodeLost(list, id, now, s.opts.NodeGrace):
		return nodeLost, nil
	}
	return nodeAway, nil
}

// matterOf is what a lease is about, as far as it decides who acts on it.
func (s *Supervisor) matterOf(ctx context.Context, id domain.LeaseID, l lease.State) (matter, error) {
	m := matter{of: id.UUID, node: l.Node, target: target(l)}
	switch l.Status() {
	case lease.StatusActive:
		return matter{of: id.UUID}, nil // its time is over whether anybody can drive it or not
	case lease.StatusGranted:
		// It has nothing yet where the runtime is kept that came with its slot. Whether it may have another one, the claim finds out.
		if l.Node.IsZero() {
			return m, nil
		}
		where, err := s.whereIs(ctx, l.Node)
		if where != nodeAlive && where != nodeAway {
			m.node = domain.NodeID{}
		}
		return m, err
	case lease.StatusNone, lease.StatusRequested, lease.StatusProvisioning, lease.StatusReleasing, lease.StatusPendingCleanup,
		lease.StatusReleased, lease.StatusExpired, lease.StatusFailed, lease.StatusRetained, lease.StatusCanceled:
	}
	return m, nil
}

// elsewhere does for a lease on a node without a process what can be done without it. done says that there is nothing else to
// do for now.
func (s *Supervisor) elsewhere(
	ctx context.Context, id domain.LeaseID, l lease.State, right *eventstore.Ownership, cause uuid.UUID,
) (done bool, err error) {
	if l.Status() == lease.StatusGranted {
		return false, nil // it has nothing there yet
	}
	where, err := s.whereIs(ctx, l.Node)
	if err != nil {
		return true, err
	}
	switch where {
	case nodeForgotten:
		_, err = s.deps.Commands.ForgetRuntime(ctx, s.as(right, cause), id, l.Node)
		return true, err
	case nodeAlive, nodeAway:
		return l.Status() != lease.StatusActive, nil // it came back this moment
	case nodeLost:
	}
	if l.NeedsTeardown() && !l.AwaitsNode || l.Status() == lease.StatusProvisioning {
		changed, err := s.deps.Commands.LoseNode(ctx, s.as(right, cause), id, l.Node)
		if changed.Changed {
			s.log.Warn("a lease waits for a node that is lost", "lease", id, "node", l.Node, "hostname", s.hostOf(l.Node))
		}
		return true, err
	}
	return l.NeedsTeardown(), nil
}

// hostOf is what the last process of a node said of its machine.
func (s *Supervisor) hostOf(id domain.NodeID) string {
	for _, p := range s.standing.Load().processes {
		if p.Node == id {
			return p.Hostname
		}
	}
	return ""
}

// formerElsewhere deals with a lease whose slot came with a runtime that is kept on another node: it is asked of nobody else.
// While that node is away it waits; once it is lost the lease fails, and the runtime stays kept.
func (s *Supervisor) formerElsewhere(ctx context.Context, id domain.LeaseID, on domain.NodeID, right *eventstore.Ownership, cause uuid.UUID) error {
	where, err := s.whereIs(ctx, on)
	if err != nil {
		return err
	}
	if where == nodeLost {
		_, err := s.deps.Commands.LoseNode(ctx, s.as(right, cause), id, on)
		return err
	}
	s.later(commands.Leases.Stream(id.UUID), cause, s.now().Add(formerLook))
	return nil
}

// errNodeLost is why a command never starts whose lease is on a lost node.
func errNodeLost(id domain.NodeID) error {
	return &drivers.StartError{
		Stage: "node", Code: lease.CodeNodeLost, Err: &lostNode{id},
		Remediation: "start the node's process again, or take another lease; tenure node list shows the nodes",
	}
}

type lostNode struct{ id domain.NodeID }

func (e *lostNode) Error() string {
	return "no process lives of node " + e.id.String() + ", which the runtime is on"
}

// comeBack says that this node is back, if it was forgotten, and has the reaper look for what was forgotten. It is called
// before anything is driven, and with each sweep, since a process that was only cut off may have been forgotten meanwhile.
func (s *Supervisor) comeBack(ctx context.Context) error {
	said, err := s.deps.Commands.KnownNode(ctx, s.deps.Process.Node)
	if err != nil || !said.Forgotten {
		return err
	}
	_, err = s.deps.Commands.ReturnNode(ctx, s.me(uuid.Nil), s.deps.Process.Node, s.deps.Process.ID)
	if err == nil {
		s.log.Warn("this node was given up and is back; what is left of its runtimes is destroyed", "reason", said.Reason, "forgotten_at", said.ForgottenAt)
		s.lookBack.Store(true)
	}
	return err
}

// isForgetting reports whether an event says that a node was given up.
func isForgetting(r eventstore.Recorded) bool { return r.Name == node.Forgotten{}.EventName() }

// forgottenHere adds the places where something may be left that was given up with this node. Leases that are over point to
// them and nothing else does.
func (s *Supervisor) forgottenHere(ctx context.Context, add func(Place) string) error {
	if !s.lookBack.Load() {
		return nil
	}
	ids, err := s.deps.Estate.Forgotten(ctx, s.deps.Process.Node)
	if err != nil {
		return err
	}
	for _, id := range ids {
		l, err := s.deps.Commands.KnownLease(ctx, id)
		if err != nil {
			return err
		}
		add(placeOf(id, l))
	}
	// They are remembered from now on, longer than what was given up takes to go.
	s.lookBack.Store(false)
	return nil
}

// forgetLeak takes a leak off the list that is on a node which was given up.
func (s *Supervisor) forgetLeak(ctx context.Context, found Leak) (given bool, err error) {
	on := found.Found.Node
	if on.IsZero() || on == s.deps.Process.Node {
		return false, nil
	}
	said, err := s.deps.Commands.KnownNode(ctx, on)
	if err != nil || !said.Forgotten {
		return false, err
	}
	if _, err := s.deps.Commands.ForgetLeak(ctx, s.me(uuid.Nil), found.ID, on); err != nil && !refused(err) {
		s.log.Warn("a leak on a node that was given up could not be cleared", "leak", found.ID, "node", on, "error", err)
	}
	return true, nil
}

package api

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/node"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/projections/deadlines"
	"github.com/tenure-dev/tenure/projections/nodes"
)

// nodesNow are the nodes: what the liveness rows know, what has something bound to it, and what people said.
type nodesNow struct {
	rows       []eventstore.Process
	on         map[domain.NodeID]deadlines.OnNode
	said       map[domain.NodeID]node.State
	partitions map[domain.WorkerID]int
	now        time.Time
	grace      time.Duration
	position   int64
}

func (s *Server) nodesNow(ctx context.Context) (*nodesNow, error) {
	n := &nodesNow{
		on: map[domain.NodeID]deadlines.OnNode{}, said: map[domain.NodeID]node.State{}, partitions: map[domain.WorkerID]int{},
		now: s.deps.Commands.Ledger().Now(), grace: cmp.Or(s.deps.NodeGrace, eventstore.DefaultNodeGrace),
	}
	var err error
	if n.rows, err = s.deps.Processes.List(ctx); err != nil {
		return nil, err
	}
	counts, of, err := deadlines.ByNode(ctx, s.deps.DB)
	if err != nil {
		return nil, err
	}
	for _, c := range counts {
		n.on[c.Node] = c
	}
	said, to, err := nodes.All(ctx, s.deps.DB)
	if err != nil {
		return nil, err
	}
	for _, r := range said {
		n.said[r.Data.ID] = r.Data.State
	}
	n.position = min(of, to)
	parts, err := s.deps.Partitions.Partitions(ctx)
	for _, p := range parts {
		n.partitions[p.Owner]++
	}
	return n, err
}

// ids are the nodes that anything is known of, the oldest process first, then those without one. A node that has nothing bound
// to it and whose process ended in order is no machine that anybody looks for.
func (n *nodesNow) ids() (ids []domain.NodeID) {
	add := func(id domain.NodeID) {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	for _, p := range n.rows {
		if _, bound := n.on[p.Node]; bound || !p.Left {
			add(p.Node)
		}
	}
	var others []domain.NodeID
	for id := range n.on {
		others = append(others, id)
	}
	for id := range n.said {
		others = append(others, id)
	}
	slices.SortFunc(others, func(a, b domain.NodeID) int { return cmp.Compare(a.String(), b.String()) })
	for _, id := range others {
		add(id)
	}
	return ids
}

func (n *nodesNow) known(id domain.NodeID) bool {
	_, bound := n.on[id]
	_, said := n.said[id]
	return bound || said || n.process(id) != nil
}

func (n *nodesNow) process(id domain.NodeID) *eventstore.Process {
	for i := range n.rows {
		if n.rows[i].Node == id {
			return &n.rows[i]
		}
	}
	return nil
}

func (n *nodesNow) state(id domain.NodeID) string {
	p := n.process(id)
	switch {
	case p != nil && p.Alive && p.Draining:
		return wire.NodeDraining
	case p != nil && p.Alive:
		return wire.NodeAlive
	case n.said[id].Forgotten:
		return wire.NodeForgotten
	case eventstore.NodeLost(n.rows, id, n.now, n.grace):
		return wire.NodeLost
	}
	return wire.NodeAway
}

func (n *nodesNow) show(id domain.NodeID) wire.Node {
	on, said := n.on[id], n.said[id]
	out := wire.Node{
		ID: id.UUID, State: n.state(id), Hostname: textOrNull(said.Hostname), Drivers: []string{},
		Leases: on.Live, Kept: on.Kept, Releasing: on.Cleaning, Waiting: on.Waiting,
	}
	if p := n.process(id); p != nil {
		out.Hostname, out.Since, out.LastSeenAt = textOrNull(p.Hostname), timeOrNull(p.StartedAt), timeOrNull(p.SeenAt)
		out.Process = &wire.NodeProcess{ID: p.ID.UUID, Role: p.Role.String(), PID: p.PID, Version: p.Version, Address: textOrNull(p.Address)}
		out.Drivers = append(out.Drivers, p.Drivers()...)
		out.Partitions = n.partitions[p.ID]
	}
	if !said.ForgottenAt.IsZero() {
		out.Forgotten = &wire.NodeForgetting{At: said.ForgottenAt.UTC(), Reason: said.Reason, ReturnedAt: timeOrNull(said.ReturnedAt)}
	}
	return out
}

func (s *Server) listNodes(c *call) error {
	if err := c.only("minPosition"); err != nil {
		return err
	}
	for _, model := range []string{nodes.Model.Name, deadlines.Model.Name} {
		if err := c.minPosition(model); err != nil {
			return err
		}
	}
	now, err := s.nodesNow(c.ctx())
	if err != nil {
		return err
	}
	out := wire.List[wire.Node]{Items: []wire.Node{}, Position: now.position}
	for _, id := range now.ids() {
		out.Items = append(out.Items, now.show(id))
	}
	return c.answer(http.StatusOK, out)
}

// forgetNode gives up a node that has no process.
func (s *Server) forgetNode(c *call) error {
	if err := c.pathID("nodeId"); err != nil {
		return err
	}
	var in wire.ForgetNode
	if err := c.decode(&in, false); err != nil {
		return err
	}
	by, err := c.caller(c.owner, c.id)
	if err != nil {
		return err
	}
	id := domain.NodeID{UUID: c.id}
	now, err := s.nodesNow(c.ctx())
	if err != nil {
		return err
	}
	if !now.known(id) {
		return domain.NotFound("node")
	}
	p := now.process(id)
	if p != nil && p.Alive && !s.repeats(c.ctx(), by) {
		return domain.Refuse(domain.KindConflict, "node_alive", "a process of the node lives on %s", p.Hostname).
			Mend("what is bound to it, it takes down itself; to take it out of use, end its process: tenure worker drain on that machine, or stop the server")
	}
	forgotten := node.Forgotten{Reason: in.Reason}
	if p != nil {
		forgotten.Hostname = p.Hostname
	}
	s.deps.Logger.Warn("a node is to be given up", "request_id", c.request, "key_id", c.principal.Key.String(), "node", id, "reason", in.Reason)
	o, err := s.deps.Commands.ForgetNode(c.ctx(), by, id, forgotten)
	if o, err = c.done(by, o, err); err != nil {
		return err
	}
	if now.said[id], err = s.deps.Commands.Node(c.ctx(), id); err != nil {
		return err
	}
	out := now.show(id)
	out.Position = o.Position
	return c.answer(http.StatusOK, out)
}

// repeats reports whether a command was accepted before.
func (s *Server) repeats(ctx context.Context, by commands.Caller) bool {
	if by.Command == nil {
		return false
	}
	_, err := s.deps.Commands.Ledger().Store().FindCommand(ctx, *by.Command)
	return err == nil
}

// errRuntimeAway says that no process lives of the node that a runtime is on.
var errRuntimeAway = errors.New("the node of the runtime is away")

// reachable refuses a lease whose runtime is on a node without a process: nobody could do anything in it now.
func (s *Server) reachable(ctx context.Context, by commands.Caller, id uuid.UUID) error {
	l, err := s.deps.Commands.KnownLease(ctx, domain.LeaseID{UUID: id})
	if err != nil || l.Node.IsZero() || l.Node == s.deps.Node || l.Status() != lease.StatusActive {
		return err
	}
	alive, err := s.living.has(ctx, s.deps.Processes, l.Node)
	if err != nil || alive || s.repeats(ctx, by) {
		return err
	}
	return errRuntimeAway
}

// living remembers for a moment which nodes live, so that not each command in a lease asks.
type living struct {
	mu    sync.Mutex
	asked time.Time
	nodes map[domain.NodeID]bool
}

// livingFor is how long a node is taken for alive without a look. One that seems dead is looked at each time.
const livingFor = time.Second

func (l *living) has(ctx context.Context, of Processes, id domain.NodeID) (bool, error) {
	l.mu.Lock()
	alive := l.nodes[id] && time.Since(l.asked) < livingFor
	l.mu.Unlock()
	if alive {
		return true, nil
	}
	asked := time.Now()
	list, err := of.List(ctx)
	if err != nil {
		return false, err
	}
	seen := map[domain.NodeID]bool{}
	for _, p := range list {
		if p.Alive && p.Role != eventstore.RoleAPI {
			seen[p.Node] = true
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked, l.nodes = asked, seen
	return seen[id], nil
}

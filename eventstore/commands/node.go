package commands

import (
	"context"
	"errors"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/leak"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/node"
	"github.com/tenure-dev/tenure/domain/runtime"
	"github.com/tenure-dev/tenure/eventstore"
)

// What becomes of leases whose runtimes are bound to a node that is lost. See domain/lease/node.go and domain/node.

// Nodes are the streams of nodes.
var Nodes = &eventstore.Kind[node.State, node.Command, node.Event]{Category: node.Category, Decider: node.Decider, Codec: node.Codec}

// errFormerAway says that the kept runtime which a lease is to resume is on another node than the worker's.
var errFormerAway = domain.Refuse(domain.KindStale, "former_runtime_elsewhere", "the runtime that was kept in this slot is on another node")

// FormerAway reports whether a claim was refused because the kept runtime that it would resume is on another node.
func FormerAway(err error) bool {
	r, ok := errors.AsType[*domain.Refusal](err)
	return ok && r.Code == errFormerAway.Code
}

// ForgetNode gives a node up. Forgetting again changes nothing.
func (c *Commands) ForgetNode(ctx context.Context, by Caller, id domain.NodeID, forgotten node.Forgotten) (eventstore.Outcome, error) {
	return c.onNode(ctx, by, id, node.Forget{Forgotten: forgotten})
}

// ReturnNode says that a process of a node lives. It changes something only if the node was given up.
func (c *Commands) ReturnNode(ctx context.Context, by Caller, id domain.NodeID, worker domain.WorkerID) (eventstore.Outcome, error) {
	return c.onNode(ctx, by, id, node.Return{Worker: worker})
}

func (c *Commands) onNode(ctx context.Context, by Caller, id domain.NodeID, cmd node.Command) (eventstore.Outcome, error) {
	return eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		_, err := eventstore.Act(ctx, w, Nodes, id.UUID, cmd)
		return err
	})
}

// Node returns what was said of a node, as it is in the log now.
func (c *Commands) Node(ctx context.Context, id domain.NodeID) (node.State, error) {
	n, err := eventstore.Load(ctx, c.ledger, Nodes, id.UUID)
	return n.State, err
}

// KnownNode returns what was said of a node as far as this process knows; see [eventstore.Recall].
func (c *Commands) KnownNode(ctx context.Context, id domain.NodeID) (node.State, error) {
	n, err := eventstore.Recall(ctx, c.ledger, Nodes, id.UUID)
	return n.State, err
}

// LoseNode says that the node which the runtime of a lease is on has been without a process for a while. A teardown waits
// from then on, and what was to be made or resumed there fails. A lease that got the slot of a runtime which is not kept any
// more can have another one, and is left alone.
func (c *Commands) LoseNode(ctx context.Context, by Caller, id domain.LeaseID, lost domain.NodeID) (eventstore.Outcome, error) {
	return eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		l, err := eventstore.View(ctx, w, Leases, id.UUID)
		if err != nil {
			return err
		}
		if l.Status() == lease.StatusGranted {
			former, err := eventstore.View(ctx, w, Leases, l.From.UUID)
			if err != nil || !former.Kept {
				return err
			}
		}
		_, err = actOnLease(ctx, w, id, lease.LoseNode{Node: lost, Now: w.Now()})
		return err
	})
}

// ForgetRuntime ends what a lease has on a node that was given up: the runtime counts as destroyed. It is refused once a
// process of the node lives again.
func (c *Commands) ForgetRuntime(ctx context.Context, by Caller, id domain.LeaseID, forgotten domain.NodeID) (eventstore.Outcome, error) {
	return eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		if err := needForgotten(ctx, w, forgotten); err != nil {
			return err
		}
		l, err := eventstore.View(ctx, w, Leases, id.UUID)
		if err != nil || l.Over() || l.Status() == lease.StatusGranted {
			return err
		}
		w.Company(l.Company)
		if err := endRuntime(ctx, w, l.Runtime, id, lease.CodeNodeForgotten, runtime.ProofForgotten); err != nil {
			return err
		}
		if _, err := actOnLease(ctx, w, id, lease.ForgetNode{Node: forgotten}); err != nil || !l.Listed {
			return err
		}
		return clearLeak(ctx, w, leak.OfRuntime(l.Runtime), leak.ProofForgotten)
	})
}

// ForgetLeak takes what is listed as left on a node off the list, once that node was given up. It is refused once a process of
// the node lives again.
func (c *Commands) ForgetLeak(ctx context.Context, by Caller, id domain.LeakID, forgotten domain.NodeID) (eventstore.Outcome, error) {
	return eventstore.Execute(ctx, c.ledger, by.options(), func(ctx context.Context, w *eventstore.Work) error {
		if err := needForgotten(ctx, w, forgotten); err != nil {
			return err
		}
		s, err := eventstore.View(ctx, w, Leaks, id.UUID)
		if err != nil || s.Found.Node != forgotten {
			return err
		}
		return settleLeak(ctx, w, id, s, leak.ProofForgotten)
	})
}

func needForgotten(ctx context.Context, w *eventstore.Work, id domain.NodeID) error {
	n, err := eventstore.View(ctx, w, Nodes, id.UUID)
	if err == nil && !n.Forgotten {
		err = domain.Refuse(domain.KindStale, "node_not_forgotten", "the node is not given up, or is back")
	}
	return err
}

// Package nodes is the read model of what people say of nodes: which of them are given up.
package nodes

import (
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/node"
	"github.com/tenure-dev/tenure/projections"
)

// Node is what was said of a node.
type Node struct {
	ID domain.NodeID
	node.State
}

// Row is a node and its place in the log.
type Row = projections.Row[Node]

// Model is the read model.
var Model = &projections.Definition[Node]{
	Name: "nodes", Revision: 1,
	Categories: []string{node.Category},
	Columns: []projections.Column[Node]{
		{Name: "forgotten", Type: "text", Of: forgotten},
	},
	Indexes: []string{"(created) WHERE forgotten IS NOT NULL"},
	Apply:   apply,
}

// forgotten is yes, or absent.
func forgotten(n *Node) any {
	if !n.Forgotten {
		return nil
	}
	return "yes"
}

func apply(n *Node, e *projections.Event) (bool, error) {
	var err error
	if n.ID, err = projections.IDOf[domain.NodeID](e); err != nil {
		return false, err
	}
	return true, projections.Take(&n.State, e, node.Codec, node.Evolve)
}

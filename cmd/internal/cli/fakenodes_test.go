package cli_test

import (
	"net/http"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/api/wire"
)

// loseNode adds a node that lives and one that is lost, with what waits for it. The release of a lease with the message "lose
// the node" does it.
func (f *fake) loseNode() {
	host, at := "build-7", f.now
	f.nodes = append(f.nodes, &wire.Node{ID: f.newID(), State: wire.NodeAlive, Drivers: []string{"local"}, Partitions: 64, Leases: 3}, &wire.Node{
		ID: f.newID(), State: wire.NodeLost, Hostname: &host, Since: &at, LastSeenAt: &at, Drivers: []string{"local"}, Leases: 1, Waiting: 2,
		Process: &wire.NodeProcess{ID: f.newID(), Role: "worker", PID: 7, Version: "test"},
	})
}

func (f *fake) listNodes(*http.Request) (int, any) {
	return http.StatusOK, wire.List[*wire.Node]{Items: append([]*wire.Node{}, f.nodes...), Position: f.position}
}

func (f *fake) forgetNode(r *http.Request) (int, any) {
	n := find(f.nodes, r, func(n *wire.Node) uuid.UUID { return n.ID })
	switch {
	case n == nil:
		return notFound("node")
	case n.State == wire.NodeAlive:
		return problem(http.StatusConflict, "node_alive", "a process of the node lives on build-7")
	}
	f.change()
	n.State, n.Forgotten = wire.NodeForgotten, &wire.NodeForgetting{At: f.now, Reason: decode[wire.ForgetNode](r).Reason}
	n.Leases, n.Waiting = 0, 0
	return http.StatusOK, n
}

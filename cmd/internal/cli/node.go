package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenure-dev/tenure/api/wire"
)

func (r *root) nodeGroup() *cobra.Command {
	return r.group("node", "Nodes are the machines that some runtimes are bound to",
		[2]string{"tenure node list", "tenure node forget 01890a5d-ac96-774b-bcce-b302099a8057 --reason 'the machine burned'"},
		r.nodeList(), r.nodeForget())
}

var nodeView = view[wire.Node]{
	name: func(n wire.Node) string { return n.ID.String() },
	columns: []column[wire.Node]{
		{title: "ID", value: func(n wire.Node, _ cell) string { return n.ID.String() }},
		{title: "HOST", value: func(n wire.Node, _ cell) string { return text(n.Hostname) }},
		{title: "STATE", value: func(n wire.Node, _ cell) string { return n.State }},
		{title: "SINCE", value: func(n wire.Node, how cell) string { return how.timeOf(n.Since) }},
		{title: "LAST SEEN", value: func(n wire.Node, how cell) string { return how.timeOf(n.LastSeenAt) }},
		{title: "PARTITIONS", value: func(n wire.Node, _ cell) string { return number(n.Partitions) }},
		{title: "LEASES", value: func(n wire.Node, _ cell) string { return number(n.Leases) }},
		{title: "KEPT", value: func(n wire.Node, _ cell) string { return number(n.Kept) }},
		{title: "WAITING", value: func(n wire.Node, _ cell) string { return number(n.Waiting) }},
		{title: "RELEASING", wide: true, value: func(n wire.Node, _ cell) string { return number(n.Releasing) }},
		{title: "DRIVERS", wide: true, value: func(n wire.Node, _ cell) string { return strings.Join(n.Drivers, ",") }},
		{title: "PROCESS", wide: true, value: func(n wire.Node, _ cell) string {
			return maybe(n.Process, func(p *wire.NodeProcess) string { return fmt.Sprintf("%s %s pid %d", p.Role, p.ID, p.PID) })
		}},
		{title: "FORGOTTEN", wide: true, value: func(n wire.Node, how cell) string {
			return maybe(n.Forgotten, func(f *wire.NodeForgetting) string { return how.time(f.At) })
		}},
		{title: "REASON", wide: true, value: func(n wire.Node, _ cell) string {
			return maybe(n.Forgotten, func(f *wire.NodeForgetting) string { return f.Reason })
		}},
	},
}

func (r *root) nodeList() *cobra.Command {
	return r.verb(verb{
		use:   "list",
		short: "List the machines that runtimes may be bound to, and what is on them",
		long: "States: alive; draining, about to end; away, without a process for no longer than a restart takes; lost, and what is to be\n" +
			"taken down there waits (WAITING) until it is back; forgotten, given up. LEASES are bound to the node and being made or\n" +
			"active, KEPT keep a runtime there for the next lease. API servers are listed too, with nothing on them.",
		examples: [2]string{"tenure node list", "tenure node list -o wide"},
		exits:    exitsOfCalls,
		run: func(ctx context.Context, _ []string) error {
			c, err := r.api(ctx)
			if err != nil {
				return err
			}
			nodes, err := all(ctx, c.Nodes)
			if err != nil {
				return err
			}
			return nodeView.list(r, nodes)
		},
	})
}

func (r *root) nodeForget() *cobra.Command {
	var in wire.ForgetNode
	cmd := r.verb(verb{
		use:   "forget NODE",
		short: "Give up a node that will not come back, with all that is on it",
		long: "Its leases end, and their runtimes count as destroyed by your word: nobody looks. Runtimes that are kept there are lost, and\n" +
			"what is in them. A node that is only away needs no forgetting: what waits for it goes on when it is back. If it comes back\n" +
			"after all, it destroys what was forgotten and serves again. One that is alive is refused. What is given up is shown first.",
		examples: [2]string{
			"tenure node forget 01890a5d-ac96-774b-bcce-b302099a8057 --reason 'the machine burned'",
			"tenure node forget 01890a5d-ac96-774b-bcce-b302099a8057 --reason 'instance terminated' -o json",
		},
		exits: exitsOfCalls,
		run: func(ctx context.Context, args []string) error {
			id, err := parseID("NODE", args[0])
			if err != nil {
				return err
			}
			if err := needReason(in.Reason); err != nil {
				return err
			}
			c, err := r.api(ctx)
			if err != nil {
				return err
			}
			nodes, err := all(ctx, c.Nodes)
			if err != nil {
				return err
			}
			for _, n := range nodes {
				if n.ID == id && n.State != wire.NodeForgotten {
					fmt.Fprintf(r.Stderr, "giving up node %s (%s, %s): %d leases, %d kept runtimes, %d cleanups that wait\n",
						n.ID, text(n.Hostname), n.State, n.Leases, n.Kept, n.Waiting+n.Releasing)
				}
			}
			n, err := c.ForgetNode(ctx, id, in)
			if err != nil {
				return err
			}
			return nodeView.show(r, n)
		},
	})
	cmd.Flags().StringVar(&in.Reason, "reason", "", "why, as `text` that goes into the history")
	return cmd
}

// nodes says whether anything waits for a node that is lost.
func (d *examination) nodes(ctx context.Context) {
	nodes, err := all(ctx, d.c.Nodes)
	if err != nil {
		d.trouble("nodes", err)
		return
	}
	lost := false
	for _, n := range nodes {
		if bound := n.Waiting + n.Releasing + n.Leases + n.Kept; n.State == wire.NodeLost && bound > 0 {
			lost = true
			d.say("node "+n.ID.String(), findWarn, "start its process again; if it will never be back: tenure node forget "+n.ID.String()+" --reason TEXT",
				"it is lost (%s): %d cleanups wait for it, %d leases and %d kept runtimes are bound to it",
				orElse(text(n.Hostname), "host unknown"), n.Waiting+n.Releasing, n.Leases, n.Kept)
		}
	}
	if !lost {
		d.say("nodes", findOK, "", "nothing waits for a node that is lost")
	}
}

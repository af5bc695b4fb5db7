package cli

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenure-dev/tenure/api/wire"
)

func (r *root) leaseExplain() *cobra.Command {
	return r.verb(verb{
		use:   "explain LEASE",
		short: "Say why a lease is where it is",
		long: "Of one that waits for a slot: its place in the order of grants, who is ahead and by which rule, who holds the slots, what\n" +
			"the request needs and whether it is so, and the wait to expect by how fast slots were freed lately. Of any other: which\n" +
			"rule decided its grant, how long it waited, and what is being done for it.",
		examples: [2]string{
			"tenure lease explain 01890a5d-ac96-774b-bcce-b302099a8057",
			"tenure lease explain 01890a5d-ac96-774b-bcce-b302099a8057 -o json",
		},
		exits: exitsOfCalls,
		run: func(ctx context.Context, args []string) error {
			id, err := parseID("LEASE", args[0])
			if err != nil {
				return err
			}
			c, err := r.api(ctx)
			if err != nil {
				return err
			}
			x, err := c.ExplainLease(ctx, id)
			if err != nil {
				return err
			}
			if err := explanationView.show(r, x); err != nil || r.flags.output != formatTable && r.flags.output != formatWide {
				return err
			}
			return r.write(r.details(x))
		},
	})
}

// details are the tables below an explanation.
func (r *root) details(x wire.Explanation) []byte {
	var out bytes.Buffer
	how := r.cell()
	if w := x.Waiting; w != nil {
		if len(w.Ahead) > 0 {
			fmt.Fprintf(&out, "\nAhead of it, by which rule:\n")
			queueView.table(&out, w.Ahead, how)
		}
		if more := w.Entry.Place - 1 - len(w.Ahead); more > 0 {
			fmt.Fprintf(&out, "and %d more\n", more)
		}
		fmt.Fprintf(&out, "\nSlots:\n")
		holderView.table(&out, w.Holders, how)
		if more := w.Held - len(w.Holders); more > 0 {
			fmt.Fprintf(&out, "and %d more\n", more)
		}
	}
	if len(x.Constraints) > 0 {
		fmt.Fprintf(&out, "\nWhat the request needs:\n")
		constraintView.table(&out, x.Constraints, how)
	}
	return out.Bytes()
}

var explanationView = view[wire.Explanation]{
	name: func(x wire.Explanation) string { return x.LeaseID.String() },
	columns: []column[wire.Explanation]{
		{title: "LEASE", value: func(x wire.Explanation, _ cell) string { return x.LeaseID.String() }},
		{title: "STATUS", value: func(x wire.Explanation, _ cell) string { return x.Status }},
		{title: "WHY", value: func(x wire.Explanation, _ cell) string { return x.Summary }},
		{title: "PLACE", value: func(x wire.Explanation, _ cell) string {
			return maybe(x.Waiting, func(w *wire.Waiting) string { return fmt.Sprintf("%d of %d", w.Entry.Place, w.Of) })
		}},
		{title: "EXPECTED WAIT", value: func(x wire.Explanation, _ cell) string {
			return maybe(x.Waiting, func(w *wire.Waiting) string { return expected(w.Entry) })
		}},
		{title: "OVERTAKEN", value: func(x wire.Explanation, _ cell) string {
			return maybe(x.Waiting, func(w *wire.Waiting) string {
				return fmt.Sprintf("%d times, at most %d", w.Entry.Overtaken, w.MostOvertaken)
			})
		}},
		{title: "GRANTED BY", value: func(x wire.Explanation, _ cell) string {
			return maybe(x.Grant, func(g *wire.GrantDecision) string { return g.Rule })
		}},
		{title: "ATTEMPT", value: func(x wire.Explanation, _ cell) string {
			return maybe(x.Work, func(w *wire.LeaseWork) string { return fmt.Sprintf("%s %d", w.Step, w.Attempt) })
		}},
		{title: "NEXT TRY", value: func(x wire.Explanation, how cell) string {
			return maybe(x.Work, func(w *wire.LeaseWork) string { return how.timeOf(w.NextTry) })
		}},
		{title: "LAST ERROR", value: func(x wire.Explanation, _ cell) string {
			return maybe(x.Work, func(w *wire.LeaseWork) string { return text(w.LastError) })
		}},
	},
}

// expected is a wait as a person reads it.
func expected(e wire.QueueEntry) string {
	if e.ExpectedWaitMs == nil {
		return "unknown"
	}
	return "about " + (time.Duration(*e.ExpectedWaitMs) * time.Millisecond).Round(time.Second).String()
}

var queueView = view[wire.QueueEntry]{
	name: func(e wire.QueueEntry) string { return e.LeaseID.String() },
	columns: []column[wire.QueueEntry]{
		{title: "PLACE", value: func(e wire.QueueEntry, _ cell) string { return number(e.Place) }},
		{title: "LEASE", value: func(e wire.QueueEntry, _ cell) string { return e.LeaseID.String() }},
		{title: "RUN", value: func(e wire.QueueEntry, _ cell) string { return e.HeartbeatRunID }},
		{title: "RULE", value: func(e wire.QueueEntry, _ cell) string { return e.Rule }},
		{title: "PRIORITY", value: func(e wire.QueueEntry, _ cell) string { return e.Priority }},
		{title: "FOR", value: func(e wire.QueueEntry, _ cell) string { return e.FairnessKey }},
		{title: "WAITS", value: func(e wire.QueueEntry, how cell) string { return how.time(e.WaitingSince) }},
		{title: "EXPECTED", value: func(e wire.QueueEntry, _ cell) string { return expected(e) }},
		{title: "GIVES UP", value: func(e wire.QueueEntry, how cell) string { return how.timeOf(e.Deadline) }},
		{title: "WEIGHT", wide: true, value: func(e wire.QueueEntry, _ cell) string { return number(e.Weight) }},
		{title: "OVERTAKEN", wide: true, value: func(e wire.QueueEntry, _ cell) string { return number(e.Overtaken) }},
		{title: "AGENT", wide: true, value: func(e wire.QueueEntry, _ cell) string { return text(e.AgentID) }},
	},
}

var holderView = view[wire.SlotHolder]{
	columns: []column[wire.SlotHolder]{
		{title: "SLOT", value: func(h wire.SlotHolder, _ cell) string { return number(h.Slot) }},
		{title: "LEASE", value: func(h wire.SlotHolder, _ cell) string { return h.LeaseID.String() }},
		{title: "RUN", value: func(h wire.SlotHolder, _ cell) string { return h.HeartbeatRunID }},
		{title: "STATUS", value: func(h wire.SlotHolder, _ cell) string { return h.Status }},
		{title: "SINCE", value: func(h wire.SlotHolder, how cell) string { return how.timeOf(h.Since) }},
		{title: "EXPIRES", value: func(h wire.SlotHolder, how cell) string { return how.timeOf(h.ExpiresAt) }},
	},
}

var constraintView = view[wire.Constraint]{
	columns: []column[wire.Constraint]{
		{title: "CONSTRAINT", value: func(c wire.Constraint, _ cell) string { return c.Constraint }},
		{title: "MET", value: func(c wire.Constraint, _ cell) string {
			switch {
			case c.Unknown:
				return "unknown"
			case c.OK:
				return "yes"
			}
			return "no"
		}},
		{title: "DETAIL", value: func(c wire.Constraint, _ cell) string {
			return strings.TrimSuffix(c.Detail+"; "+c.Remediation, "; ")
		}},
	},
}

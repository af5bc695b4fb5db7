package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
)

func (r *root) leakGroup() *cobra.Command {
	return r.group("leak", "Leaks are what may be left outside although no lease looks after it",
		[2]string{"tenure leak list", "tenure leak clear 01890a5d-ac96-774b-bcce-b302099a8057 --reason 'removed by hand'"},
		r.leakList(), r.leakClear())
}

var leakView = view[wire.Leak]{
	name: func(l wire.Leak) string { return l.ID.String() },
	columns: []column[wire.Leak]{
		{title: "ID", value: func(l wire.Leak, _ cell) string { return l.ID.String() }},
		{title: "PROVIDER", value: func(l wire.Leak, _ cell) string { return l.Provider }},
		{title: "WHY", value: func(l wire.Leak, _ cell) string { return l.Why }},
		{title: "SEEN SINCE", value: func(l wire.Leak, how cell) string { return how.time(l.FirstSeen) }},
		{title: "STATUS", value: func(l wire.Leak, _ cell) string { return l.Status }},
		{title: "PROVIDER LEASE", value: func(l wire.Leak, _ cell) string { return text(l.ProviderLeaseID) }},
		{title: "LEASE", value: func(l wire.Leak, _ cell) string { return idText(l.LeaseID) }},
		{title: "FAILURE", value: func(l wire.Leak, _ cell) string { return text(l.Failure) }},
		{title: "RUNTIME", wide: true, value: func(l wire.Leak, _ cell) string { return idText(l.RuntimeID) }},
		{title: "ENVIRONMENT", wide: true, value: func(l wire.Leak, _ cell) string { return idText(l.EnvironmentID) }},
		{title: "COMPANY", wide: true, value: func(l wire.Leak, _ cell) string { return idText(l.CompanyID) }},
		{title: "NODE", wide: true, value: func(l wire.Leak, _ cell) string { return idText(l.NodeID) }},
		{title: "CLEARED", wide: true, value: func(l wire.Leak, how cell) string { return how.timeOf(l.ClearedAt) }},
		{title: "PROOF", wide: true, value: func(l wire.Leak, _ cell) string { return text(l.Proof) }},
		{title: "REASON", wide: true, value: func(l wire.Leak, _ cell) string { return text(l.Reason) }},
	},
}

func leaksOf(c *client.Client, f client.LeakFilter) func(context.Context, ...client.CallOption) (wire.List[wire.Leak], error) {
	return func(ctx context.Context, o ...client.CallOption) (wire.List[wire.Leak], error) {
		return c.Leaks(ctx, f, o...)
	}
}

var leakStatuses = []string{wire.LeakOpen, wire.LeakCleared, "all"}

func (r *root) leakList() *cobra.Command {
	var filter client.LeakFilter
	var limit int
	cmd := r.verb(verb{
		use:   "list",
		short: "List what may be left outside, the newest first",
		long: "A key of one company sees what is of its company. What the server can see at its providers, it destroys by itself after\n" +
			"two looks; what stays here waits for its provider, or for a person.",
		examples: [2]string{"tenure leak list", "tenure leak list --status all --provider docker -o wide"},
		exits:    exitsOfCalls,
		run: func(ctx context.Context, _ []string) error {
			if !slices.Contains(leakStatuses, filter.Status) {
				return usagef("status: a leak is not %q", filter.Status).mendBy("use one of: %s", strings.Join(leakStatuses, ", "))
			}
			c, err := r.api(ctx)
			if err != nil {
				return err
			}
			leaks, err := some(ctx, limit, leaksOf(c, filter))
			if err != nil {
				return err
			}
			return leakView.list(r, leaks)
		},
	})
	f := cmd.Flags()
	f.StringVar(&filter.Status, "status", wire.LeakOpen, "which leaks: "+strings.Join(leakStatuses, ", "))
	f.StringVar(&filter.Provider, "provider", "", "only leaks of this `provider`")
	f.IntVar(&limit, "limit", 0, "at most `N` leaks; 0 is all")
	return cmd
}

func (r *root) leakClear() *cobra.Command {
	var in wire.ClearLeak
	cmd := r.verb(verb{
		use:   "clear LEAK",
		short: "Take a leak off the list, for a reason",
		long: "It is for what nobody but a person can know of, such as a machine that was scrapped. If the server sees the thing again, it\n" +
			"is on the list again. A leak whose lease is still to be taken down is refused: tenure lease cleanup.",
		examples: [2]string{
			"tenure leak clear 01890a5d-ac96-774b-bcce-b302099a8057 --reason 'removed by hand'",
			"tenure leak clear 01890a5d-ac96-774b-bcce-b302099a8057 --reason 'account closed' -o json",
		},
		exits: exitsOfCalls,
		run: func(ctx context.Context, args []string) error {
			id, err := parseID("LEAK", args[0])
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
			leak, err := c.ClearLeak(ctx, id, in)
			if err != nil {
				return err
			}
			visible(ctx, leak.Position, leaksOf(c, client.LeakFilter{}))
			return leakView.show(r, leak)
		},
	})
	cmd.Flags().StringVar(&in.Reason, "reason", "", "why, as `text` that goes into the history")
	return cmd
}

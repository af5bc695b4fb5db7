package cli

import (
	"context"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
)

func (r *root) leaseGroup() *cobra.Command {
	return r.group("lease", "Leases are the right of one run to one runtime",
		[2]string{"tenure lease acquire --env local", "tenure lease list --status active"},
		r.leaseAcquire(), r.leaseList(), r.leaseShow(), r.leaseExplain(), r.leaseRenew(), r.leaseRelease(), r.leaseCleanup(), r.leaseEvents())
}

var leaseView = view[wire.Lease]{
	name: func(l wire.Lease) string { return l.ID.String() },
	columns: []column[wire.Lease]{
		{title: "ID", value: func(l wire.Lease, _ cell) string { return l.ID.String() }},
		{title: "STATUS", value: func(l wire.Lease, _ cell) string { return l.Status }},
		{title: "RUN", value: func(l wire.Lease, _ cell) string { return l.HeartbeatRunID }},
		{title: "PROVIDER", value: func(l wire.Lease, _ cell) string { return l.Provider }},
		{title: "ASKED FOR", value: func(l wire.Lease, how cell) string { return how.time(l.CreatedAt) }},
		{title: "EXPIRES", value: func(l wire.Lease, how cell) string {
			if l.Ended() {
				return ""
			}
			return how.timeOf(l.ExpiresAt)
		}},
		{title: "ENDED", value: func(l wire.Lease, how cell) string { return how.timeOf(l.ReleasedAt) }},
		{title: "CLEANUP", value: func(l wire.Lease, _ cell) string { return text(l.CleanupStatus) }},
		{title: "FAILURE", value: func(l wire.Lease, _ cell) string { return text(l.FailureReason) }},
		{title: "CLEANUP ERROR", value: func(l wire.Lease, _ cell) string { return text(l.CleanupError) }},
		{title: "NEXT TRY", wide: true, value: func(l wire.Lease, how cell) string {
			return maybe(l.Cleanup, func(c *wire.Cleanup) string { return how.timeOf(c.NextTryAt) })
		}},
		{title: "TRIES", wide: true, value: func(l wire.Lease, _ cell) string {
			return maybe(l.Cleanup, func(c *wire.Cleanup) string { return number(c.Attempts) })
		}},
		{title: "ACQUIRED", wide: true, value: func(l wire.Lease, how cell) string { return how.timeOf(l.AcquiredAt) }},
		{title: "LAST USED", wide: true, value: func(l wire.Lease, how cell) string { return how.timeOf(l.LastUsedAt) }},
		{title: "HARD END", wide: true, value: func(l wire.Lease, how cell) string { return how.timeOf(l.HardExpiresAt) }},
		{title: "ENVIRONMENT", wide: true, value: func(l wire.Lease, _ cell) string { return l.EnvironmentID.String() }},
		{title: "COMPANY", wide: true, value: func(l wire.Lease, _ cell) string { return l.CompanyID.String() }},
		{title: "ISSUE", wide: true, value: func(l wire.Lease, _ cell) string { return text(l.IssueID) }},
		{title: "AGENT", wide: true, value: func(l wire.Lease, _ cell) string { return text(l.AgentID) }},
		{title: "POLICY", wide: true, value: func(l wire.Lease, _ cell) string { return l.LeasePolicy }},
		{title: "ACQUISITION", wide: true, value: func(l wire.Lease, _ cell) string { return acquisitionOf(l) }},
		{title: "RETAINED UNTIL", wide: true, value: func(l wire.Lease, how cell) string { return how.timeOf(l.RetainedUntil) }},
		{title: "PROVIDER LEASE", wide: true, value: func(l wire.Lease, _ cell) string { return text(l.ProviderLeaseID) }},
		{title: "PRIORITY", wide: true, value: func(l wire.Lease, _ cell) string { return l.Priority }},
		{title: "FOR", wide: true, value: func(l wire.Lease, _ cell) string { return l.FairnessKey }},
		{title: "WEIGHT", wide: true, value: func(l wire.Lease, _ cell) string { return number(l.Weight) }},
		{title: "FENCE", wide: true, value: func(l wire.Lease, _ cell) string { return number(l.Fence) }},
		{title: "VERSION", wide: true, value: func(l wire.Lease, _ cell) string { return number(l.Version) }},
	},
}

// acquisitionOf is where a lease's runtime came from, in a word or two.
func acquisitionOf(l wire.Lease) string {
	switch a := l.Acquisition; {
	case a == nil:
		return ""
	case a.Reason == nil:
		return a.Outcome
	default:
		return a.Outcome + " (" + *a.Reason + ")"
	}
}

// leasesOf reads pages of a company's leases.
func leasesOf(c *client.Client, company uuid.UUID, f client.LeaseFilter) func(context.Context, ...client.CallOption) (wire.List[wire.Lease], error) {
	return func(ctx context.Context, o ...client.CallOption) (wire.List[wire.Lease], error) {
		return c.Leases(ctx, company, f, o...)
	}
}

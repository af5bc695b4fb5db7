package api

import (
	"slices"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/secret"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/projections"
	"github.com/tenure-dev/tenure/projections/activeleases"
	"github.com/tenure-dev/tenure/projections/leases"
)

// mostSecretUsers bounds how many leases a refusal lists.
const mostSecretUsers = 20

// checkSecretUse refuses to destroy what leases need that are not over: without it their runtimes cannot be taken down. version 0
// is the whole secret. A lease that is requested in this very moment may be missed.
func (s *Server) checkSecretUse(c *call, version int) error {
	force, err := c.flag("force")
	if err != nil || force {
		return err
	}
	now, err := eventstore.Load(c.ctx(), s.deps.Commands.Ledger(), commands.Secrets, c.id)
	if err != nil || !destroyable(now.State, version) {
		return err // the command says what there is to say
	}
	head, err := s.deps.Commands.Ledger().Store().Head(c.ctx())
	if err != nil {
		return err
	}
	if err := c.awaitModel(activeleases.Model.Name, head.Position); err != nil {
		return err
	}
	means := func(ref domain.SecretRef) bool {
		return ref.Secret.UUID == c.id && (version == 0 || ref.Version == version || ref.Version == 0 && version == now.State.Latest())
	}
	refusal := domain.Refuse(domain.KindConflict, "secret_in_use", "leases that are not over need it").
		Mend("release them first; or add force=true: then this server cannot take down what they have")
	opts := projections.Options{Limit: projections.MaxLimit}
	for {
		page, err := activeleases.List(c.ctx(), s.deps.DB, leases.Filter{Company: c.owner}, opts)
		if err != nil {
			return err
		}
		for _, row := range page.Items {
			refs, err := commands.SecretRefs(row.Data.Config)
			if err == nil && slices.ContainsFunc(refs, means) && len(refusal.Blockers) < mostSecretUsers {
				refusal.Blockers = append(refusal.Blockers, domain.Blocker{Kind: "lease", ID: row.Data.ID.String(), Status: needing(row.Data.State)})
			}
		}
		if opts.After = page.Next; opts.After == "" {
			break
		}
	}
	if len(refusal.Blockers) > 0 {
		return refusal
	}
	return nil
}

// needing is where a lease stands that needs a secret.
func needing(l lease.State) string {
	if l.Status().Ended() {
		return string(lease.StatusPendingCleanup)
	}
	return showStatus(l.Status())
}

// destroyable reports whether there is something to destroy.
func destroyable(s secret.State, version int) bool {
	if s.Status == secret.StatusDestroyed {
		return false
	}
	return version == 0 || slices.ContainsFunc(s.Versions, func(v secret.Version) bool {
		return v.Number == version && v.Status != secret.StatusDestroyed
	})
}

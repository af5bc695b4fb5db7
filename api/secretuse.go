package api

import (
	"slices"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/leak"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/secret"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/projections"
	"github.com/tenure-dev/tenure/projections/activeleases"
	"github.com/tenure-dev/tenure/projections/leaks"
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
	for _, model := range []string{activeleases.Model.Name, leaks.Model.Name} {
		if err := c.awaitModel(model, head.Position); err != nil {
			return err
		}
	}
	means := func(ref domain.SecretRef) bool {
		return ref.Secret.UUID == c.id && (version == 0 || ref.Version == version || ref.Version == 0 && version == now.State.Latest())
	}
	refusal := domain.Refuse(domain.KindConflict, "secret_in_use", "leases that are not over, or what is left of some, need it").
		Mend("release them first, and see tenure leak list; or add force=true: then this server cannot take down what they have")
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
	if err := s.leaksThatNeed(c, means, refusal); err != nil {
		return err
	}
	if len(refusal.Blockers) > 0 {
		return refusal
	}
	return nil
}

// leaksThatNeed adds the leaks of leases that were ended by force, and the like.
func (s *Server) leaksThatNeed(c *call, means func(domain.SecretRef) bool, refusal *domain.Refusal) error {
	opts := projections.Options{Limit: projections.MaxLimit}
	for {
		page, err := leaks.List(c.ctx(), s.deps.DB, leaks.Filter{Company: c.owner, Status: leak.StatusOpen}, opts)
		if err != nil {
			return err
		}
		for _, row := range page.Items {
			l, err := s.deps.Commands.KnownLease(c.ctx(), row.Data.Found.Lease)
			if err != nil {
				return err
			}
			refs, err := commands.SecretRefs(l.Config)
			over := l.Over() // else the lease is in the way itself
			if err == nil && over && slices.ContainsFunc(refs, means) && len(refusal.Blockers) < mostSecretUsers {
				refusal.Blockers = append(refusal.Blockers, domain.Blocker{Kind: "leak", ID: row.Data.ID.String(), Status: row.Data.Status.String()})
			}
		}
		if opts.After = page.Next; opts.After == "" {
			return nil
		}
	}
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

package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/projections"
	"github.com/tenure-dev/tenure/projections/leases"
)

// releaseRun releases every lease of a run that has not ended, each by itself, and answers with those that this call asked
// to release, as they are after the teardown. Of calls that race, each lease is in the answer of one.
func (s *Server) releaseRun(c *call) error {
	var in wire.Release
	if err := c.decode(&in, true); err != nil {
		return err
	}
	release, err := releaseOf(in)
	if err != nil {
		return err
	}
	wait, waits, err := c.wait()
	if err != nil {
		return err
	}
	if !waits {
		wait = s.deps.Limits.RunReleaseWait
	}
	run, err := c.param("heartbeatRunId")
	if err != nil {
		return err
	}
	candidates, err := s.leasesOfRun(c, run)
	if err != nil {
		return err
	}
	asked, position, err := s.releaseEach(c, candidates, release)
	if err != nil {
		return err
	}
	out, err := s.afterTeardown(c, asked, wait)
	if err != nil {
		return err
	}
	out.Position = max(out.Position, position)
	return c.answer(http.StatusOK, out)
}

// leasesOfRun are the leases of a run, the oldest first, as of the log's end when the call came: after a restart too, when
// the read model may be behind.
func (s *Server) leasesOfRun(c *call, run string) ([]leases.Row, error) {
	head, err := s.deps.Commands.Ledger().Store().Head(c.ctx())
	if err != nil {
		return nil, err
	}
	if err := c.awaitModel(leases.Model.Name, head.Position); err != nil {
		return nil, err
	}
	f := leases.Filter{Company: c.owner, Run: run}
	if _, repeated, err := c.idempotencyKey(); err != nil {
		return nil, err
	} else if !repeated {
		// A repetition of a call also answers with what has ended since; any other looks at what has not.
		f.Statuses = []lease.Status{lease.StatusRequested, lease.StatusGranted, lease.StatusProvisioning, lease.StatusActive}
	}
	var found []leases.Row
	for after := ""; ; {
		page, err := leases.List(c.ctx(), s.deps.DB, f, projections.Options{Limit: projections.MaxLimit, After: after})
		if err != nil {
			return nil, err
		}
		found = append(found, page.Items...)
		if page.Next == "" {
			slices.Reverse(found)
			return found, nil
		}
		after = page.Next
	}
}

// releaseParallel is how many appends of one call are under way at once; the log takes them as a batch.
const releaseParallel = 16

// releaseEach asks to release leases, each with an append of its own, so that one that cannot be released stops no other.
func (s *Server) releaseEach(c *call, candidates []leases.Row, release lease.Release) (asked []uuid.UUID, position int64, err error) {
	outcomes := make([]eventstore.Outcome, len(candidates))
	faults := make([]error, len(candidates))
	var group errgroup.Group
	group.SetLimit(releaseParallel)
	for i, row := range candidates {
		by, err := c.caller(c.owner, row.Data.ID.UUID)
		if err != nil {
			return nil, 0, err
		}
		if by.Command != nil {
			// One call, many commands: each lease's has an identity of its own.
			by.Command.Route += " " + row.Data.ID.String()
		}
		group.Go(func() error {
			outcomes[i], faults[i] = s.releaseOne(c.ctx(), by, row.Data.ID, release)
			return nil
		})
	}
	_ = group.Wait() // each fault is in its place
	replayed := false
	for i, o := range outcomes {
		if o.Changed || o.Replayed {
			asked = append(asked, candidates[i].Data.ID.UUID)
		}
		replayed = replayed || o.Replayed
		position = max(position, o.Position)
	}
	if replayed {
		c.Response().Header().Set(wire.HeaderReplayed, "true")
	}
	if len(asked) > 0 {
		c.accepted()
	}
	return asked, position, errors.Join(faults...)
}

func (s *Server) releaseOne(ctx context.Context, by commands.Caller, id domain.LeaseID, release lease.Release) (eventstore.Outcome, error) {
	o, err := s.deps.Commands.ReleaseLease(ctx, by, id, release)
	if err != nil || o.Changed || o.Replayed || by.Command == nil {
		return o, err
	}
	// It is being released, or was, already: by this very call before?
	_, err = s.deps.Commands.Ledger().Store().FindCommand(ctx, *by.Command)
	switch {
	case errors.Is(err, eventstore.ErrNoCommand):
		return o, nil
	case err == nil:
		o.Replayed = true
	}
	return o, err
}

// afterTeardown waits for leases to end, all of them together no longer than wait, and shows them.
func (s *Server) afterTeardown(c *call, ids []uuid.UUID, wait time.Duration) (wire.RunReleased, error) {
	out := wire.RunReleased{Released: make([]wire.ReleasedLease, 0, len(ids))}
	until := time.Now().Add(wait)
	shown := map[domain.EnvironmentID]wire.Environment{}
	for _, id := range ids {
		now, err := c.awaitLease(id, eventstore.Outcome{}, time.Until(until), func(l lease.State) bool { return l.Status().Ended() })
		if err != nil {
			return out, err
		}
		env, ok := shown[now.State.Environment]
		if !ok {
			loaded, err := look(c, commands.Environments, now.State.Environment.UUID, false)
			if err != nil {
				return out, err
			}
			env = showEnvironment(now.State.Environment.UUID, loaded)
			shown[now.State.Environment] = env
		}
		out.Released = append(out.Released, wire.ReleasedLease{Environment: env, Lease: s.showLease(id, now)})
		out.Position = max(out.Position, now.Position)
	}
	return out, nil
}

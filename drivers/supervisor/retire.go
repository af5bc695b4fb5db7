package supervisor

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/eventstore/commands"
)

// retireLook is how often a retiring environment is looked at while its leases are taken down.
const retireLook = 200 * time.Millisecond

// retireBatch bounds the leases that one look asks to release.
const retireBatch = 200

// stepRetire takes down the leases of an environment that is about to end, and ends it once each of them is gone or on
// record as waiting for its cleanup.
func (s *Supervisor) stepRetire(ctx context.Context, id domain.EnvironmentID, cause uuid.UUID) error {
	right, mine, err := s.turn(ctx, matter{of: id.UUID})
	if err != nil || !mine {
		return err
	}
	env, err := s.deps.Commands.KnownRetiring(ctx, id)
	if err != nil || !env.Status.Retiring() {
		return err
	}
	waits, asked := false, 0
	for _, leaseID := range env.Leases {
		l, err := s.deps.Commands.KnownLease(ctx, leaseID)
		if err != nil {
			return err
		}
		if l.Status() == lease.StatusPendingCleanup || l.Status().Ended() && l.TeardownFailed {
			continue
		}
		waits = true
		if !l.Kept && (l.ReleaseReason != "" || l.Status().Ended()) {
			continue
		}
		if asked++; asked > retireBatch {
			break
		}
		if _, err := s.deps.Commands.ReleaseLease(ctx, s.me(cause), leaseID, lease.Release{
			Reason: lease.ReasonReleased, Message: "its environment is ended", Disposition: lease.DispositionDestroy,
		}); err != nil && !refused(err) {
			return err
		}
	}
	if waits {
		s.later(commands.Environments.Stream(id.UUID), cause, s.now().Add(retireLook))
		return nil
	}
	_, err = s.deps.Commands.FinishRetirement(ctx, s.as(right, cause), id)
	return err
}

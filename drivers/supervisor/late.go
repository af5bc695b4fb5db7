package supervisor

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/leak"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/secretread"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/eventstore/faults"
)

// discard destroys what an attempt made that came to its end after somebody else had taken it over, if that one took down
// the lease meanwhile: then nobody will look for this runtime any more. A lease that goes on has a use for it, since the
// attempts of a lease share the runtime's id, unless the driver made another one for it: then this one is too many.
func (s *Supervisor) discard(ctx context.Context, id domain.LeaseID, l lease.State) {
	driver, err := s.deps.Drivers.Resolve(target(l))
	if err != nil {
		s.log.Error("a runtime that was made too late may be left", "lease", id, "runtime", l.Runtime, "error", err)
		return
	}
	for try := 1; ; try++ {
		err := s.driving()
		if err == nil {
			err = s.discardOnce(ctx, id, l, driver, try)
		} else {
			try = 0 // it was not tried
		}
		if err == nil {
			return
		}
		stopping := s.work.Err() != nil || s.leases.isClosed()
		if try == s.opts.MaxAttempts || stopping {
			s.log.Error("a runtime that was made too late may be left", "lease", id, "runtime", l.Runtime, "error", err)
		}
		if stopping {
			return
		}
		select {
		case <-time.After(s.backoff("", try)):
		case <-s.resting:
		case <-s.work.Done():
		}
	}
}

// discardLater is discard for a step, which is not to wait until a provider that is slow has answered.
func (s *Supervisor) discardLater(id domain.LeaseID, l lease.State) {
	s.steps.Go(func() { s.discard(s.work, id, l) })
}

func (s *Supervisor) discardOnce(ctx context.Context, id domain.LeaseID, l lease.State, driver drivers.Driver, try int) error {
	now, err := s.deps.Commands.Lease(ctx, id)
	if err != nil && !unknown(err) {
		return err
	}
	if err == nil && (now.Kept || now.Keeping() || !now.PassedTo.IsZero()) {
		return nil // the runtime outlives its lease; what there may be beside it goes with it, or by the reaper
	}
	ended := err != nil || now.ReleaseReason != "" || now.End != lease.StatusNone
	if !ended {
		return s.prune(ctx, id, l, now, driver)
	}
	if now.NeedsTeardown() && !now.TearingDown {
		return nil
	}
	config, err := s.readConfig(ctx, id, l, secretread.PurposeRelease)
	if err != nil {
		return err
	}
	_, err = callDriver(ctx, s, driver, VerbRelease, s.opts.ReleaseTimeout, func(ctx context.Context) (struct{}, error) {
		faults.Point("driver.discard.before")
		err := driver.Release(ctx, drivers.ReleaseRequest{Handle: s.handle(id, l, config), Attempt: try})
		faults.Point("driver.discard.after")
		return struct{}{}, err
	}, nothing)
	if err != nil && !errors.Is(err, drivers.ErrGone) {
		return err
	}
	s.log.Info("a runtime that was made too late is destroyed", "lease", id, "runtime", l.Runtime)
	if !now.Listed {
		return nil
	}
	_, err = s.deps.Commands.SettleRuntime(ctx, s.me(uuid.Nil), l.Runtime, leak.ProofDestroyed)
	return err
}

// errUndecided says that a lease does not have its runtime yet.
var errUndecided = errors.New("another attempt is under way")

// prune ends what there is beside the runtime of a lease that goes on. Who ends the lease ends all of it.
func (s *Supervisor) prune(ctx context.Context, id domain.LeaseID, l, now lease.State, driver drivers.Driver) error {
	switch {
	case driver.Describe().Class == drivers.ClassIdempotent:
		return nil
	case now.Attempting:
		return errUndecided
	case now.Status() != lease.StatusActive || now.ProviderLeaseID == nil:
		return nil
	}
	config, err := s.readConfig(ctx, id, l, secretread.PurposeRelease)
	if err != nil {
		return err
	}
	_, err = call(ctx, s, s.opts.ReleaseTimeout, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, drivers.Prune(ctx, driver, drivers.PruneRequest{Handle: s.handle(id, l, config), Keep: *now.ProviderLeaseID})
	}, nothing)
	return err
}

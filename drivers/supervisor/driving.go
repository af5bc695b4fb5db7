package supervisor

import (
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/eventstore"
)

// drivingPause is how long a stream rests while nothing is driven.
const drivingPause = time.Second

// driving says why nothing is driven for now; nil while this process drives. Whatever calls a driver, or finds that somebody
// else should have, asks it first: steps, what destroys a late runtime, and the reaper, which then only reports. What runs
// already goes on.
//
// It is asked before a claim, so it only saves the attempt: that no claim passes while the log waits for its adoption, the
// log sees to ([eventstore.ErrForked]).
func (s *Supervisor) driving() error {
	if s.deps.Driving == nil {
		return nil
	}
	return s.deps.Driving()
}

// mayStep reports whether a stream may be looked at. While nothing is driven, a command that runs here may still be killed.
func (s *Supervisor) mayStep(stream eventstore.Stream) bool {
	if s.driving() == nil {
		return true
	}
	if stream.Category() != execution.Category {
		return false
	}
	id, err := stream.ID()
	return err == nil && s.execs.has(domain.ExecID{UUID: id})
}

// identity names the log.
func (s *Supervisor) identity() (installation uuid.UUID, epoch int64) {
	if s.deps.Identity != nil {
		return s.deps.Identity()
	}
	return s.deps.Installation, s.deps.Epoch
}

// notDriven reports whether the log said that nothing is driven for now.
func notDriven(err error) bool { return errors.Is(err, eventstore.ErrForked) }

// unknown reports whether the log knows nothing of what was asked for: it forked, and that was lost.
func unknown(err error) bool {
	r, ok := errors.AsType[*domain.Refusal](err)
	return ok && r.Kind == domain.KindNotFound
}

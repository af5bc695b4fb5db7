package supervisor

import (
	"context"
	"errors"
	"time"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
)

// recordTimeout bounds one try to append an outcome.
const recordTimeout = time.Minute

// refused reports whether the log said no: somebody else has it, or there is nothing to do any more.
func refused(err error) bool {
	_, ok := errors.AsType[*domain.Refusal](err)
	return ok
}

// lostClaim reports whether the log said that the claim is not this worker's any more.
func lostClaim(err error) bool {
	r, ok := errors.AsType[*domain.Refusal](err)
	return ok && r.Kind == domain.KindStale
}

// tooMuch reports whether the log can never hold what it was given, such as a driver's word beyond every limit.
func tooMuch(err error) bool {
	r, ok := errors.AsType[*domain.Refusal](err)
	return ok && r.Kind == domain.KindInvalid || errors.Is(err, eventstore.ErrInvalid)
}

// transient reports whether the same may well succeed a little later. An append whose outcome is not known is among it:
// if it happened, its repetition is refused.
func transient(err error) bool {
	return errors.Is(err, eventstore.ErrUnavailable) || errors.Is(err, eventstore.ErrUnknownOutcome) ||
		errors.Is(err, eventstore.ErrConflict) || errors.Is(err, eventstore.ErrStaleEpoch) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// persist appends the outcome of an effect, or reads what a claim needs. This process is the only one who can, so it tries
// until it is done or refused; once the engine must go, it tries a last time. ctx is not the step's: the effect has happened, whether
// anybody waits for it or not.
func (s *Supervisor) persist(appendOutcome func(ctx context.Context) error) error {
	base := context.WithoutCancel(s.work)
	for attempt := 1; ; attempt++ {
		last := s.work.Err() != nil
		ctx, cancel := context.WithTimeoutCause(base, recordTimeout, errors.New("the log did not answer in time"))
		err := appendOutcome(ctx)
		cancel()
		if !transient(err) || last {
			return err
		}
		s.log.Warn("an outcome could not be recorded yet", "try", attempt, "error", err)
		select {
		case <-time.After(commands.Backoff(attempt, 100*time.Millisecond, 5*time.Second)):
		case <-s.work.Done():
		}
	}
}

package supervisor

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/lease"
)

// pulse is when this process last said that it lives and was heard.
type pulse struct{ at atomic.Pointer[time.Time] }

func (p *pulse) felt(at time.Time) { p.at.Store(&at) }

// within reports whether that was less than d ago by every clock of this machine: one stands still while the machine sleeps,
// the other may be set.
func (p *pulse) within(d time.Duration) bool {
	at, now := p.at.Load(), time.Now()
	if at == nil {
		return false
	}
	passed := now.Round(0).Sub(at.Round(0))
	return now.Sub(*at) < d && passed < d && passed >= 0
}

// errClaimOver says that the time of a claim was over before its driver was asked for anything.
var errClaimOver = errors.New("the time of this attempt was over before the driver was asked")

// confirm is called right before each effect, with how the log is asked for the claim that allows it. A process which was
// heard of less than half its time to live ago is nobody's prey. One that was paused or cut off first says that it lives,
// so that nobody takes over from then on, and then looks whether somebody did; it waits until the log answers. A pause right
// after that goes unnoticed here, and then the log refuses its result. A lost claim is a refusal, see [lostClaim].
func (s *Supervisor) confirm(claimed func(ctx context.Context) (bool, error)) error {
	if s.pulse.within(s.opts.LivenessTTL / 2) {
		return nil
	}
	return s.persist(func(ctx context.Context) error {
		if err := s.sayAlive(ctx); err != nil {
			return fmt.Errorf("make sure that a claim still holds: %w", err)
		}
		holds, err := claimed(ctx)
		if err != nil {
			return fmt.Errorf("make sure that a claim still holds: %w", err)
		}
		if !holds {
			return domain.Refuse(domain.KindStale, "stale_claim", "another worker has taken this one's claim over")
		}
		return nil
	})
}

// sayAlive keeps this process's liveness row.
func (s *Supervisor) sayAlive(ctx context.Context) error {
	asked := time.Now()
	err := s.deps.Processes.Beat(ctx, s.process(), s.opts.LivenessTTL)
	if err == nil {
		s.endSilence()
		s.pulse.felt(asked)
	}
	return err
}

// attempting looks whether the attempt of a lease, as it was claimed, is still this process's.
func (s *Supervisor) attempting(id domain.LeaseID, l lease.State) func(context.Context) (bool, error) {
	return func(ctx context.Context) (bool, error) {
		now, err := s.deps.Commands.Lease(ctx, id)
		return now.Attempting && now.Attempt == l.Attempt && now.Worker == s.deps.Process.ID, err
	}
}

// tearingDown is [Supervisor.attempting] for a teardown.
func (s *Supervisor) tearingDown(id domain.LeaseID, l lease.State) func(context.Context) (bool, error) {
	return func(ctx context.Context) (bool, error) {
		now, err := s.deps.Commands.Lease(ctx, id)
		return now.TearingDown && now.Teardown == l.Teardown && now.Worker == s.deps.Process.ID, err
	}
}

// starting looks whether a command is still this process's to start.
func (s *Supervisor) starting(id domain.ExecID) func(context.Context) (bool, error) {
	return func(ctx context.Context) (bool, error) {
		now, err := s.deps.Commands.Exec(ctx, id)
		return now.Status == execution.StatusClaimed && now.Worker == s.deps.Process.ID, err
	}
}

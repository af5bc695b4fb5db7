package supervisor

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/eventstore"
)

// Leases whose time is over may be many at once: after the end of an outage, or because a client asked for thousands at the
// same moment. Their ends are handed out at a rate, go into the log behind renewals, and none is handed out while the
// database's clock cannot be trusted.

// budget is how many ends may be handed out: rate a second, and as many at once as a second's.
type budget struct {
	mu    sync.Mutex
	rate  int
	left  float64
	since time.Time
}

func newBudget(rate int) *budget { return &budget{rate: rate, left: float64(rate)} }

// have is how many there are now.
func (b *budget) have(now time.Time) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.since.IsZero() {
		b.left = min(b.left+now.Sub(b.since).Seconds()*float64(b.rate), float64(b.rate))
	}
	b.since = now
	return int(b.left)
}

// spend takes some of them.
func (b *budget) spend(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left -= float64(n)
}

// sweepExpiring asks for leases whose time is over, as many as may be handed out now. The next sweep asks for the others.
func (s *Supervisor) sweepExpiring(ctx context.Context, scope Scope) error {
	if _, unsure := s.clock().Unsure(); unsure {
		return nil
	}
	n := min(s.expiries.have(time.Now()), sweepLimit)
	if n == 0 {
		return nil
	}
	over, err := s.deps.Todo.Expiring(ctx, scope, s.now(), n)
	if err != nil {
		return err
	}
	for _, task := range over {
		s.look(task)
	}
	s.expiries.spend(len(over))
	return nil
}

// expire ends an active lease whose time is over, or warns of that. again says that there is more to do.
func (s *Supervisor) expire(
	ctx context.Context, id domain.LeaseID, l lease.State, right *eventstore.Ownership, cause uuid.UUID,
) (again bool, err error) {
	if s.now().Before(l.NextDeadline()) {
		return false, nil
	}
	done, err := s.deps.Commands.ExpireLease(ctx, s.as(right, cause), id)
	return done.Changed, err
}

func (s *Supervisor) clock() *eventstore.Clock { return s.deps.Commands.Ledger().Store().Clock() }

// guardClock makes a jump of the database's clock keep leases from ending until it is settled.
func (s *Supervisor) guardClock() {
	s.clock().Guard(eventstore.ClockLimits{Jump: s.opts.ClockJump, Settle: s.opts.ClockSettle}, func(n eventstore.ClockNotice) {
		signal(s.hurry) // others show what this process takes the clock for
		if n.Sure {
			s.log.Warn("the database's clock is trusted again; leases whose time is over end", "jump", n.By, "why", n.Why)
			return
		}
		s.log.Error("the database's clock jumped; no lease ends by its time here until later readings agree, or: tenure clock confirm", "jump", n.By)
	})
}

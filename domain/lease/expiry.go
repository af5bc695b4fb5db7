package lease

import (
	"time"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/environment"
	"github.com/tenure-dev/tenure/domain/outage"
)

// A lease ends by itself at the earlier of two deadlines: the hard end, which only a renewal with a ttl moves, and the idle
// end, which every use moves. Use is a renewal, a command that is asked for, runs or ends, and nothing else.
//
// Use is coalesced, so that a client may say every second that it lives and the log has one event in a window of a tenth
// of the idle timeout, at most a minute. So a lease may end by that much earlier than its idle timeout after the last use;
// the answer to a renewal says when, and holds.

// RenewWindow is how often, as a part of the idle timeout, use of a lease becomes a durable event; maxWindow bounds it where
// nobody is bound to say again that the lease is in use.
const (
	RenewWindow = 10
	maxWindow   = time.Minute
)

// A warning comes this part of the time, and at most maxLead, before the end. Who renews in time is never warned.
const (
	leadPart = 10
	maxLead  = 5 * time.Minute
)

// Renew says that the lease is in use. Now is when.
type Renew struct {
	Now time.Time
	// TTL moves the hard end to Now and this much; nil leaves it. It is cut to what the environment allowed when the lease
	// was asked for, counted from when the lease became active.
	TTL *time.Duration
	// Ongoing says that the use goes on, so that somebody will say so again well within the idle timeout.
	Ongoing bool
	// Gaps are those in which nobody could renew.
	Gaps outage.Gaps
}

// Expire asks to take down a lease whose time ran out, or to warn of that shortly before; it does nothing earlier.
type Expire struct {
	Now  time.Time
	Gaps outage.Gaps
	// Renewable is the last moment that renewals are known to have been possible at. An idle lease does not end before its
	// holder could have renewed it at the very end.
	Renewable time.Time
}

func (Renew) leaseCommand()  {}
func (Expire) leaseCommand() {}

// ExpiryWarned says: the lease ends soon unless it is used.
type ExpiryWarned struct {
	ExpiresAt time.Time `json:"expiresAt"`
}

// EventName is the name in the log.
func (ExpiryWarned) EventName() string { return "LeaseExpiryWarned" }

func (ExpiryWarned) leaseEvent() {}

// EndsAt is when an active lease ends by itself: at the deadline in its events, moved by the gaps, at its hard end at the
// latest. Of any other lease it is what the events say.
func (s State) EndsAt(gaps outage.Gaps) time.Time {
	if s.Status() != StatusActive {
		return s.ExpiresAt
	}
	return earlier(s.HardExpiresAt, gaps.Move(s.ExpiresAt, s.LastUsedAt))
}

// NextDeadline is when an active lease needs a look if nothing happens and no gap comes: for the warning, then for the end.
func (s State) NextDeadline() time.Time {
	if s.WarnedOf.Equal(s.ExpiresAt) {
		return s.ExpiresAt
	}
	return s.ExpiresAt.Add(-s.lead())
}

// lead is how long before the end a warning comes.
func (s State) lead() time.Duration {
	span := s.IdleTimeout
	if !s.ExpiresAt.Before(s.HardExpiresAt) {
		span = s.HardExpiresAt.Sub(s.AcquiredAt)
	}
	return min(span/leadPart, maxLead)
}

func (s State) window(ongoing bool) time.Duration {
	w := s.IdleTimeout / RenewWindow
	if ongoing {
		return w
	}
	return min(w, maxWindow)
}

// maxTTL is the most that the lease may last in all.
func (s State) maxTTL() time.Duration {
	if s.MaxTTL == 0 {
		return environment.DefaultMaxTTL
	}
	return s.MaxTTL
}

func renew(s State, c Renew) ([]Event, error) {
	if err := s.CheckUsable(c.Now, c.Gaps); err != nil {
		return nil, err
	}
	hard := s.HardExpiresAt
	if c.TTL != nil {
		if err := checkDuration("ttl", c.TTL.Milliseconds(), "2h"); err != nil {
			return nil, err
		}
		hard = earlier(c.Now.Add(*c.TTL), s.AcquiredAt.Add(s.maxTTL()))
	}
	window := s.window(c.Ongoing)
	// The log's time stands still while the database's clock is behind it, so the last use may lie ahead.
	if c.Now.Sub(s.LastUsedAt).Abs() < window && hard.Sub(s.HardExpiresAt).Abs() < window {
		return nil, nil
	}
	idle := c.Now.Add(s.IdleTimeout)
	if idle.Before(s.ExpiresAt) && c.TTL == nil {
		idle = s.ExpiresAt
	}
	e := Renewed{ExpiresAt: earlier(hard, idle)}
	if !hard.Equal(s.HardExpiresAt) {
		e.HardExpiresAt = &hard
	}
	return []Event{e}, nil
}

func expire(s State, c Expire) ([]Event, error) {
	if s.Status() != StatusActive {
		return nil, nil
	}
	end := s.EndsAt(c.Gaps)
	if !c.Now.Before(end) {
		if end.Before(s.HardExpiresAt) && c.Renewable.Before(end) {
			return nil, nil
		}
		return releaseAs(s, Release{Reason: ReasonExpired})
	}
	if c.Now.Before(end.Add(-s.lead())) || s.WarnedOf.Equal(s.ExpiresAt) {
		return nil, nil
	}
	return []Event{ExpiryWarned{ExpiresAt: end}}, nil
}

// CheckUsable refuses work in a lease that is not active, or whose time is over.
func (s State) CheckUsable(now time.Time, gaps outage.Gaps) error {
	switch s.Status() {
	case StatusActive:
		end := s.EndsAt(gaps)
		if now.Before(end) {
			return nil
		}
		return ranOut(end)
	case StatusReleasing, StatusPendingCleanup, StatusReleased, StatusExpired, StatusFailed, StatusRetained, StatusCanceled:
		return domain.Refuse(domain.KindGone, "lease_ended", "the lease is %s; an ended lease is never revived", s.Status()).
			Mend("acquire a new lease")
	case StatusNone, StatusRequested, StatusGranted, StatusProvisioning:
	}
	return notActive(s)
}

// ranOut refuses what came after the end.
func ranOut(end time.Time) *domain.Refusal {
	return domain.Refuse(domain.KindGone, "lease_ended", "the lease ran out at %s", end.Format(time.RFC3339)).
		Mend("acquire a new lease")
}

// hardEnd is the hard end after a renewal.
func hardEnd(before time.Time, moved *time.Time) time.Time {
	if moved == nil {
		return before
	}
	return *moved
}

package supervisor

import (
	"context"
	"errors"
	"time"

	"github.com/tenure-dev/tenure/eventstore"
)

// beat keeps this process's liveness row, and its share of the partitions. A beat that hangs is given up early enough for
// another one to come in time.
func (s *Supervisor) beat(ctx context.Context) {
	timer := time.NewTimer(s.opts.LivenessTTL / 4)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-s.hurry:
		case <-ctx.Done():
			return
		}
		err := s.beatOnce(ctx)
		if errors.Is(err, eventstore.ErrProcessGone) {
			s.log.Error("another process has taken this one's place; ending", "process", s.deps.Process.ID)
			s.rest()
			s.lostOnce.Do(func() { close(s.lost) })
			return
		} else if err != nil && ctx.Err() == nil {
			s.log.Warn("this process could not say that it lives", "error", err)
		}
		pause := s.opts.LivenessTTL / 4
		if s.draining.Load() {
			pause /= 10 // somebody waits for its partitions to be taken
		}
		if err == nil {
			pause = s.untilDeath(pause)
		}
		timer.Reset(pause)
	}
}

func (s *Supervisor) beatOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.opts.LivenessTTL/2)
	defer cancel()
	if err := s.sayAlive(ctx); err != nil {
		return err
	}
	gained, err := s.share(ctx)
	if err != nil {
		return err
	}
	if gained {
		signal(s.gained)
	}
	s.looking.Lock()
	defer s.looking.Unlock()
	close(s.looked)
	s.looked = make(chan struct{})
	return nil
}

// untilDeath is a pause, or less if a process that has missed its beats counts as dead before its end: then what it had is taken
// at once, and not a beat later.
func (s *Supervisor) untilDeath(pause time.Duration) time.Duration {
	least := pause / 10
	for _, p := range s.standing.Load().processes {
		if p.Drives() && p.ID != s.deps.Process.ID {
			pause = min(pause, max(p.AliveUntil.Sub(s.now()), 0)+least)
		}
	}
	return pause
}

// process is this process as others are to see it.
func (s *Supervisor) process() eventstore.Process {
	p := s.deps.Process
	p.Serves, p.Draining = s.serves(), s.draining.Load()
	p.ClockJump, p.Doubts = s.clock().Unsure()
	return p
}

// signal fills a channel with room for one.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// HandOver lets others take the partitions of this process, which acts on each until it is taken. It ends when none is left
// or nobody is there to take them, at the latest after the time in which others would have looked twice. It is called while
// the process still hears of events; [Supervisor.Stop] does it for who did not.
func (s *Supervisor) HandOver(ctx context.Context) {
	if s.standing.Load() == nil {
		return // not started
	}
	ctx, cancel := context.WithTimeout(ctx, s.opts.LivenessTTL/2)
	defer cancel()
	s.draining.Store(true)
	signal(s.hurry)
	for s.othersAreToTake() {
		s.looking.Lock()
		looked := s.looked
		s.looking.Unlock()
		select {
		case <-looked:
		case <-s.resting: // another incarnation has them
			return
		case <-ctx.Done():
			return
		}
	}
}

// othersAreToTake reports whether this process has a partition that another one will take.
func (s *Supervisor) othersAreToTake() bool {
	now, mine, others := s.standing.Load(), false, false
	for _, p := range now.partitions {
		mine = mine || p.Owner == s.deps.Process.ID
	}
	for _, p := range now.processes {
		others = others || p.Drives() && p.ID != s.deps.Process.ID
	}
	return mine && others
}

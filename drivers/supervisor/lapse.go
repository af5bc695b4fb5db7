package supervisor

import (
	"cmp"
	"context"
	"time"

	"github.com/tenure-dev/tenure/eventstore"
)

// lapse is a time, by the database's clock, in which this process could not say that it lives for so long that it counted as dead.
// Whatever kept it from that (a database that was away, a machine that slept) may have kept the others from it too.
type lapse struct {
	// from is when it was last heard of; until is by when others that were alive then are to have said so again.
	from, until time.Time
}

// silence is for how long this process has not been heard of.
func (p *pulse) silence() (passed time.Duration, ever bool) {
	at, now := p.at.Load(), time.Now()
	if at == nil {
		return 0, false
	}
	return max(now.Sub(*at), now.Round(0).Sub(at.Round(0))), true
}

// silent is the lapse that lasts; nil if this process was heard of lately, or has never said anything.
func (s *Supervisor) silent() *lapse {
	passed, ever := s.pulse.silence()
	if !ever || passed < s.opts.LivenessTTL {
		return nil
	}
	now := s.now()
	return &lapse{from: now.Add(-passed), until: now.Add(s.opts.LivenessTTL)}
}

// endSilence takes note of a lapse before the sign of life that ends it is.
func (s *Supervisor) endSilence() {
	if l := s.silent(); l != nil {
		s.lapse.Store(l)
	}
}

// everyone lists the processes as this one takes them: after a lapse, and while it lasts, those that were alive when it began are
// not dead before they have had the time to speak. Otherwise the first to come back after its database was away
// would take what all others are at.
func (s *Supervisor) everyone(ctx context.Context) ([]eventstore.Process, error) {
	list, err := s.deps.Processes.List(ctx)
	if err != nil {
		return nil, err
	}
	l := cmp.Or(s.silent(), s.lapse.Load())
	if l == nil || !s.now().Before(l.until) {
		return list, nil
	}
	for i := range list {
		if p := &list[i]; !p.Alive && !p.Left && p.AliveUntil.After(l.from) {
			p.Alive, p.AliveUntil = true, l.until
		}
	}
	return list, nil
}

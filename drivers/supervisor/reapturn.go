package supervisor

import (
	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/drivers"
)

// looksAfter reports whether this process is the one that looks at a place. What is on one machine only is seen there, so
// each node looks at its own. Anything else is listed by one process, so that a provider is not asked as many times as there
// are processes: of the living ones that have the driver, each gets its part of the places, and all find the same one. While
// they do not agree, two look or nobody does, for as long as a beat; and two do no harm.
func (s *Supervisor) looksAfter(key string, p Place, about drivers.Description) bool {
	switch {
	case s.deps.Reaps != nil:
		return s.deps.Reaps(p.Target)
	case about.NodeBound:
		return true
	}
	// Nobody is found where what is said of the drivers is behind; this process has it.
	other := s.standing.Load().instead(matter{of: uuid.NewSHA1(uuid.Nil, []byte(key)), target: p.Target})
	return other == nil || other.ID == s.deps.Process.ID
}

// forget forgets what earlier looks at a place saw: others look at it, and two looks agree only if none between them
// was another's.
func (r *reaper) forget(place string) {
	for _, of := range []*sights{&r.seen, &r.absent, &r.gone} {
		of.forget(place)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.down, place)
}

func (s *sights) forget(place string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for what := range s.of {
		if what.place == place {
			delete(s.of, what)
		}
	}
}

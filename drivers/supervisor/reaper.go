package supervisor

import (
	"sync"
	"time"

	"github.com/google/uuid"
)

// reaper remembers what earlier looks saw. Another process, or the next one, sees it for itself.
type reaper struct {
	// seen are things that nobody looks after, absent are leaks that are not listed, gone are runtimes of leases that could not
	// be taken down and are not listed.
	seen, absent, gone sights

	mu sync.Mutex
	// down are the places that the last look could not ask; asked is when each was asked last.
	down  map[string]bool
	asked map[string]time.Time
	// places are those of the surveys of a day.
	places map[string]remembered
}

type remembered struct {
	Place
	at time.Time
}

func newReaper() *reaper {
	return &reaper{down: map[string]bool{}, asked: map[string]time.Time{}, places: map[string]remembered{}}
}

// rememberFor is how long a place is looked at that nothing points to any more: what was asked of its provider may come late.
const rememberFor = 24 * time.Hour

// remember adds to the places of a survey those of earlier ones.
func (r *reaper) remember(places map[string]Place, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, p := range places {
		r.places[key] = remembered{p, now}
	}
	for key, p := range r.places {
		if now.After(p.at.Add(rememberFor)) {
			delete(r.places, key)
			delete(r.asked, key)
			delete(r.down, key)
			continue
		}
		places[key] = p.Place
	}
}

// sight is what was seen and where. Its identity tells things of one name apart.
type sight struct {
	place    string
	id       uuid.UUID
	identity string
}

// sights are since when, and until which look, things have been seen at every look.
type sights struct {
	mu sync.Mutex
	of map[sight]span
}

type span struct{ first, last time.Time }

// note takes note of a sight in the look that began now, and returns since when it has been seen.
func (s *sights) note(what sight, now time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of == nil {
		s.of = map[sight]span{}
	}
	seen, ok := s.of[what]
	if !ok {
		seen.first = now
	}
	seen.last = now
	s.of[what] = seen
	return seen.first
}

// keep forgets what the look at a place that began now did not see.
func (s *sights) keep(place string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for what, seen := range s.of {
		if what.place == place && seen.last.Before(now) {
			delete(s.of, what)
		}
	}
}

// due reports whether a place was not asked for so long, and notes that it is asked now.
func (r *reaper) due(place string, now time.Time, interval time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if at, ok := r.asked[place]; ok && now.Before(at.Add(interval)) {
		return false
	}
	r.asked[place] = now
	return true
}

// fails notes that a place did not answer, and whether that is news; answers notes that it does, and whether that is.
func (r *reaper) fails(place string) (news bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	news = !r.down[place]
	r.down[place] = true
	return news
}

func (r *reaper) answers(place string) (news bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	news = r.down[place]
	delete(r.down, place)
	return news
}

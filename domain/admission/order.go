package admission

import (
	"slices"

	"github.com/tenure-dev/tenure/domain"
)

// Place is one who waits, in the order of grants.
type Place struct {
	Lease domain.LeaseID
	Standing
	// Rule is why it goes before the next in line.
	Rule Rule
	// Overtaken is how many who came later have been granted before it; Ahead how many who came later are before it now.
	Overtaken, Ahead int
}

// Queued is how many wait.
func (s State) Queued() int { return s.line.len() }

// Waits reports whether a lease waits.
func (s State) Waits(id domain.LeaseID) bool { return s.line.has(id) }

// Queue is who waits, by age.
func (s State) Queue() []domain.LeaseID {
	ids := make([]domain.LeaseID, 0, s.line.len())
	for i := s.line.oldest; i != 0; i = s.line.waiters[i].younger {
		ids = append(ids, s.line.waiters[i].lease)
	}
	return ids
}

// Order is who waits, in the order in which they will be granted if nobody comes and nobody leaves; at most limit, all for 0.
// If upTo is no zero id, it ends with that lease.
func (s State) Order(limit int, upTo domain.LeaseID) []Place {
	if limit <= 0 || limit > s.line.len() {
		limit = s.line.len()
	}
	waiting, bound := s.line.clone(), MostOvertaken(s.MaxQueued)
	places := make([]Place, 0, limit)
	var before []int64 // the arrivals that are in places, ascending
	for len(places) < limit {
		i, rule := waiting.next(bound)
		if i == 0 {
			break
		}
		w := waiting.waiters[i]
		at, _ := slices.BinarySearch(before, w.arrival)
		places = append(places, Place{
			Lease: w.lease, Standing: waiting.standing(w), Rule: rule, Overtaken: s.line.overtaken(w.arrival), Ahead: len(before) - at,
		})
		if w.lease == upTo {
			break
		}
		before = slices.Insert(before, at, w.arrival)
		waiting.remove(w.lease, true)
	}
	return places
}

// AheadBy is by which rule one who is ahead in the order goes before another.
func AheadBy(ahead, other Place) Rule {
	switch {
	case ahead.Rule == RuleBound:
		return RuleBound
	case ahead.Class != other.Class:
		return RuleClass
	case ahead.Key != other.Key:
		return RuleFairness
	}
	return RuleAge
}

func (l *line) standing(w waiter) Standing {
	return Standing{Class: classes[w.rank], Key: l.ranks[w.rank].keys[w.key].name, Weight: int(w.weight)}
}

// overtaken is how many who came after one who waits were granted before it.
func (l *line) overtaken(arrival int64) int {
	at, _ := slices.BinarySearch(l.overtook, arrival)
	return len(l.overtook) - at
}

package admission

import (
	"time"
)

// paceLength is how many intervals are remembered.
const paceLength = 32

// pace is how fast slots were freed lately while somebody waited for one. Its times are those that the state was folded
// with; only of a state folded from the log do they mean anything.
type pace struct {
	// since is when the present interval began: with the first who waits, or with the last slot that was freed.
	since time.Time
	last  [paceLength]time.Duration
	count int
}

// queued takes note that somebody comes to wait behind others.
func (p pace) queued(at time.Time, others int) pace {
	if others == 0 {
		p.since = at
	}
	return p
}

// freed takes note of a freed slot that so many wait for.
func (p pace) freed(at time.Time, waiting int) pace {
	if waiting == 0 || p.since.IsZero() {
		return p
	}
	p.last[p.count%paceLength] = max(at.Sub(p.since), 0)
	p.count, p.since = p.count+1, at
	return p
}

// mean is the mean interval, and of how many.
func (p pace) mean() (time.Duration, int) {
	n := min(p.count, paceLength)
	var sum time.Duration
	for _, d := range p.last[:n] {
		sum += d
	}
	if n == 0 {
		return 0, 0
	}
	return sum / time.Duration(n), n
}

// Wait is how long it may take until somebody is granted, by the log's own history.
type Wait struct {
	// Known says that there is a history to judge by: Samples intervals between slots that were freed while somebody waited.
	Known   bool
	Samples int
	For     time.Duration
}

// WaitFor is how long whoever is at a place in the order of grants may have to wait, as of now; 1 is the next. The state
// must be one that was folded from the log.
func (s State) WaitFor(place int, now time.Time) Wait {
	mean, n := s.pace.mean()
	if n == 0 || place < 1 {
		return Wait{}
	}
	// Slots freed above a lowered capacity go to nobody.
	frees := time.Duration(place-1) + time.Duration(max(len(s.Holders)-max(s.Capacity, 1), 0))
	first := max(mean-max(now.Sub(s.pace.since), 0), 0)
	if s.line.len() == 0 {
		first = mean
	}
	return Wait{Known: true, Samples: n, For: frees*mean + first}
}

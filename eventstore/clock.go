package eventstore

import (
	"sync"
	"time"

	"github.com/tenure-dev/tenure/eventstore/faults"
)

// Clock is the database's time as this process can best tell, so that no decision hangs on the clock of one machine. It is
// set by what the database says of its time and runs on the monotonic clock in between: a machine's clock that is wrong, or
// is set while the process runs, changes nothing.
//
// The database's clock itself may jump: it is set, or another machine took over. What it says is followed at once, since it
// decides; but nothing is to end because of a reading that was a mistake. So a reading that is off by more than
// [ClockLimits.Jump] makes the clock unsure, until another one a while later agrees with it, or with those before the jump,
// or somebody confirms it. Who ends something because its time is over asks [Clock.Unsure] first.
//
//	sure ──reading off by more than Jump──► unsure ──agrees with the first for Settle, or Confirm──► sure, by the new time
//	  ▲                                        │
//	  └───────────reading as before────────────┘
//
// After a jump back the log's time stands still: recordedAt never decreases. An append that was recorded at the time of the
// one before is therefore no reading of the clock; see [Clock.ObserveAppend]. Decisions go by the clock and not by the
// log's time, so what is to end by the clock ends later by the jump, and what was begun before it keeps its deadlines.
type Clock struct {
	mu     sync.Mutex
	limits ClockLimits
	last   *reading
	// sound is the last reading before a jump; while there is none, last.
	sound *reading
	// jumped is the first reading after the jump; nil while the clock is sure.
	jumped *reading
	by     time.Duration
	// recorded is the latest time of an append that this process knows of.
	recorded time.Time
	notice   func(ClockNotice)
}

// reading is one moment by the database's clock and by this process's.
type reading struct{ there, here time.Time }

// at is what the clock should show at a moment of this process's.
func (r reading) at(here time.Time) time.Time { return r.there.Add(here.Sub(r.here)) }

// ClockLimits are what a jump is. The zero value of each is its default.
type ClockLimits struct {
	// Jump is how far a reading may be off, default 60 s.
	Jump time.Duration
	// Settle is for how long readings have to agree after a jump, default 30 s.
	Settle time.Duration
}

func (l ClockLimits) withDefaults() ClockLimits {
	if l.Jump == 0 {
		l.Jump = 60 * time.Second
	}
	if l.Settle == 0 {
		l.Settle = 30 * time.Second
	}
	return l
}

// ClockNotice is what an operator would want to know of the clock.
type ClockNotice struct {
	// By is how far the clock jumped.
	By time.Duration
	// Sure says that the doubt is over: the clock stays where it is, or has gone back to where it was, or was confirmed.
	Sure bool
	// Why is jumped, settled, went_back or confirmed.
	Why string
}

// Guard sets what a jump is, and who is told of one. It is called before the clock is used; notice must return at once and
// not ask the clock.
func (c *Clock) Guard(limits ClockLimits, notice func(ClockNotice)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.limits, c.notice = limits, notice
}

// Observe notes that the database's time was at, read from an answer that has just arrived.
func (c *Clock) Observe(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.observe(at)
}

// ObserveAppend notes that an append was recorded at that time. It is the database's time unless the log's is ahead of it.
func (c *Clock) ObserveAppend(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !at.After(c.recorded) {
		return
	}
	c.recorded = at
	c.observe(at)
}

func (c *Clock) observe(at time.Time) {
	now := &reading{there: at, here: faults.Now()}
	limits := c.limits.withDefaults()
	near := func(r *reading) bool { return at.Sub(r.at(now.here)).Abs() <= limits.Jump }
	switch {
	case c.last == nil:
	case c.jumped == nil && !near(c.last):
		c.sound, c.jumped, c.by = c.last, now, at.Sub(c.last.at(now.here))
		c.tell("jumped", false)
	case c.jumped == nil:
	case near(c.sound):
		c.settle("went_back")
	case !near(c.jumped):
		c.jumped, c.by = now, at.Sub(c.sound.at(now.here)) // it jumped once more
	case now.here.Sub(c.jumped.here) >= limits.Settle:
		c.settle("settled")
	}
	c.last = now
}

// Confirm says that the clock is right as it is now.
func (c *Clock) Confirm() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.jumped != nil {
		c.settle("confirmed")
	}
}

func (c *Clock) settle(why string) {
	c.jumped, c.sound = nil, nil
	c.tell(why, true)
	c.by = 0
}

func (c *Clock) tell(why string, sure bool) {
	if c.notice != nil {
		c.notice(ClockNotice{By: c.by, Sure: sure, Why: why})
	}
}

// Unsure reports whether the database's clock jumped and nobody can tell yet whether it is right, and how far it jumped.
func (c *Clock) Unsure() (by time.Duration, unsure bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.by, c.jumped != nil
}

// Now is the database's time, in microseconds, in UTC; before the first answer it is this machine's.
func (c *Clock) Now() time.Time {
	now := faults.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last != nil {
		now = c.last.at(now)
	}
	return now.UTC().Truncate(time.Microsecond)
}

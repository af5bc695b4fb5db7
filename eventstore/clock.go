package eventstore

import (
	"sync/atomic"
	"time"

	"github.com/tenure-dev/tenure/eventstore/faults"
)

// Clock is the database's time as this process can best tell, so that no decision hangs on the clock of one machine. It is
// set by what the database says of its time and runs on the monotonic clock in between: a machine's clock that is wrong, or
// is set while the process runs, changes nothing.
type Clock struct{ last atomic.Pointer[reading] }

// reading is one moment by the database's clock and by this process's.
type reading struct{ there, here time.Time }

// Observe notes that the database's time was at, read from an answer that has just arrived.
func (c *Clock) Observe(at time.Time) {
	c.last.Store(&reading{there: at, here: faults.Now()})
}

// Now is the database's time, in microseconds, in UTC; before the first answer it is this machine's.
func (c *Clock) Now() time.Time {
	now := faults.Now()
	if r := c.last.Load(); r != nil {
		now = r.there.Add(now.Sub(r.here))
	}
	return now.UTC().Truncate(time.Microsecond)
}

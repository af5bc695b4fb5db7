package eventstore

import (
	"sync/atomic"
	"time"
)

// Clock is the database's time as this process can best tell, so that no decision hangs on the clock of one machine. It is
// set by what the database says of its time and runs on the monotonic clock in between.
type Clock struct{ offset atomic.Int64 }

// Observe notes that the database's time was at, read from an answer that has just arrived.
func (c *Clock) Observe(at time.Time) { c.offset.Store(int64(time.Until(at))) }

// Now is the database's time, in microseconds, in UTC.
func (c *Clock) Now() time.Time {
	return time.Now().Add(time.Duration(c.offset.Load())).UTC().Truncate(time.Microsecond)
}

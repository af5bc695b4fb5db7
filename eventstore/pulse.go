package eventstore

import (
	"context"
	"time"
)

// Pulse is the row that says when renewals were last known to be possible: every process that serves the API writes it once
// a second, by the database's clock, as long as it reaches the database. It is not history; a gap in it becomes an event
// (package outage).
type Pulse interface {
	// Beat says that renewals are possible now, unless nobody said so for longer than limit: then the row stays as it is until
	// [Pulse.Resume]. It returns the row after that.
	Beat(ctx context.Context, limit time.Duration) (PulseReading, error)
	// Resume says that renewals are possible again, and that the log's stream of gaps has that version.
	Resume(ctx context.Context, version int64) (PulseReading, error)
	// Look reads the row.
	Look(ctx context.Context) (PulseReading, error)
}

// PulseReading is the row, and when it was read by the database's clock.
type PulseReading struct {
	// At is when renewals were last known to be possible; zero before the first beat.
	At time.Time
	// Version is how many events the stream of gaps had at least.
	Version int64
	Now     time.Time
}

package pg

import (
	"context"
	"time"

	"github.com/tenure-dev/tenure/eventstore"
)

// Pulse is the row that says when renewals were last known to be possible.
type Pulse struct{ store *Store }

var _ eventstore.Pulse = (*Pulse)(nil)

// Pulse returns this log's.
func (s *Store) Pulse() *Pulse { return &Pulse{store: s} }

// Beat implements [eventstore.Pulse]. The row does not go back unless the database's clock did.
func (p *Pulse) Beat(ctx context.Context, limit time.Duration) (eventstore.PulseReading, error) {
	return p.ask(ctx, `
		WITH now AS MATERIALIZED (
		  SELECT clock_timestamp() AS at
		), beat AS (
		  UPDATE pulse SET beat_at = CASE WHEN beat_at - now.at > $1 THEN now.at ELSE greatest(beat_at, now.at) END
		    FROM now
		   WHERE beat_at IS NULL OR now.at - beat_at <= $1
		  RETURNING beat_at, gaps
		)
		SELECT coalesce(b.beat_at, p.beat_at), coalesce(b.gaps, p.gaps), now.at
		  FROM now
		 CROSS JOIN pulse p
		  LEFT JOIN beat b ON true`, limit)
}

// Resume implements [eventstore.Pulse].
func (p *Pulse) Resume(ctx context.Context, version int64) (eventstore.PulseReading, error) {
	return p.ask(ctx, `
		UPDATE pulse SET beat_at = clock_timestamp(), gaps = greatest(gaps, $1)
		RETURNING beat_at, gaps, clock_timestamp()`, version)
}

// Look implements [eventstore.Pulse].
func (p *Pulse) Look(ctx context.Context) (eventstore.PulseReading, error) {
	return p.ask(ctx, `SELECT beat_at, gaps, clock_timestamp() FROM pulse`)
}

func (p *Pulse) ask(ctx context.Context, query string, args ...any) (eventstore.PulseReading, error) {
	ctx, cancel := p.store.answerContext(ctx)
	defer cancel()
	var r eventstore.PulseReading
	var at *time.Time
	if err := p.store.pool.QueryRow(ctx, query, args...).Scan(&at, &r.Version, &r.Now); err != nil {
		return eventstore.PulseReading{}, unavailable(wrap(err, "ask the pulse"))
	}
	p.store.clock.Observe(r.Now)
	if at != nil {
		r.At = at.UTC()
	}
	r.Now = r.Now.UTC()
	return r, nil
}

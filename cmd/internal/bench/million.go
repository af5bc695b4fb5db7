package main

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/eventstore"
)

// millionLog is a long log that several benchmarks read and none changes.
type millionLog struct {
	*database
	events int64
}

// longLog makes the long log once.
func (b *bench) longLog(ctx context.Context) (*millionLog, error) {
	if b.million != nil {
		return b.million, nil
	}
	d, err := b.database(ctx, nil)
	if err != nil {
		return nil, err
	}
	w := &logWriter{total: int64(b.sizes.events), at: time.Now().UTC().Truncate(time.Microsecond)}
	if w.lives, err = newLives(); err != nil {
		return nil, err
	}
	b.million = &millionLog{database: d, events: w.total}
	if _, err := d.pool.CopyFrom(ctx, pgx.Identifier{"events"}, columns, w); err != nil {
		return nil, err
	}
	if _, err := d.pool.Exec(ctx, `VACUUM ANALYZE events`); err != nil {
		return nil, err
	}
	return b.million, nil
}

// columns are those of events, in the order of Values.
var columns = []string{
	"position", "epoch", "stream", "version", "name", "revision", "company_id", "company_position", "recorded_at", "append_id", "append_index",
	"actor_id", "key_id", "request_id", "cause_id", "payload", "salt", "commitment", "prev_hash", "hash",
}

// atOnce is how many leases live at the same time.
const atOnce = 500

// logWriter makes up the rows of a log that could have happened: many leases at once, each event an append of its own,
// hashes and all.
type logWriter struct {
	lives    [][]fact
	total    int64
	at       time.Time
	position int64
	streams  [atOnce]eventstore.Stream
	hashes   [atOnce][]byte
	event    eventstore.Recorded
}

var _ pgx.CopyFromSource = (*logWriter)(nil)

// Next makes up the next event.
func (w *logWriter) Next() bool {
	if w.position == w.total {
		return false
	}
	i := int(w.position % atOnce)
	version := int(w.position/atOnce) % streamEvents
	if version == 0 {
		w.streams[i], w.hashes[i] = eventstore.StreamOf(lease.Category, newID()), eventstore.NoHash()
	}
	w.position++
	w.at = w.at.Add(100 * time.Microsecond)
	f := w.lives[i%len(w.lives)][version]
	r := eventstore.Recorded{
		Position: w.position, Epoch: 1, Stream: w.streams[i], Version: int64(version + 1), Name: f.name, Revision: f.revision,
		Company: company, CompanyPosition: w.position, RecordedAt: w.at, AppendID: newID(), By: eventstore.Attribution{Request: newID()},
		Payload: f.payload, Salt: eventstore.NewSalt(), PrevHash: w.hashes[i],
	}
	r.Commitment = eventstore.Commit(r.Salt, r.Payload)
	r.Hash = eventstore.Hash(r)
	w.hashes[i], w.event = r.Hash, r
	return true
}

// Values is its row.
func (w *logWriter) Values() ([]any, error) {
	r, none := w.event, [16]byte{}
	return []any{
		r.Position, r.Epoch, string(r.Stream), r.Version, r.Name, int32(r.Revision), [16]byte(r.Company.UUID), r.CompanyPosition, r.RecordedAt,
		[16]byte(r.AppendID), int32(r.AppendIndex), none, none, [16]byte(r.By.Request), none, r.Payload, r.Salt, r.Commitment, r.PrevHash, r.Hash,
	}, nil
}

// Err never says anything: all is made up.
func (w *logWriter) Err() error { return nil }

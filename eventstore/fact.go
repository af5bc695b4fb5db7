package eventstore

import (
	"context"
	"time"

	"github.com/tenure-dev/tenure/domain"
)

// Fact is what a fold may know of a recorded event: what happened to what, where it stands in the log, and when. Who did it
// and the hashes are left out, which is half of what there is to read.
type Fact struct {
	Position   int64
	Epoch      int64
	Stream     Stream
	Version    int64
	Name       string
	Revision   int
	RecordedAt time.Time
	// AppendIndex is 0 for the first event of an append.
	AppendIndex int
	// Payload is the event's JSON as stored; nil once erased.
	Payload []byte
}

// Meta is what the domain may know of the record.
func (f Fact) Meta() domain.Meta {
	return domain.Meta{Position: f.Position, Version: f.Version, Epoch: f.Epoch, At: f.RecordedAt}
}

// Fact is what a fold may know of the event.
func (r Recorded) Fact() Fact {
	return Fact{
		Position: r.Position, Epoch: r.Epoch, Stream: r.Stream, Version: r.Version, Name: r.Name, Revision: r.Revision,
		RecordedAt: r.RecordedAt, AppendIndex: r.AppendIndex, Payload: r.Payload,
	}
}

// FactReader reads facts.
type FactReader interface {
	// ReadFacts returns facts with a position above after, in order: at most limit, and fewer when they are large. There are
	// none only at the end of the log.
	ReadFacts(ctx context.Context, after int64, limit int) ([]Fact, error)
}

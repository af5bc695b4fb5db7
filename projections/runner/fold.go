package runner

import (
	"strings"

	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/projections"
)

// poison is an event that a read model could not take.
type poison struct {
	stream    eventstore.Stream
	position  int64
	version   int64
	eventName string
	reason    string
}

// maxReason bounds what is kept of an error.
const maxReason = 2000

func newPoison(e *projections.Event, reason string) poison {
	reason = strings.ToValidUTF8(strings.ReplaceAll(reason, "\x00", "\uFFFD"), "\uFFFD")
	if len(reason) > maxReason {
		reason = strings.ToValidUTF8(reason[:maxReason], "") + "…"
	}
	return poison{stream: e.Stream, position: e.Position, version: e.Version, eventName: e.Name, reason: reason}
}

// folding is rows of one read model in memory: those that a page touches, or all.
type folding struct {
	model projections.Model
	rows  map[eventstore.Stream]projections.Stored
	// dirty are the streams whose row is not what the table has.
	dirty map[eventstore.Stream]bool
	// parked are the streams that take no events; fresh those that became so here.
	parked map[eventstore.Stream]bool
	fresh  []poison
	// broken are streams whose row could not be read.
	broken map[eventstore.Stream]error
	// skips are positions that are left out if they cannot be taken, refused ones that the database would not take.
	skips   map[int64]bool
	refused map[int64]string
	// alone says that nobody else has the rows: they are changed in place, and those that end are forgotten.
	alone bool
}

func newFolding(m projections.Model) *folding {
	return &folding{
		model: m, rows: map[eventstore.Stream]projections.Stored{}, dirty: map[eventstore.Stream]bool{},
		parked: map[eventstore.Stream]bool{}, broken: map[eventstore.Stream]error{}, skips: map[int64]bool{},
	}
}

// newBuildFolding is for all rows of a new generation.
func newBuildFolding(m projections.Model) *folding {
	f := newFolding(m)
	f.alone = true
	return f
}

// take folds an event if the model follows its stream. What cannot be folded parks the stream.
func (f *folding) take(e *projections.Event) (follows bool) {
	if !f.model.Follows(e.Stream) {
		return false
	}
	if f.parked[e.Stream] {
		return true
	}
	reason := f.try(e)
	switch {
	case reason == "":
	case f.skips[e.Position]:
	default:
		f.parked[e.Stream] = true
		f.fresh = append(f.fresh, newPoison(e, reason))
	}
	return true
}

// try folds an event, or says why it cannot.
func (f *folding) try(e *projections.Event) (reason string) {
	if reason := f.refused[e.Position]; reason != "" {
		return reason
	}
	if err := f.broken[e.Stream]; err != nil {
		return err.Error()
	}
	if f.alone {
		return f.update(e)
	}
	old := f.rows[e.Stream]
	next, err := f.model.Fold(old, e)
	if err != nil {
		return err.Error()
	}
	if next != old {
		f.rows[e.Stream] = next
		f.dirty[e.Stream] = true
	}
	return ""
}

func (f *folding) update(e *projections.Event) (reason string) {
	old := f.rows[e.Stream]
	next, err := f.model.Update(old, e)
	switch {
	case err != nil:
		return err.Error()
	case next == nil:
		delete(f.rows, e.Stream)
	case old == nil:
		f.rows[e.Stream] = next
	}
	return ""
}

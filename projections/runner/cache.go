package runner

import (
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/projections"
)

// maxCached bounds the rows of one read model that a runner remembers.
const maxCached = 5000

// rowCache is what a runner remembers of the rows of a live generation that it keeps.
//
// It may trust it: a page is committed only if the generation is where this runner left it, so nobody else has taken
// events in; and what is done beside that (retry, skip) changes rows of parked streams only, which are never in here. When
// a slot moves in any other way, it gets a new cache.
type rowCache struct {
	rows map[eventstore.Stream]projections.Stored
}

func newRowCache() *rowCache { return &rowCache{rows: map[eventstore.Stream]projections.Stored{}} }

// give moves what is known of the streams into a folding, and returns the streams of which nothing is.
func (c *rowCache) give(f *folding, streams []string) (unknown []string) {
	if c == nil {
		return streams
	}
	for _, s := range streams {
		if row := c.rows[eventstore.Stream(s)]; row != nil {
			f.rows[eventstore.Stream(s)] = row
		} else {
			unknown = append(unknown, s)
		}
	}
	return unknown
}

// take remembers the rows of a page that was committed.
func (c *rowCache) take(f *folding) {
	if c == nil {
		return
	}
	for stream := range f.parked {
		delete(c.rows, stream)
	}
	for stream, row := range f.rows {
		switch {
		case row == nil:
			delete(c.rows, stream)
		case !f.parked[stream]:
			c.rows[stream] = row
		}
	}
	for stream := range c.rows {
		if len(c.rows) <= maxCached {
			return
		}
		delete(c.rows, stream)
	}
}

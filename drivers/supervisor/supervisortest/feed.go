package supervisortest

import (
	"context"

	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/memory"
)

// Feed passes the whole log to note, event by event in order, and goes on with what is appended until ctx is done.
func Feed(ctx context.Context, store *memory.Store, note func(eventstore.Recorded)) {
	var position int64
	for {
		changed := store.Changed()
		page, _ := store.ReadAll(ctx, position, 0) // it fails with ctx only
		for _, r := range page {
			position = r.Position
			note(r)
		}
		if len(page) > 0 {
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

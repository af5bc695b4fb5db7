package api

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/eventstore"
)

// A cursor of events is EPOCH-POSITION: the position alone names another event once the log has forked before it. A plain
// position is taken as well, for who has it from elsewhere.

// cursorOf is the cursor behind an event.
func cursorOf(r eventstore.Recorded) string { return fmt.Sprintf("%d-%d", r.Epoch, r.Position) }

// cursor is the position that a cursor stands for. One of an event that the log does not have any more is refused.
func (s *Server) cursor(ctx context.Context, field, text string) (after int64, err error) {
	rest, epoch := text, int64(0)
	if of, position, ok := strings.Cut(text, "-"); ok && of != "" {
		if epoch, err = strconv.ParseInt(of, 10, 64); err != nil || epoch < 1 || position == "" {
			return 0, domain.Refuse(domain.KindInvalid, "invalid_cursor", "%q is no cursor", text).On(field).
				Mend("give what the server gave: next of a page, or the id of an event of a stream")
		}
		rest = position
	}
	if after, err = number(field, rest); err != nil || after == 0 {
		return after, err
	}
	store := s.deps.Commands.Ledger().Store()
	if epoch == 0 {
		// Before the first fork there is nothing that a position could be mistaken for.
		if store.Epoch() == 1 {
			return after, nil
		}
		head, err := store.Head(ctx)
		if err == nil && after > head.Position {
			err = cursorReset(field)
		}
		return after, err
	}
	there, err := store.ReadAll(ctx, after-1, 1)
	if err == nil && (len(there) == 0 || there[0].Position != after || there[0].Epoch != epoch) {
		err = cursorReset(field)
	}
	return after, err
}

func cursorReset(field string) error {
	return domain.Refuse(domain.KindGone, "cursor_reset", "the event that the cursor stands behind was lost when the log forked").On(field).
		Mend("read again from the start, or behind an event that is still there: GET /api/v1/log says where the log forked")
}

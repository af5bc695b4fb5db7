package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/eventstore"
)

// feed is a part of the log that can be read on from any position, and watched.
type feed struct {
	// read returns events with a position above after, in order; fewer than limit only at the end.
	read  func(ctx context.Context, after int64, limit int) ([]eventstore.Recorded, error)
	watch func() (signals <-chan struct{}, cancel func())
}

// streamPage bounds the events of a stream that are held in memory at once.
const streamPage = 64

func (s *Server) leaseEvents(c *call) error {
	name := eventstore.StreamOf(lease.Category, c.id)
	var from int64
	return s.answerFeed(c, feed{
		read: func(ctx context.Context, after int64, limit int) ([]eventstore.Recorded, error) {
			return s.readStreamAfter(ctx, name, &from, after, limit)
		},
		watch: func() (<-chan struct{}, func()) { return s.deps.Hub.Watch(name) },
	})
}

// readStreamAfter reads a stream on from a position of the log. A stream knows versions only, so the place is looked for the
// first time; from remembers a version that is not past it.
func (s *Server) readStreamAfter(ctx context.Context, name eventstore.Stream, from *int64, after int64, limit int) ([]eventstore.Recorded, error) {
	var found []eventstore.Recorded
	for version := *from; ; {
		page, err := s.deps.Commands.Ledger().Store().ReadStream(ctx, name, version, eventstore.PageSize)
		if err != nil {
			return nil, err
		}
		for _, r := range page {
			switch version = r.Version; {
			case r.Position <= after:
				*from = r.Version
			default:
				found = append(found, r)
			}
			if len(found) == limit {
				return found, nil
			}
		}
		if len(page) < eventstore.PageSize {
			return found, nil
		}
	}
}

// listEvents is the whole log, or for a company's key that company's part of it.
func (s *Server) listEvents(c *call) error {
	f := feed{read: s.deps.Commands.Ledger().Store().ReadAll, watch: s.deps.Hub.WatchAll}
	if c.principal.Scoped() {
		f.read = func(ctx context.Context, after int64, limit int) ([]eventstore.Recorded, error) {
			return s.deps.Feed.ReadCompany(ctx, c.principal.Company, after, limit)
		}
	}
	return s.answerFeed(c, f)
}

func (s *Server) answerFeed(c *call, f feed) error {
	// What is read here is the log itself, which shows every position that anybody was told.
	if err := c.only("after", "limit", "minPosition"); err != nil {
		return err
	}
	after, err := s.cursor(c.ctx(), "after", c.QueryParam("after"))
	if err != nil {
		return err
	}
	if !strings.Contains(c.Request().Header.Get(echo.HeaderAccept), wire.TypeEventStream) {
		return s.answerEventPage(c, f, after)
	}
	// A client that reconnects says what it has; that is newer than the address that it began with.
	if last := c.Request().Header.Get(wire.HeaderLastEventID); last != "" {
		if after, err = s.cursor(c.ctx(), wire.HeaderLastEventID, last); err != nil {
			return err
		}
	}
	return s.streamEvents(c, f, after)
}

const (
	defaultEvents = 100
	maxEvents     = 1000
)

func (s *Server) answerEventPage(c *call, f feed, after int64) error {
	limit, err := c.limit(maxEvents)
	if err != nil {
		return err
	}
	limit = orDefault(limit, defaultEvents)
	// The end of the log first: what is appended meanwhile may be in the page, and is then in the next one's place.
	head, err := s.deps.Commands.Ledger().Store().Head(c.ctx())
	if err != nil {
		return err
	}
	events, err := f.read(c.ctx(), after, limit+1)
	if err != nil {
		return err
	}
	out := wire.List[wire.Event]{Items: make([]wire.Event, 0, len(events)), Position: head.Position}
	for _, r := range events[:min(limit, len(events))] {
		out.Items = append(out.Items, showEvent(r))
		out.Position = max(out.Position, r.Position)
	}
	if len(events) > limit {
		out.Next = textOrNull(cursorOf(events[limit-1]))
	}
	return c.answer(http.StatusOK, out)
}

// streamEvents sends events as server-sent events, as they happen. The id of each is its cursor, so that whoever
// reconnects with the last one gets exactly what it missed, or learns that the log does not have it any more. A heartbeat also checks that the key is still valid.
func (s *Server) streamEvents(c *call, f feed, after int64) error {
	signals, stop := f.watch()
	defer stop()
	st, err := c.stream(wire.TypeEventStream)
	if err != nil {
		return err
	}
	return st.finish(s.sendEvents(c, st, f, after, signals))
}

func (s *Server) sendEvents(c *call, st *stream, f feed, after int64, signals <-chan struct{}) error {
	if _, err := st.buffer.WriteString("retry: 1000\n\n"); err != nil {
		return err
	}
	heartbeat := time.NewTicker(s.deps.Limits.Heartbeat)
	defer heartbeat.Stop()
	look := time.NewTicker(lookAgain)
	defer look.Stop()
	for {
		page, err := f.read(st.ends, after, streamPage)
		if st.ended() {
			return nil
		}
		if err != nil && !away(err) {
			return err
		}
		for _, r := range page {
			if err := st.event(r); err != nil {
				return err
			}
			after = r.Position
		}
		if len(page) == streamPage {
			continue
		}
		if err := st.flush(); err != nil {
			return err
		}
		select {
		case _, open := <-signals:
			if !open {
				return nil
			}
		case <-look.C:
		case <-heartbeat.C:
			if _, err := s.keys.Check(c.ctx(), c.Request().Header.Get(echo.HeaderAuthorization)); err != nil && !away(err) {
				return nil // the key is not valid any more: the stream ends, and a new one says why
			}
			if _, err := st.buffer.WriteString(": alive\n\n"); err != nil {
				return err
			}
		case <-st.ends.Done():
			return nil
		}
	}
}

// event writes one server-sent event.
func (st *stream) event(r eventstore.Recorded) error {
	data, err := json.Marshal(showEvent(r)) // one line: JSON has no raw line breaks
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(st.buffer, "id: %s\nevent: %s\ndata: %s\n\n", cursorOf(r), r.Name, data)
	return err
}

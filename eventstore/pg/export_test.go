package pg

import "context"

// NoteEvery is how often the place of a group is written down.
const NoteEvery = noteEvery

// FeedPage is how many events a page of the feed behind a position has, and how many bytes their payloads are.
func (s *Store) FeedPage(ctx context.Context, after int64) (events, bytes int, err error) {
	p, err := s.readMessages(ctx, feedQuery, after, feedPage)
	for _, r := range p.rows {
		bytes += len(r.Msg.Payload)
	}
	return len(p.rows), bytes, err
}

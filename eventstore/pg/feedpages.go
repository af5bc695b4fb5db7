package pg

import (
	"context"
	stdsql "database/sql"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill-sql/v4/pkg/sql"

	"github.com/tenure-dev/tenure/eventstore"
)

const (
	// feedPage is how many events the subscriber reads at once.
	feedPage = 2000
	// pageBytes is how large the events of a page may be, but for the last one. Two pages are in memory: one is handled while
	// the next one is read.
	pageBytes = 4 << 20
	// noteEvery is how often a group's place is written down while it moves.
	noteEvery = 200 * time.Millisecond
)

// feed reads the log for a subscription. It stands where Watermill's subscriber has a database: what that takes for a
// transaction is a page of the log, and nothing is open in the database while the page's events are handled.
//
//	             ┌─ read ahead ──────────────┐
//	group's place│                           ▼
//	─────────────┴► page ─► event, ack … ─► page ─► … ─► the end ─► wait for more
type feed struct {
	store *Store
	group string
	// epoch is that of the log whose events it reads.
	epoch  int64
	ctx    context.Context //nolint:containedctx // it ends with the subscriber, which Watermill's context does not
	cancel context.CancelFunc
	taken  atomic.Bool

	// The rest belongs to the goroutine of the subscription.

	// place is the last position that is acknowledged; -1 while it is not known.
	place int64
	// noted is when the place was last written down, moved whether it is another one by now.
	noted time.Time
	moved bool
	// end is where the log ended at the last read; more is closed when there may have been more to read since then.
	end  int64
	more <-chan struct{}
	// limit is how many events to ask for.
	limit int
	ahead *reading
}

// reading is a page on its way.
type reading struct {
	after  int64
	cancel context.CancelFunc
	done   chan struct{}
	page   page
	err    error
}

// page is events that follow each other.
type page struct {
	rows []sql.Row
	// more says that the log went on behind it; cut, that there were more bytes than a page may have.
	more, cut bool
}

func newFeed(s *Store, group string) *feed {
	f := &feed{store: s, group: group, epoch: s.Epoch(), place: -1, end: -1, limit: feedPage}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	return f
}

var (
	_ sql.Beginner = (*feed)(nil)
	_ sql.Tx       = (*feed)(nil)
	_ sql.Rows     = (*pageRows)(nil)
)

// BeginTx begins nothing: a page is read by one statement and its place is noted by another one.
func (f *feed) BeginTx(context.Context, *stdsql.TxOptions) (sql.Tx, error) { return f, nil }

// Commit does nothing.
func (f *feed) Commit() error { return nil }

// Rollback does nothing.
func (f *feed) Rollback() error { return nil }

// ExecContext executes a statement on its own. That the place has moved waits its turn.
func (f *feed) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if query == notePlace {
		f.moved = true
		return sql.PgxResult{}, f.noteInTurn(ctx)
	}
	return f.exec(ctx, query, args...)
}

func (f *feed) exec(ctx context.Context, query string, args ...any) (sql.Result, error) {
	ctx, cancel := f.store.answerContext(ctx)
	defer cancel()
	tag, err := f.store.pool.Exec(ctx, query, args...)
	return sql.PgxResult{CommandTag: tag}, err
}

// noteInTurn writes the place down if it has moved and was not written for a while.
func (f *feed) noteInTurn(ctx context.Context) error {
	if !f.moved || time.Since(f.noted) < noteEvery {
		return nil
	}
	f.noted = time.Now()
	_, err := f.exec(ctx, notePlace, f.group, f.place, f.epoch)
	f.moved = err != nil
	return err
}

// QueryContext returns the events behind the group's place. It waits until there are any, and returns none only when the
// subscription ends.
func (f *feed) QueryContext(ctx context.Context, query string, _ ...any) (sql.Rows, error) {
	for f.goesOn(ctx) && (f.place < 0 || f.place != f.end || f.wait(ctx)) {
		p, err := f.next(ctx, query)
		if err != nil && f.goesOn(ctx) {
			return nil, err
		}
		if len(p.rows) == 0 {
			continue
		}
		if p.more {
			f.start(query, p.rows[len(p.rows)-1].Offset)
		}
		return &pageRows{rows: p.rows}, nil
	}
	return &pageRows{}, nil
}

func (f *feed) goesOn(ctx context.Context) bool { return ctx.Err() == nil && f.ctx.Err() == nil }

// next is the page behind the place: the one that was read ahead, or else it is read now.
func (f *feed) next(ctx context.Context, query string) (page, error) {
	if f.place < 0 {
		err := f.load(ctx)
		if err != nil {
			return page{}, err
		}
	}
	if f.ahead != nil && f.ahead.after != f.place {
		f.drop()
	}
	if f.ahead == nil {
		f.start(query, f.place)
	}
	r := f.ahead
	select {
	case <-r.done:
		f.ahead = nil
		r.cancel()
	case <-ctx.Done():
		return page{}, context.Cause(ctx)
	}
	if r.err != nil {
		return page{}, r.err
	}
	f.sizeUp(r.page)
	f.end = -1
	if !r.page.more {
		f.end = r.after
		if n := len(r.page.rows); n > 0 {
			f.end = r.page.rows[n-1].Offset
		}
	}
	return r.page, nil
}

// sizeUp asks for fewer events when they are large, and for more again when they are not.
func (f *feed) sizeUp(p page) {
	if p.cut {
		f.limit = len(p.rows)
	} else {
		f.limit = min(f.limit*2, feedPage)
	}
}

// groupPlace is where a group stopped.
const groupPlace = `SELECT position FROM consumer_offsets WHERE consumer_group = $1`

func (f *feed) load(ctx context.Context) error {
	ctx, cancel := f.store.answerContext(ctx)
	defer cancel()
	return f.store.pool.QueryRow(ctx, groupPlace, f.group).Scan(&f.place)
}

// start begins to read the page behind a position.
func (f *feed) start(query string, after int64) {
	f.more = f.store.Changed()
	ctx, cancel := f.store.answerContext(f.ctx)
	r := &reading{after: after, cancel: cancel, done: make(chan struct{})}
	f.ahead = r
	limit := f.limit
	go func() {
		defer close(r.done)
		r.page, r.err = f.store.readMessages(ctx, query, after, limit)
	}()
}

// drop gives up what is read ahead.
func (f *feed) drop() {
	if f.ahead == nil {
		return
	}
	f.ahead.cancel()
	<-f.ahead.done
	f.ahead = nil
}

// wait waits until there may be more, at most the poll interval. It reports whether the subscription goes on.
func (f *feed) wait(ctx context.Context) bool {
	limit := f.store.opts.PollInterval
	if f.moved {
		limit = min(limit, noteEvery-time.Since(f.noted))
	}
	goesOn := f.sleep(ctx, f.more, limit)
	_ = f.noteInTurn(ctx) // if it fails, its next turn comes
	return goesOn
}

func (f *feed) sleep(ctx context.Context, more <-chan struct{}, limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-more:
	case <-timer.C:
	case <-ctx.Done():
	case <-f.ctx.Done():
	}
	return f.goesOn(ctx)
}

// readMessages reads a page as messages.
func (s *Store) readMessages(ctx context.Context, query string, after int64, limit int) (p page, err error) {
	rows, err := s.pool.Query(ctx, query, inBinary, after, limit)
	if err != nil {
		return page{}, unavailable(fmt.Errorf("read the log: %w", err))
	}
	defer rows.Close()
	if err := binaryOnly(rows); err != nil {
		return page{}, err
	}
	var reader rowReader
	var last eventstore.Recorded
	bytes := 0
	for rows.Next() {
		if bytes >= pageBytes {
			p.cut = true
			break
		}
		e, err := reader.recorded(rows.RawValues())
		if err != nil {
			return page{}, err
		}
		msg := Message(e)
		bytes += len(msg.Payload) + envelopeSize
		p.rows = append(p.rows, sql.Row{Offset: e.Position, Msg: msg})
		last = e
	}
	rows.Close()
	if err := rows.Err(); err != nil {
		return page{}, unavailable(fmt.Errorf("read the log: %w", err))
	}
	if last.Position > 0 {
		s.saw([]eventstore.Recorded{last})
	}
	p.more = p.cut || len(p.rows) == limit
	return p, nil
}

// pageRows are the rows of a page as Watermill's subscriber goes through them.
type pageRows struct {
	rows []sql.Row
	at   int
}

// Next goes to the next row.
func (r *pageRows) Next() bool {
	r.at++
	return r.at <= len(r.rows)
}

func (r *pageRows) row() sql.Row { return r.rows[r.at-1] }

var errNoScan = errors.New("a row of the feed is a message, not columns")

// Scan refuses: nobody scans what is a message already.
func (r *pageRows) Scan(...any) error { return errNoScan }

// Close does nothing.
func (r *pageRows) Close() error { return nil }

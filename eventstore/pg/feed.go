package pg

import (
	stdsql "database/sql"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-sql/v4/pkg/sql"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/faults"
)

// Topic is the Watermill topic that the log is: the table events itself.
const Topic = "events"

// Subscriber is a Watermill subscription to the log. It reads from where its consumer group stopped, in order, and never
// skips; what it read before a crash may come again.
type Subscriber struct {
	*sql.Subscriber
	backoff *waitForMore
}

// Subscriber makes a subscriber for a consumer group. The caller closes it.
func (s *Store) Subscriber(group string) (*Subscriber, error) {
	backoff := &waitForMore{store: s, closed: make(chan struct{})}
	// An event whose handler never acknowledges is waited for: handlers acknowledge once they have noted it.
	noDeadline := time.Duration(0)
	sub, err := sql.NewSubscriber(limitedBeginner(s.pool, s.opts.CallTimeout), sql.SubscriberConfig{
		ConsumerGroup:  group,
		AckDeadline:    &noDeadline,
		SchemaAdapter:  schema{},
		OffsetsAdapter: offsets{},
		BackoffManager: backoff,
	}, watermill.NewSlogLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		return nil, fmt.Errorf("subscribe to the log: %w", err)
	}
	backoff.arm()
	return &Subscriber{Subscriber: sub, backoff: backoff}, nil
}

// Close ends the subscription and its wait for more.
func (s *Subscriber) Close() error {
	s.backoff.close()
	return s.Subscriber.Close()
}

// Start moves a consumer group that never read to a position; one that did stays where it is.
const startGroup = `
	INSERT INTO consumer_offsets (consumer_group, position)
	VALUES ($1, 0)
	ON CONFLICT DO NOTHING`

// feedPage is how many events the subscriber reads at once.
const feedPage = 1000

// schema makes the table events a Watermill topic.
type schema struct{}

var _ sql.SchemaAdapter = schema{}

// InsertQuery refuses: events come into the log by append only.
func (schema) InsertQuery(sql.InsertQueryParams) (sql.Query, error) {
	return sql.Query{}, fmt.Errorf("the log is written by appends, not by publishing")
}

// SelectQuery reads the next page. Positions are dense and in commit order, so "position > $1" misses nothing.
func (schema) SelectQuery(params sql.SelectQueryParams) (sql.Query, error) {
	next, err := params.OffsetsAdapter.NextOffsetQuery(sql.NextOffsetQueryParams{Topic: params.Topic, ConsumerGroup: params.ConsumerGroup})
	if err != nil {
		return sql.Query{}, err
	}
	return sql.Query{
		Query: `SELECT ` + Columns + ` FROM events WHERE position > (` + next.Query + `) ORDER BY position LIMIT ` + strconv.Itoa(feedPage),
		Args:  next.Args,
	}, nil
}

// UnmarshalMessage turns a row into a message: the payload is the event's, the envelope is metadata.
func (schema) UnmarshalMessage(params sql.UnmarshalMessageParams) (sql.Row, error) {
	var r eventstore.Recorded
	var company, appendID, actor, key, request, cause uuid.UUID
	err := params.Row.Scan(&r.Position, &r.Epoch, (*string)(&r.Stream), &r.Version, &r.Name, &r.Revision, &company, &r.CompanyPosition,
		&r.RecordedAt, &appendID, &r.AppendIndex, &actor, &key, &request, &cause,
		&r.Payload, &r.Salt, &r.Commitment, &r.PrevHash, &r.Hash)
	if err != nil {
		return sql.Row{}, fmt.Errorf("read an event: %w", err)
	}
	r.RecordedAt = r.RecordedAt.UTC()
	r.Company, r.AppendID = domain.CompanyID{UUID: company}, appendID
	r.By = eventstore.Attribution{
		Actor: domain.PrincipalID{UUID: actor}, Key: domain.KeyID{UUID: key}, Request: request, Cause: cause,
	}
	msg := Message(r)
	return sql.Row{Offset: r.Position, UUID: []byte(msg.UUID), Payload: msg.Payload, Msg: msg}, nil
}

// SchemaInitializingQueries does nothing: the schema is migrated.
func (schema) SchemaInitializingQueries(sql.SchemaInitializingQueriesParams) ([]sql.Query, error) {
	return nil, nil
}

// SubscribeIsolationLevel is READ COMMITTED: one statement reads the whole page.
func (schema) SubscribeIsolationLevel() stdsql.IsolationLevel { return stdsql.LevelReadCommitted }

// offsets keeps how far a group got in consumer_offsets.
type offsets struct{}

var _ sql.OffsetsAdapter = offsets{}

// AckMessageQuery moves the group. The place is a hint that may be read again, so its commit need not reach the disk.
func (offsets) AckMessageQuery(params sql.AckMessageQueryParams) (sql.Query, error) {
	faults.Point("feed.ack.before")
	return sql.Query{
		Query: `UPDATE consumer_offsets SET position = $2
		         WHERE consumer_group = $1 AND position < $2
		           AND set_config('synchronous_commit', 'off', true) = 'off'`,
		Args: []any{params.ConsumerGroup, params.LastRow.Offset},
	}, nil
}

// ConsumedMessageQuery does nothing.
func (offsets) ConsumedMessageQuery(sql.ConsumedMessageQueryParams) (sql.Query, error) {
	return sql.Query{}, nil
}

// NextOffsetQuery is where the group stopped.
func (offsets) NextOffsetQuery(params sql.NextOffsetQueryParams) (sql.Query, error) {
	return sql.Query{
		Query: `SELECT o.position FROM consumer_offsets o WHERE o.consumer_group = $1`,
		Args:  []any{params.ConsumerGroup},
	}, nil
}

// SchemaInitializingQueries does nothing: the schema is migrated.
func (offsets) SchemaInitializingQueries(sql.OffsetsSchemaInitializingQueriesParams) ([]sql.Query, error) {
	return nil, nil
}

// BeforeSubscribingQueries makes the group's row.
func (offsets) BeforeSubscribingQueries(params sql.BeforeSubscribingQueriesParams) ([]sql.Query, error) {
	return []sql.Query{{Query: startGroup, Args: []any{params.ConsumerGroup}}}, nil
}

// waitForMore is the subscriber's pause: until there may be more, at most the poll interval, never past the end.
type waitForMore struct {
	store  *Store
	once   sync.Once
	closed chan struct{}
	mu     sync.Mutex
	armed  <-chan struct{}
}

var _ sql.BackoffManager = (*waitForMore)(nil)

// arm remembers the signal before the read that it covers, so that an append between read and wait is not slept over.
func (w *waitForMore) arm() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.armed = w.store.Changed()
}

// HandleError waits after an empty page, and a second after an error.
func (w *waitForMore) HandleError(_ watermill.LoggerAdapter, noMsg bool, err error) time.Duration {
	defer w.arm()
	if err != nil {
		select {
		case <-w.closed:
		default:
			w.store.opts.Logger.Warn("reading the log", "error", err)
			w.wait(nil, time.Second)
		}
		return 0
	}
	if !noMsg {
		faults.Point("feed.ack.after")
		return 0
	}
	w.mu.Lock()
	more := w.armed
	w.mu.Unlock()
	w.wait(more, w.store.opts.PollInterval)
	return 0
}

func (w *waitForMore) wait(more <-chan struct{}, limit time.Duration) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-more:
	case <-w.closed:
	case <-timer.C:
	}
}

func (w *waitForMore) close() { w.once.Do(func() { close(w.closed) }) }

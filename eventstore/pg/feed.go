package pg

import (
	"context"
	stdsql "database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-sql/v4/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/tenure-dev/tenure/eventstore/faults"
)

// Topic is the Watermill topic that the log is: the table events itself.
const Topic = "events"

// Subscriber is a Watermill subscription to the log. It reads from where its consumer group stopped, in order, and never
// skips; what it read before a crash may come again.
type Subscriber struct {
	sub  *sql.Subscriber
	feed *feed
}

var _ message.Subscriber = (*Subscriber)(nil)

// Subscriber makes a subscriber for a consumer group. The caller closes it.
func (s *Store) Subscriber(group string) (*Subscriber, error) {
	f := newFeed(s, group)
	// An event whose handler never acknowledges is waited for: handlers acknowledge once they have noted it.
	noDeadline := time.Duration(0)
	sub, err := sql.NewSubscriber(f, sql.SubscriberConfig{
		ConsumerGroup:  group,
		AckDeadline:    &noDeadline,
		SchemaAdapter:  schema{},
		OffsetsAdapter: offsets{feed: f},
		BackoffManager: pause{feed: f},
	}, watermill.NopLogger{})
	if err != nil {
		return nil, fmt.Errorf("subscribe to the log: %w", err)
	}
	return &Subscriber{sub: sub, feed: f}, nil
}

var errSubscribed = errors.New("a subscriber of the log has one subscription")

// Subscribe delivers the events of [Topic], each once the one before is acknowledged. It is called once.
func (s *Subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	if topic != Topic {
		return nil, fmt.Errorf("subscribe to %q: the log is topic %q", topic, Topic)
	}
	if s.feed.taken.Swap(true) {
		return nil, errSubscribed
	}
	return s.sub.Subscribe(ctx, topic)
}

// Close ends the subscription and its wait for more.
func (s *Subscriber) Close() error {
	s.feed.cancel()
	err := s.sub.Close()
	s.feed.drop()
	return err
}

// startGroup moves a consumer group that never read to a position; one that did stays where it is.
const startGroup = `
	INSERT INTO consumer_offsets (consumer_group, position)
	VALUES ($1, 0)
	ON CONFLICT DO NOTHING`

// notePlace moves a group on. Its place is a hint that may be read again, so the commit need not reach the disk. A place in
// another epoch of the log is none in this one.
const notePlace = `
	UPDATE consumer_offsets SET position = $2
	 WHERE consumer_group = $1 AND position < $2 AND (SELECT epoch FROM log) = $3
	   AND set_config('synchronous_commit', 'off', true) = 'off'`

// feedQuery reads what comes after a position. Positions are dense and in commit order, so it misses nothing.
const feedQuery = `SELECT ` + Columns + ` FROM events WHERE position > $1 ORDER BY position LIMIT $2`

// schema makes the table events a Watermill topic.
type schema struct{}

var _ sql.SchemaAdapter = schema{}

// InsertQuery refuses: events come into the log by append only.
func (schema) InsertQuery(sql.InsertQueryParams) (sql.Query, error) {
	return sql.Query{}, fmt.Errorf("the log is written by appends, not by publishing")
}

// SelectQuery reads what comes after a place, which the feed knows.
func (schema) SelectQuery(sql.SelectQueryParams) (sql.Query, error) {
	return sql.Query{Query: feedQuery}, nil
}

// UnmarshalMessage hands over what the feed made of a row.
func (schema) UnmarshalMessage(params sql.UnmarshalMessageParams) (sql.Row, error) {
	return params.Row.(*pageRows).row(), nil
}

// SchemaInitializingQueries does nothing: the schema is migrated.
func (schema) SchemaInitializingQueries(sql.SchemaInitializingQueriesParams) ([]sql.Query, error) {
	return nil, nil
}

// SubscribeIsolationLevel is READ COMMITTED: one statement reads the whole page.
func (schema) SubscribeIsolationLevel() stdsql.IsolationLevel { return stdsql.LevelReadCommitted }

// offsets keeps how far a group got in consumer_offsets.
type offsets struct{ feed *feed }

var _ sql.OffsetsAdapter = offsets{}

// AckMessageQuery moves the group. The feed says where it is to the database now and then.
func (o offsets) AckMessageQuery(params sql.AckMessageQueryParams) (sql.Query, error) {
	faults.Point("feed.ack.before")
	o.feed.place = params.LastRow.Offset
	return sql.Query{Query: notePlace}, nil
}

// ConsumedMessageQuery does nothing.
func (offsets) ConsumedMessageQuery(sql.ConsumedMessageQueryParams) (sql.Query, error) {
	return sql.Query{}, nil
}

// NextOffsetQuery is where the group stopped.
func (offsets) NextOffsetQuery(params sql.NextOffsetQueryParams) (sql.Query, error) {
	return sql.Query{Query: groupPlace, Args: []any{params.ConsumerGroup}}, nil
}

// SchemaInitializingQueries does nothing: the schema is migrated.
func (offsets) SchemaInitializingQueries(sql.OffsetsSchemaInitializingQueriesParams) ([]sql.Query, error) {
	return nil, nil
}

// BeforeSubscribingQueries makes the group's row.
func (offsets) BeforeSubscribingQueries(params sql.BeforeSubscribingQueriesParams) ([]sql.Query, error) {
	return []sql.Query{{Query: startGroup, Args: []any{params.ConsumerGroup}}}, nil
}

// pause is what the subscriber does between pages. It waits for more inside the feed, so here it only waits after an error.
type pause struct{ feed *feed }

var _ sql.BackoffManager = pause{}

// HandleError waits a second after an error.
func (p pause) HandleError(_ watermill.LoggerAdapter, noMsg bool, err error) time.Duration {
	switch {
	case err == nil && !noMsg:
		faults.Point("feed.ack.after")
	case err != nil && !errors.Is(err, context.Canceled):
		p.feed.store.opts.Logger.Warn("reading the log", "error", err)
		p.feed.sleep(p.feed.ctx, nil, time.Second)
	}
	return 0
}

package pg_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/eventstoretest"
	"github.com/tenure-dev/tenure/eventstore/pg"
	"github.com/tenure-dev/tenure/migrations"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

// Case A41: five engines find an empty database at once, twenty times. All come up on one log.
func TestFiveStartsOnAnEmptyDatabaseAtOnceMakeOneLog(t *testing.T) {
	t.Parallel()
	pooler := pgtest.NewPooler(t)
	for name, c := range map[string]struct {
		rounds  int
		connect func(t *testing.T) (url string)
	}{
		"direct":         {20, func(t *testing.T) string { return pgtest.URL(t) }},
		"through pooler": {5, func(t *testing.T) string { url, _ := pooler.Database(t); return url }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for range c.rounds {
				// A test of its own closes its stores before the next round.
				t.Run("round", func(t *testing.T) { startAtOnce(t, c.connect(t)) })
			}
		})
	}
}

func startAtOnce(t *testing.T, url string) {
	t.Helper()
	stores := make([]*pg.Store, 5)
	var engines sync.WaitGroup
	for i := range stores {
		pool := pgtest.ConnectPooled(t, url)
		engines.Go(func() { stores[i] = start(t, pool) })
	}
	engines.Wait()
	require.False(t, t.Failed())
	for i, s := range stores {
		require.Equal(t, stores[0].Identity(), s.Identity())
		r := eventstoretest.Must(t, s, eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, i))
		require.Equal(t, int64(i+1), r.First)
	}
}

// start is how an engine gets to its log.
func start(t *testing.T, pool *pgxpool.Pool) *pg.Store {
	if err := migrations.Up(context.Background(), pool); err != nil {
		t.Error(err)
		return nil
	}
	s, err := pg.Open(context.Background(), pool, pg.Options{})
	if assert.NoError(t, err) {
		t.Cleanup(s.Close)
	}
	return s
}

func TestTheSuitePassesThroughAPoolerThatGivesEachTransactionAnotherSession(t *testing.T) {
	t.Parallel()
	pooler := pgtest.NewPooler(t)
	eventstoretest.Run(t, func(t *testing.T) eventstore.Store {
		pooled, _ := pooler.Database(t)
		s := start(t, pgtest.ConnectPooled(t, pooled))
		require.NotNil(t, s)
		return s
	}, laterEpoch)
}

// Behind a pooler a process hears of others by polling, and says so; a direct connection string makes it at once.
func TestBehindAPoolerEventsOfOthersComeByThePollOrByADirectLink(t *testing.T) {
	t.Parallel()
	pooler := pgtest.NewPooler(t)
	for name, withDirect := range map[string]bool{"the poll": false, "a direct link": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pooled, direct := pooler.Database(t)
			writer := start(t, pgtest.ConnectPooled(t, pooled))
			said := &lockedBuffer{}
			opts := pg.Options{Logger: slog.New(slog.NewTextHandler(said, nil)), PollInterval: 200 * time.Millisecond}
			if withDirect {
				opts.DirectURL, opts.PollInterval = direct, time.Hour
			}
			s := openPool(t, pgtest.ConnectPooled(t, pooled), opts)
			events := subscribe(t, s, "g")
			for n := range 20 {
				eventstoretest.Must(t, writer, eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, n))
				await(t, events, int64(n+1), time.Minute)
			}
			if withDirect {
				require.NotContains(t, said.String(), "a pooler stands before the database")
				return
			}
			require.Eventually(t, func() bool { return strings.Contains(said.String(), "a pooler stands before the database") },
				time.Minute, 10*time.Millisecond)
		})
	}
}

type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

package pg_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/eventstoretest"
	"github.com/tenure-dev/tenure/eventstore/memory"
	"github.com/tenure-dev/tenure/eventstore/pg"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

// The store in memory is small enough to be believed; the one on Postgres answers as it does, whatever is appended.
func TestTheStoreOnPostgresAnswersAsTheOneInMemory(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	// A store remembers its log, so each log has its own.
	var s *pg.Store
	t.Cleanup(func() { s.Close() })
	eventstoretest.Same(t, func(t *rapid.T) (a, b eventstore.Store) {
		if s != nil {
			s.Close()
		}
		_, err := pool.Exec(context.Background(), `DELETE FROM events; DELETE FROM commands; DELETE FROM inputs`)
		require.NoError(t, err)
		s, err = pg.Open(context.Background(), pool, pg.Options{PollInterval: time.Hour})
		require.NoError(t, err)
		return memory.New(), s
	})
}

package pg_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/eventstoretest"
	"github.com/tenure-dev/tenure/eventstore/pg"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

// An answer about what was done before carries the time of then, which is not the time.
func TestARepeatedCommandDoesNotSetTheClockBack(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	s := openPool(t, pool, pg.Options{})
	for name, again := range map[string]func(a *eventstore.Append){
		"the same append":  func(*eventstore.Append) {},
		"the same command": func(a *eventstore.Append) { a.ID = uuid.New() },
	} {
		a := eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, 1)
		a.Command = &eventstore.Command{Company: eventstoretest.Company, Route: "r", Key: name, Resource: uuid.New()}
		eventstoretest.Must(t, s, a)
		for _, table := range []string{"events", "commands"} {
			_, err := pool.Exec(t.Context(), `UPDATE `+table+` SET recorded_at = recorded_at - interval '1 hour'`)
			require.NoError(t, err)
		}
		again(&a)
		r, err := eventstoretest.Do(t, s, a)
		require.NoError(t, err, name)
		require.True(t, r.Replayed || r.CommandReplayed, name)
		require.WithinDuration(t, time.Now(), s.Clock().Now(), 30*time.Second, name)
	}
}

package pg_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/eventstoretest"
	"github.com/tenure-dev/tenure/eventstore/pg"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

func TestACommandIsRememberedForItsAgeAndAsLongAsWhatItMadeLives(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	s, err := pg.Open(context.Background(), pool, pg.Options{})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	made := func(key string, ended bool) eventstore.Command {
		id := uuid.New()
		stream := eventstore.StreamOf("thing", id)
		a := eventstoretest.One(stream, eventstore.NoStream, 1)
		a.Command = &eventstore.Command{Company: eventstoretest.Company, Route: "r", Key: key, Resource: id}
		if ended {
			e := eventstoretest.Event(stream, 2)
			e.Name = "ThingEnded"
			a.Events = append(a.Events, e)
		}
		eventstoretest.Must(t, s, a)
		return *a.Command
	}
	living, ended := made("living", false), made("ended", true)
	life := pg.Lifetime{Category: "thing", Ends: []string{"ThingEnded"}}

	n, err := s.PruneCommands(t.Context(), time.Hour, life)
	require.NoError(t, err)
	require.Zero(t, n, "both are young")
	_, err = pool.Exec(t.Context(), `UPDATE commands SET recorded_at = recorded_at - interval '8 days'`)
	require.NoError(t, err)
	young := made("young", true)
	n, err = s.PruneCommands(t.Context(), 7*24*time.Hour, life)
	require.NoError(t, err)
	require.Equal(t, int64(1), n)
	_, err = s.FindCommand(t.Context(), ended)
	require.ErrorIs(t, err, eventstore.ErrNoCommand)
	for _, c := range []eventstore.Command{living, young} {
		_, err = s.FindCommand(t.Context(), c)
		require.NoError(t, err, fmt.Sprint(c.Key))
	}
}

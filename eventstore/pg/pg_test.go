package pg_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/eventstoretest"
	"github.com/tenure-dev/tenure/eventstore/pg"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

func open(t *testing.T) *pg.Store {
	t.Helper()
	s, err := pg.Open(context.Background(), pgtest.Pool(t), pg.Options{})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

func TestThePostgresStorePassesTheSuite(t *testing.T) {
	t.Parallel()
	eventstoretest.Run(t, func(t *testing.T) eventstore.Store { return open(t) }, laterEpoch)
}

// laterEpoch begins another epoch of a log.
func laterEpoch(t *testing.T, s eventstore.Store) {
	t.Helper()
	_, err := s.(*pg.Store).Adopt(t.Context(), pg.Adoption{Reason: "a person knows better", Anyway: true})
	require.NoError(t, err)
}

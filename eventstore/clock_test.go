package eventstore_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/eventstore"
)

func TestTheClockIsTheDatabasesAndGoesOnByItself(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var c eventstore.Clock
		require.Equal(t, time.Now().UTC(), c.Now(), "nothing better is known")
		there := time.Now().Add(-time.Hour).UTC()
		c.Observe(there)
		require.Equal(t, there, c.Now())
		<-time.After(time.Minute)
		require.Equal(t, there.Add(time.Minute), c.Now())
		c.Observe(there.Add(time.Second))
		require.Equal(t, there.Add(time.Second), c.Now(), "also back: the database's clock was set")
	})
}

package pg_test

import (
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/eventstore/pg"
)

func FuzzAMessageThatIsNoneOfOursIsAnError(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(make([]byte, 200))
	f.Fuzz(func(t *testing.T, envelope []byte) {
		m := message.NewMessage("id", nil)
		m.Metadata.Set("tenure.envelope", string(envelope))
		r, err := pg.FromMessage(m)
		if err != nil {
			return
		}
		again, err := pg.FromMessage(pg.Message(r))
		require.NoError(t, err)
		require.Equal(t, r, again)
	})
}

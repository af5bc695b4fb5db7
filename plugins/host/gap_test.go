package host

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/plugins/protocol"
)

func TestGapsThatWaitCostNoMemory(t *testing.T) {
	t.Parallel()
	e := &execution{window: 10, wake: make(chan struct{}, 1)} // nobody writes
	gaps := func() {
		for i := range 1000 {
			e.output(protocol.ExecOutput{Stream: 1 + i%2, Dropped: 3})
		}
	}
	gaps()
	e.output(protocol.ExecOutput{Stream: 1, Data: []byte("between")})
	gaps()
	require.Equal(t, []protocol.ExecOutput{
		{Stream: 1, Dropped: 1500}, {Stream: 2, Dropped: 1500}, {Stream: 1, Data: []byte("between")}, {Stream: 1, Dropped: 1500}, {Stream: 2, Dropped: 1500},
	}, e.queue)
}

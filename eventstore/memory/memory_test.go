package memory_test

import (
	"testing"

	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/eventstoretest"
	"github.com/tenure-dev/tenure/eventstore/memory"
)

func TestTheMemoryStorePassesTheSuite(t *testing.T) {
	t.Parallel()
	eventstoretest.Run(t, func(*testing.T) eventstore.Store { return memory.New() }, func(_ *testing.T, s eventstore.Store) {
		s.(*memory.Store).BeginEpoch()
	})
}

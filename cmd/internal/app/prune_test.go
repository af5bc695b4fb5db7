package app

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/lease"
)

// The key that made a lease is remembered until one of these: with one missing, the keys of leases that end so stay for ever.
func TestEveryEventThatEndsALeaseLetsItsKeyBeForgotten(t *testing.T) {
	t.Parallel()
	for _, entry := range lease.Codec.Entries() {
		e, err := lease.Codec.Decode(entry.Name, entry.Revision, []byte(`{}`))
		require.NoError(t, err)
		ended := lease.Evolve(lease.State{}, e, domain.Meta{}).Status().Ended()
		require.Equal(t, ended, slices.Contains(leaseEnds, entry.Name), entry.Name)
	}
}

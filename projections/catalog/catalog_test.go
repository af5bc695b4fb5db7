package catalog_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/projections"
	"github.com/tenure-dev/tenure/projections/catalog"
	"github.com/tenure-dev/tenure/projections/projectionstest"
)

func TestEveryReadModelKeepsTheLaws(t *testing.T) {
	t.Parallel()
	for _, m := range catalog.All() {
		t.Run(m.Key().Name, func(t *testing.T) {
			t.Parallel()
			projectionstest.Laws(t, m)
		})
	}
}

func TestEveryReadModelCanHaveATable(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, m := range catalog.All() {
		require.NoError(t, m.(interface{ Check() error }).Check())
		require.False(t, names[m.Key().Name], "two read models are named %s", m.Key().Name)
		names[m.Key().Name] = true
		require.Subset(t, m.Schema().Columns(), []string{"stream", "created", "version", "position", "data"})
	}
	require.Equal(t, "leases_v2_g7", projections.Key{Name: "leases", Revision: 2}.Table(7))
}

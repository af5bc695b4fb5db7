package apptest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/cmd/internal/apptest"
)

func TestLeasesOfEveryDriverOutliveAKilledEngine(t *testing.T) {
	t.Parallel()
	e := apptest.Start(t, apptest.OnServer(t))
	workers := apptest.OutliveKill(t, e, sshKind(t, e), bubblewrapKind(t, e), fakeKind(t, e))
	require.Equal(t, []string{"tenure.bubblewrap", "tenure.fake"}, workers)
}

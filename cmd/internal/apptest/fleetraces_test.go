package apptest_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/tenure-dev/tenure/cmd/internal/apptest"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

// Case A16 as it stands, across processes: two API servers and three workers, in each of which up to 50 ms pass between what an
// append was decided on and the append. Fifty want the only slot at once, and the other races go on beside that.
func TestRacesHaveOneOutcomeWhicheverProcessesHaveThem(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	f := apptest.StartFleet(t, url, []string{"api", "api", "worker", "worker", "worker"},
		apptest.WithDelay(t, "append.before", 50*time.Millisecond), apptest.WithArgs("--worker-ttl", "20s"))
	p := &pair{t: t, pool: pgtest.Connect(t, url), engines: [2]*apptest.Engine{f[0], f[1]}}
	for i := range p.engines {
		p.connect(i)
	}
	p.races()
	t.Cleanup(func() {
		for _, w := range f.Of("worker") {
			assert.Zero(t, workspaces(t, w), "every workspace is gone")
		}
		for _, e := range f {
			for _, bad := range []string{"deadlock", "panic"} {
				assert.NotContains(t, e.Log(), bad, e.Verb)
			}
		}
		f.Kill()
	})
}

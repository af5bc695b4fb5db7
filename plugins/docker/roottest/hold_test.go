package roottest

import (
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/plugins/docker"
)

// A worker that is stopped anywhere between its look at the container and its word to the command's parent starts nothing once
// another one has the container.
func TestACommandWhoseWorkerWasPausedOnTheWayNeverRunsForANewerHolder(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]func(r *http.Request, begun bool) bool{
		"before the exec is made":    func(r *http.Request, _ bool) bool { return strings.HasSuffix(r.URL.Path, "/exec") },
		"before it is started":       func(r *http.Request, _ bool) bool { return strings.Contains(r.URL.Path, "/exec/") },
		"before the last look at it": func(r *http.Request, begun bool) bool { return begun && strings.HasSuffix(r.URL.Path, "/json") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := acquire(t, nil)
			newer := newDriver(t)
			req := driverstest.AcquireRequest(features(t, nil))
			req.RuntimeID, req.Fence = r.Handle.RuntimeID, r.Handle.Fence+1
			resume := drivers.ResumeRequest{AcquireRequest: req, ProviderLeaseID: r.Handle.ProviderLeaseID, Metadata: r.Handle.Metadata}
			var rt drivers.Runtime
			var resumed error
			var begun, paused atomic.Bool
			host := engine.Proxy(t, func(_ http.ResponseWriter, q *http.Request) bool {
				if at(q, begun.Load()) && !paused.Swap(true) {
					rt, resumed = newer.Resume(t.Context(), resume)
				}
				if strings.HasSuffix(q.URL.Path, "/start") {
					begun.Store(true)
				}
				return false
			})
			older := newDriver(t, func(o *docker.Options) { o.Host = host })
			_, err := older.StartExec(t.Context(), drivers.ExecRequest{
				Handle: r.Handle, ExecID: "x", Argv: []string{"touch", "ran"}, JournalDir: filepath.Join(t.TempDir(), "j"),
			})
			require.True(t, paused.Load())
			require.NoError(t, resumed)
			start := &drivers.StartError{}
			require.ErrorAs(t, err, &start)
			if name != "before it is started" { // there, the engine may have lost the exec with the container's end
				require.Equal(t, []string{drivers.StageFence, drivers.CodeStaleFence}, []string{start.Stage, start.Code})
			}
			r.Handle = driverstest.HandleOf(req, rt)
			require.Empty(t, r.Sh(`ls`).Stdout, "it never ran")
		})
	}
}

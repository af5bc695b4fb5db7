package host_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/provider"
)

// What goes over the wire, both ways, word for word but for what is made at random. A change here is a change for every
// worker that was ever written. To accept one: TENURE_UPDATE_TRANSCRIPTS=1 go test -run Transcript.
func TestTheTranscriptIsAsRecorded(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		flags []string
		talk  func(w *world)
	}{
		"extension": {nil, func(w *world) {
			wk := w.worker()
			req := acquire(`{"size":1}`)
			req.IssueID, req.AgentID, req.ExecutionWorkspaceID, req.ExecutionWorkspaceMode, req.AdapterType = "i-1", "a-1", "w-1", "isolated", "codex"
			req.RequestedExpiresAt = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
			_, err := wk.Acquire(w.t.Context(), req)
			require.NoError(w.t, err)
			_, err = wk.Resume(w.t.Context(), resume(`{"answers":{"environmentResumeLease":{"result":{"providerLeaseId":"box-1"}}}}`))
			require.NoError(w.t, err)
			e, err := wk.StartExec(w.t.Context(), provider.StartRequest{LeaseRequest: lease(`{}`), Exec: drivers.ExecRequest{
				ExecID: "x-1", Argv: []string{"early", "\xff"}, Env: []drivers.EnvVar{{Name: "A", Value: "b"}}, Cwd: "/w", Stdin: []byte("in"),
				Timeout: time.Second, Grace: time.Millisecond, JournalDir: filepath.Join(w.t.TempDir(), "journal"),
			}})
			require.NoError(w.t, err)
			wait(w.t, e)
			_, err = wk.ListRuntimes(w.t.Context(), provider.ListRequest{Scope: provider.Scope{}, Installation: "inst"})
			require.NoError(w.t, err)
			_, err = wk.Release(w.t.Context(), provider.EndRequest{LeaseRequest: lease(`{}`), Keep: true, Stop: true, Attempt: 2})
			require.NoError(w.t, err)
			_, err = wk.Destroy(w.t.Context(), provider.EndRequest{LeaseRequest: lease(`{}`), CancelActiveWork: true})
			require.NoError(w.t, err)
		}},
		"published": {[]string{"legacy", "init-asks"}, func(w *world) {
			wk := w.worker()
			_, err := wk.ValidateConfig(w.t.Context(), []byte(`{"answers":{"environmentValidateConfig":{"result":{"ok":true}}}}`))
			require.NoError(w.t, err)
			_, err = wk.Probe(w.t.Context(), scope(`{}`))
			require.NoError(w.t, err)
			_, err = wk.Acquire(w.t.Context(), acquire(`{"reuseLease":true,"apiKey":"k\u2028"}`))
			require.NoError(w.t, err)
			_, err = wk.Execute(w.t.Context(), provider.ExecuteRequest{
				LeaseRequest: lease(`{}`), Argv: []string{"echo", "a"}, Cwd: "/w", Env: []drivers.EnvVar{{Name: "A", Value: "b"}}, Timeout: time.Second, Stdin: []byte("in"),
			})
			require.NoError(w.t, err)
			_, err = wk.Release(w.t.Context(), provider.EndRequest{LeaseRequest: lease(`{}`)})
			require.NoError(w.t, err)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			record := filepath.Join(t.TempDir(), "record")
			m := boxed()
			if name == "published" {
				m = legacy()
			}
			w := newWorld(t, nil, installed(m, append(tc.flags, "record="+record)...))
			tc.talk(w)
			require.NoError(t, stop(t, w.host, time.Minute))
			got, err := os.ReadFile(record)
			require.NoError(t, err)
			for pattern, by := range map[string]string{
				`"paperclipInvocation":\{"id":"[A-Z2-7]+"`: `"paperclipInvocation":{"id":"…"`, `"paperclipInvocationId":"[A-Z2-7]+"`: `"paperclipInvocationId":"…"`,
				`"pid":[0-9]+`: `"pid":1`,
			} {
				got = regexp.MustCompile(pattern).ReplaceAll(got, []byte(by))
			}
			// Only within one direction is there an order: the two ends do not wait for each other.
			lines := strings.SplitAfter(string(got), "\n")
			slices.SortStableFunc(lines, func(a, b string) int { return strings.Index(a, "→") - strings.Index(b, "→") })
			got = []byte(strings.Join(lines, ""))
			golden := filepath.Join("testdata", name+".transcript")
			if os.Getenv("TENURE_UPDATE_TRANSCRIPTS") != "" {
				require.NoError(t, os.MkdirAll("testdata", 0o755))
				require.NoError(t, os.WriteFile(golden, got, 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(string(want), string(got)))
		})
	}
}

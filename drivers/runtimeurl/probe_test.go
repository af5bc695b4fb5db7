package runtimeurl_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/drivers/runtimeurl"
)

// shell runs scripts by a real sh that finds the given programs and no others.
type shell struct {
	sh, path string
	// printed is how much the last script printed.
	printed atomic.Int64
}

func newShell(t *testing.T, sh string, programs ...string) *shell {
	t.Helper()
	dir := t.TempDir()
	for _, name := range programs {
		real, link := name, name
		if applet, ok := strings.CutPrefix(name, "busybox:"); ok {
			real, link = "busybox", applet
		}
		found, err := exec.LookPath(real)
		require.NoError(t, err, "the test needs %s", real)
		require.NoError(t, os.Symlink(found, filepath.Join(dir, link)))
	}
	full, err := exec.LookPath(sh)
	require.NoError(t, err)
	return &shell{sh: full, path: dir}
}

func (s *shell) RunScript(ctx context.Context, script string, stdin []byte) ([]byte, error) {
	args := []string{"-c", script}
	if filepath.Base(s.sh) == "busybox" {
		args = append([]string{"sh"}, args...)
	}
	cmd := exec.CommandContext(ctx, s.sh, args...)
	cmd.WaitDelay = time.Second
	// What the environment of the runtime holds must not matter.
	cmd.Env = []string{"PATH=" + s.path, "http_proxy=http://192.0.2.1:9", "HTTPS_PROXY=http://192.0.2.1:9", "HOME=/nonexistent"}
	cmd.Stdin = bytes.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	s.printed.Store(int64(len(out)))
	if err != nil {
		return out, fmt.Errorf("%w: %s", err, stderr.String())
	}
	return out, nil
}

// tools are the ways to make a request that the script knows, each alone with what it needs.
var tools = map[string][]string{
	"curl":         {"curl", "head", "sleep"},
	"curl with dd": {"curl", "dd", "sleep"},
	"wget":         {"wget", "head", "sleep"},
	"busybox wget": {"busybox:wget", "busybox:head", "busybox:sleep"},
	"busybox":      {"busybox", "head", "sleep"},
	"bash":         {"bash", "sleep"},
	"bash alone":   {"bash"},
}

func eachTool(t *testing.T, test func(t *testing.T, r *shell)) {
	t.Helper()
	eachToolIn(t, []string{"dash", "bash", "busybox"}, test)
}

func eachToolIn(t *testing.T, shells []string, test func(t *testing.T, r *shell)) {
	t.Helper()
	for _, sh := range shells {
		for name, programs := range tools {
			t.Run(sh+"/"+name, func(t *testing.T) {
				t.Parallel()
				test(t, newShell(t, sh, programs...))
			})
		}
	}
}

// name of the tool of a test of [eachTool].
func name(t *testing.T) string {
	t.Helper()
	parts := strings.Split(t.Name(), "/")
	return parts[len(parts)-1]
}

const healthBody = `{"status":"ok","version":"1.2.3"}` + "\n"

// api is a server that counts whoever comes.
type api struct {
	*httptest.Server
	hits atomic.Int64
	host atomic.Value
}

func newAPI(t *testing.T, handle http.HandlerFunc) *api {
	t.Helper()
	a := &api{}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.hits.Add(1)
		a.host.Store(r.Host)
		handle(w, r)
	}))
	t.Cleanup(a.Close)
	return a
}

func healthy(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/api/health" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprint(w, healthBody)
}

func closedPort(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", driverstest.ClosedPort(t))
}

func newDiscoverer(t *testing.T, change func(*runtimeurl.Options)) *runtimeurl.Discoverer {
	t.Helper()
	o := runtimeurl.Options{
		Listen: "127.0.0.1:1", Interfaces: func() ([]net.Addr, error) { return nil, nil },
		Budget: 2 * time.Minute, PerTry: 30 * time.Second, // for a busy machine; who waits for them has shorter ones
	}
	if change != nil {
		change(&o)
	}
	d, err := runtimeurl.New(o)
	require.NoError(t, err)
	return d
}

func statuses(r runtimeurl.Result) []runtimeurl.Status {
	var list []runtimeurl.Status
	for _, o := range r.Tried {
		list = append(list, o.Status)
	}
	return list
}

func TestTheFirstCandidateThatAnswersWinsUnderEveryTool(t *testing.T) {
	t.Parallel()
	eachTool(t, func(t *testing.T, r *shell) {
		good, second := newAPI(t, healthy), newAPI(t, healthy)
		other := newAPI(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>hello</html>") })
		missing := newAPI(t, http.NotFound)
		far := newAPI(t, healthy)
		away := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, far.URL+"/api/health", http.StatusFound)
		})
		refused := "http://" + closedPort(t)
		got := newDiscoverer(t, nil).Discover(t.Context(), r, runtimeurl.Query{Configured: []string{
			refused, other.URL, missing.URL, away.URL, good.URL, second.URL,
		}})
		require.Equal(t, good.URL, got.URL, "%s", got)
		require.Equal(t, []runtimeurl.Status{
			runtimeurl.StatusRefused, runtimeurl.StatusNotOurs, runtimeurl.StatusWrongStatus, runtimeurl.StatusWrongStatus,
			runtimeurl.StatusAnswered,
		}, statuses(got), "%s", got)
		require.Zero(t, far.hits.Load(), "a redirect was followed")
		require.Zero(t, second.hits.Load(), "somebody was tried after an answer")
	})
}

func TestASlowServerCostsOneTryAndNoMore(t *testing.T) {
	t.Parallel()
	// The time-outs are the tools' and the script's own; one shell is enough to wait for them.
	eachToolIn(t, []string{"dash"}, func(t *testing.T, r *shell) {
		silent := newAPI(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		drip := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
			tick := time.NewTicker(50 * time.Millisecond)
			defer tick.Stop()
			for {
				fmt.Fprint(w, " ")
				w.(http.Flusher).Flush()
				select {
				case <-tick.C:
				case <-r.Context().Done():
					return
				}
			}
		})
		good := newAPI(t, healthy)
		var got runtimeurl.Result
		// On a busy machine a tool may not have begun when its time is over.
		for perTry := 2 * time.Second; silent.hits.Load() == 0 && perTry < time.Minute; perTry *= 2 {
			d := newDiscoverer(t, func(o *runtimeurl.Options) { o.PerTry, o.Budget = perTry, 10*perTry })
			got = d.Discover(t.Context(), r, runtimeurl.Query{Configured: []string{silent.URL, drip.URL, good.URL}})
		}
		require.Equal(t, good.URL, got.URL, "%s", got)
		require.Equal(t, runtimeurl.StatusTimeout, got.Tried[0].Status, "%s", got)
		require.Contains(t, []runtimeurl.Status{runtimeurl.StatusTimeout, runtimeurl.StatusNotOurs}, got.Tried[1].Status, "%s", got)
		require.EqualValues(t, 1, silent.hits.Load())
	})
}

func TestOnlyTheBeginningOfABodyIsRead(t *testing.T) {
	t.Parallel()
	eachTool(t, func(t *testing.T, r *shell) {
		for _, begin := range []string{`{"status":"ok","version":"`, "x"} {
			var written atomic.Int64
			huge := newAPI(t, func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprint(w, begin)
				block := bytes.Repeat([]byte("x"), 1<<16)
				for written.Load() < 1<<30 {
					n, err := w.Write(block)
					written.Add(int64(n))
					if err != nil {
						return
					}
				}
			})
			got := newDiscoverer(t, nil).Discover(t.Context(), r, runtimeurl.Query{Configured: []string{huge.URL}})
			require.Empty(t, got.URL, "%s", got)
			require.Equal(t, []runtimeurl.Status{runtimeurl.StatusNotOurs}, statuses(got), "%s", got)
			require.Less(t, written.Load(), int64(64<<20), "the rest of the body was read too")
			require.Less(t, r.printed.Load(), int64(8500))
			if strings.HasPrefix(name(t), "bash") {
				require.Less(t, r.printed.Load(), int64(1500))
			}
		}
	})
}

func TestWithoutAToolTheResultSaysSo(t *testing.T) {
	t.Parallel()
	good := newAPI(t, healthy)
	got := newDiscoverer(t, nil).Discover(t.Context(), newShell(t, "dash"), runtimeurl.Query{Configured: []string{good.URL}})
	require.Equal(t, []runtimeurl.Status{runtimeurl.StatusNoTool}, statuses(got), "%s", got)
	require.Contains(t, got.String(), "neither curl nor wget nor bash")
	require.Zero(t, good.hits.Load())

	got = newDiscoverer(t, nil).Discover(t.Context(), newShell(t, "dash", "bash", "busybox:wget", "busybox:head"),
		runtimeurl.Query{Configured: []string{"https://127.0.0.1:1"}})
	require.Equal(t, []runtimeurl.Status{runtimeurl.StatusNoTool}, statuses(got), "%s", got)
	require.Contains(t, got.String(), "https needs curl or GNU wget")
}

func TestABrokenToolLeavesTheTryToTheNext(t *testing.T) {
	t.Parallel()
	good := newAPI(t, healthy)
	r := newShell(t, "dash", "bash", "head", "sleep")
	require.NoError(t, os.WriteFile(filepath.Join(r.path, "curl"), []byte("#!/bin/sh\nexit 127\n"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(r.path, "wget"), []byte("#!/bin/sh\necho GNU Wget; exit 2\n"), 0o700))
	got := newDiscoverer(t, nil).Discover(t.Context(), r, runtimeurl.Query{Configured: []string{good.URL}})
	require.Equal(t, good.URL, got.URL, "%s", got)
}

func TestTheAddressThatWasCheckedIsTheOneThatIsTried(t *testing.T) {
	t.Parallel()
	eachTool(t, func(t *testing.T, r *shell) {
		good := newAPI(t, healthy)
		port := good.Listener.Addr().(*net.TCPAddr).Port
		url := fmt.Sprintf("http://api.example.invalid:%d", port)
		d := newDiscoverer(t, func(o *runtimeurl.Options) { o.Resolve = resolver{"api.example.invalid": {"127.0.0.1"}}.resolve })
		got := d.Discover(t.Context(), r, runtimeurl.Query{Configured: []string{url}})
		require.Equal(t, url, got.URL, "%s", got)
		require.Equal(t, fmt.Sprintf("api.example.invalid:%d", port), good.host.Load())
	})
}

func TestAnAddressOfIPv6IsTriedUnderEveryTool(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "[::1]:0")
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(http.HandlerFunc(healthy))
	server.Listener.Close()
	server.Listener = l
	server.Start()
	t.Cleanup(server.Close)
	port := l.Addr().(*net.TCPAddr).Port
	t.Run("tools", func(t *testing.T) {
		t.Parallel()
		eachTool(t, func(t *testing.T, r *shell) {
			name, addr := fmt.Sprintf("http://six.example.invalid:%d/", port), fmt.Sprintf("http://[::1]:%d", port)
			d := newDiscoverer(t, func(o *runtimeurl.Options) {
				// IPv4 comes first, and nobody listens there.
				o.Resolve = resolver{"six.example.invalid": {"::1", "127.0.0.1"}}.resolve
			})
			for _, url := range []string{addr, name} {
				got := d.Discover(t.Context(), r, runtimeurl.Query{Configured: []string{url}})
				require.Equal(t, strings.TrimSuffix(url, "/"), got.URL, "%s", got)
			}
		})
	})
}

func TestACertificateIsCheckedInsideTheRuntime(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.HandlerFunc(healthy))
	t.Cleanup(server.Close)
	for _, programs := range [][]string{{"curl", "head"}, {"wget", "head"}} {
		got := newDiscoverer(t, nil).Discover(t.Context(), newShell(t, "dash", programs...),
			runtimeurl.Query{Configured: []string{server.URL}})
		require.Equal(t, []runtimeurl.Status{runtimeurl.StatusUnreachable}, statuses(got), "%s", got)
		require.Contains(t, strings.ToLower(got.String()), "certificate")
	}
}

func TestWhatAServerAnswersCannotSpeakForAnother(t *testing.T) {
	t.Parallel()
	eachTool(t, func(t *testing.T, r *shell) {
		dir := t.TempDir()
		evil := newAPI(t, func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, "$(touch %[1]s/a)`touch %[1]s/b`\n;touch %[1]s/c\n'\"\ntenure-url\t1\tcurl\tHTTP/1.1 200 OK\t%[2]s", dir, healthBody)
		})
		refused := "http://" + closedPort(t)
		got := newDiscoverer(t, nil).Discover(t.Context(), r, runtimeurl.Query{Configured: []string{evil.URL, refused}})
		require.Empty(t, got.URL, "%s", got)
		require.Equal(t, runtimeurl.StatusRefused, got.Tried[1].Status, "%s", got)
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, left, "something of the answer was run")
	})
}

func TestNothingInAURLIsRun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var list []string
	for _, text := range []string{
		"$(touch %s/a)", "`touch %s/a`", "\"; touch %s/a; \"", "'; touch %s/a; '", "a\ntouch %s/a", "a b;touch$IFS%s/a", "a|touch %s/a",
		"\"\noutput = \"%s/a", "${PATH}", "*", "{a,b}", "[1-3]", "\\", "a\r\nX-Y: z", "\x00", "-o%s/a", "../..", "%%0a",
	} {
		text = strings.ReplaceAll(text, "%s", dir)
		for _, form := range []string{"http://%s/", "http://127.0.0.1:1/%s", "http://127.0.0.1:%s/", "http://127.0.0.1:1/a?%s", "%s", "http://a:%s@127.0.0.1:1/", "http://127.0.0.1:1/#%s"} {
			url := strings.ReplaceAll(form, "%s", text)
			if runtimeurl.CheckURL(url) == nil && !strings.Contains(url, "-o/") {
				t.Errorf("%q is taken for a base URL", url)
			}
			list = append(list, url)
		}
	}
	eachTool(t, func(t *testing.T, r *shell) {
		got := newDiscoverer(t, nil).Discover(t.Context(), r, runtimeurl.Query{Configured: list})
		require.Empty(t, got.URL, "%s", got)
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, left, "something in a URL was run")
	})
}

func TestTheRuntimesOwnWordsAreIgnored(t *testing.T) {
	t.Parallel()
	good := newAPI(t, healthy)
	r := talkative{newShell(t, "dash", "curl", "head")}
	got := newDiscoverer(t, nil).Discover(t.Context(), r, runtimeurl.Query{Configured: []string{"http://" + closedPort(t), good.URL}})
	require.Equal(t, good.URL, got.URL, "%s", got)
}

// talkative prints a greeting and junk around what the script prints, as a login shell may.
type talkative struct{ *shell }

func (r talkative) RunScript(ctx context.Context, script string, stdin []byte) ([]byte, error) {
	out, err := r.shell.RunScript(ctx, script, stdin)
	greeting := "Welcome!\ntenure-url\t99\tcurl\tHTTP/1.1 200 OK\t" + healthBody + "tenure-url\n\x00\xff\n"
	return append([]byte(greeting), out...), err
}

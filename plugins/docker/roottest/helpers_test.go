package roottest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/plugins/docker"
	"github.com/tenure-dev/tenure/plugins/docker/dockertest"
)

func newDriverOf(t *testing.T, opts docker.Options) *docker.Driver {
	t.Helper()
	d, err := docker.New(opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}

// openInner names the program by a descriptor of this process.
func openInner(t *testing.T) string {
	t.Helper()
	f, err := os.Open(engine.Inner)
	require.NoError(t, err)
	defer f.Close() //nolint:errcheck // it is only read
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 900)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, unix.Close(fd)) })
	return fmt.Sprintf("/proc/self/fd/%d", fd)
}

// rewriteInfo changes what the engine says of itself.
func rewriteInfo(from, to string) dockertest.Rule {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/info") {
			return false
		}
		recorded := httptest.NewRecorder()
		engineAnswer(recorded, r)
		_, _ = w.Write(bytes.Replace(recorded.Body.Bytes(), []byte(from), []byte(to), 1))
		return true
	}
}

// engineAnswer asks the engine itself.
func engineAnswer(w http.ResponseWriter, r *http.Request) {
	q, err := http.NewRequestWithContext(r.Context(), r.Method, "http://engine"+r.URL.RequestURI(), r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	q.Header = r.Header.Clone()
	answer, err := engine.HTTP().Do(q)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer answer.Body.Close()
	w.WriteHeader(answer.StatusCode)
	_, _ = io.Copy(w, answer.Body)
}

// sumOfX is the SHA-256 of so many bytes x.
func sumOfX(size int) string {
	h := sha256.New()
	chunk := bytes.Repeat([]byte("x"), 1<<16)
	for ; size > 0; size -= len(chunk) {
		h.Write(chunk[:min(size, len(chunk))])
	}
	return hex.EncodeToString(h.Sum(nil))
}

func withDeadline(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeout(t.Context(), d)
}

// probeOf is the container of a probe that began at this time.
func probeOf(began string) client.ContainerCreateOptions {
	return client.ContainerCreateOptions{Config: &container.Config{
		Image: dockertest.Image, Cmd: []string{"true"}, Labels: map[string]string{"tenure.probe": began},
	}}
}

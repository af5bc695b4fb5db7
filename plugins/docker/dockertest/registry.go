package dockertest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/plugins/docker/dockertest/engine"
)

// Registry is one with a single image, tools:1, whose only program is /echo.
type Registry struct {
	// Address is host:port; Image is the name of its image.
	Address, Image string
	// Stall, if set before the first request, holds back the image's layer until it is closed.
	Stall chan struct{}
}

// NewRegistry runs a registry on loopback that asks for this user and password, if user is not "".
func NewRegistry(t *testing.T, user, password string) *Registry {
	t.Helper()
	blobs := make(map[string][]byte)
	put := func(b []byte) (digest string) {
		sum := sha256.Sum256(b)
		digest = "sha256:" + hex.EncodeToString(sum[:])
		blobs[digest] = b
		return digest
	}
	program, err := os.ReadFile(engine.Busybox)
	require.NoError(t, err)
	var layer, zipped bytes.Buffer
	archive := tar.NewWriter(&layer)
	require.NoError(t, archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "echo", Mode: 0o755, Size: int64(len(program))}))
	_, err = archive.Write(program)
	require.NoError(t, err)
	// Each registry's image is another one, so that no engine has its layer yet.
	require.NoError(t, archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("of-%p", t), Mode: 0o644}))
	require.NoError(t, archive.Close())
	diff := sha256.Sum256(layer.Bytes())
	z := gzip.NewWriter(&zipped)
	_, err = z.Write(layer.Bytes())
	require.NoError(t, err)
	require.NoError(t, z.Close())
	layerDigest := put(zipped.Bytes())
	config := put(encode(t, map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "config": map[string]any{},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + hex.EncodeToString(diff[:])}},
	}))
	const manifestType = "application/vnd.docker.distribution.manifest.v2+json"
	manifest := put(encode(t, map[string]any{
		"schemaVersion": 2, "mediaType": manifestType,
		"config": map[string]any{"mediaType": "application/vnd.docker.container.image.v1+json", "size": len(blobs[config]), "digest": config},
		"layers": []any{map[string]any{"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "size": zipped.Len(), "digest": layerDigest}},
	}))
	r := &Registry{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if u, p, ok := q.BasicAuth(); user != "" && (!ok || u != user || p != password) {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			registryError(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
			return
		}
		digest := q.URL.Path[strings.LastIndex(q.URL.Path, "/")+1:]
		switch {
		case q.URL.Path == "/v2/":
			return
		case q.URL.Path == "/v2/tools/manifests/1":
			digest = manifest
		case !strings.HasPrefix(q.URL.Path, "/v2/tools/"):
			registryError(w, http.StatusNotFound, "NAME_UNKNOWN", "repository name not known to registry")
			return
		}
		blob, ok := blobs[digest]
		if !ok {
			registryError(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "manifest unknown")
			return
		}
		if digest == layerDigest && r.Stall != nil {
			select {
			case <-r.Stall:
			case <-q.Context().Done():
				return
			}
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		if digest == manifest {
			w.Header().Set("Content-Type", manifestType)
		}
		w.Header().Set("Docker-Content-Digest", digest)
		w.Header().Set("Content-Length", fmt.Sprint(len(blob)))
		if q.Method != http.MethodHead {
			_, _ = w.Write(blob)
		}
	}))
	t.Cleanup(server.Close)
	r.Address = strings.TrimPrefix(server.URL, "http://")
	r.Image = r.Address + "/tools:1"
	return r
}

func registryError(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"errors":[{"code":%q,"message":%q}]}`, code, message)
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return b
}

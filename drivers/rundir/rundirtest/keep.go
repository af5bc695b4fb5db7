// Package rundirtest does to the runtimes of a directory what drivers must notice.
package rundirtest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
)

// Keeps adds to f what the laws of a keeper need. root is where a driver has its runtimes.
func Keeps(f driverstest.Features, root func(drivers.Driver) string) driverstest.Features {
	at := func(d drivers.Driver, h drivers.Handle) string { return filepath.Join(root(d), h.RuntimeID) }
	f.Lose = func(t *testing.T, d drivers.Driver, h drivers.Handle) { require.NoError(t, os.RemoveAll(at(d, h))) }
	f.Usurp = map[string]driverstest.Usurper{
		"a directory that somebody made": func(t *testing.T, d drivers.Driver, h drivers.Handle) func() {
			dir := at(d, h)
			require.NoError(t, os.RemoveAll(dir))
			return put(t, filepath.Join(dir, "workspace", "theirs"), "theirs")
		},
		"a runtime of another identity": func(t *testing.T, d drivers.Driver, h drivers.Handle) func() {
			return remark(t, at(d, h), "identity", "somebody")
		},
		"a runtime of another installation": func(t *testing.T, d drivers.Driver, h drivers.Handle) func() {
			return remark(t, at(d, h), "installation", "somebody")
		},
		"a damaged marker": func(t *testing.T, d drivers.Driver, h drivers.Handle) func() {
			return put(t, filepath.Join(at(d, h), "marker.json"), "{")
		},
	}
	return f
}

// remark changes a field of a runtime's marker.
func remark(t *testing.T, dir, field, value string) func() {
	t.Helper()
	path := filepath.Join(dir, "marker.json")
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	var marker map[string]any
	require.NoError(t, json.Unmarshal(b, &marker))
	require.Contains(t, marker, field)
	marker[field] = value
	b, err = json.Marshal(marker)
	require.NoError(t, err)
	return put(t, path, string(b))
}

func put(t *testing.T, path, text string) (untouched func()) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return func() {
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, text, string(b))
	}
}

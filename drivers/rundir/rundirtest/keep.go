// Package rundirtest does to the runtimes of a directory what drivers must notice.
package rundirtest

import (
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
			return driverstest.Put(t, filepath.Join(dir, "workspace", "theirs"), "theirs")
		},
		"a runtime of another identity": func(t *testing.T, d drivers.Driver, h drivers.Handle) func() {
			return driverstest.Remark(t, filepath.Join(at(d, h), "marker.json"), "identity")
		},
		"a runtime of another installation": func(t *testing.T, d drivers.Driver, h drivers.Handle) func() {
			return driverstest.Remark(t, filepath.Join(at(d, h), "marker.json"), "installation")
		},
		"a damaged marker": func(t *testing.T, d drivers.Driver, h drivers.Handle) func() {
			return driverstest.Put(t, filepath.Join(at(d, h), "marker.json"), "{")
		},
	}
	return f
}

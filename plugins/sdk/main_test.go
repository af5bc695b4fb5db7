package sdk

import (
	"bytes"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/fake"
)

func TestAWorkerWritesItsOwnManifest(t *testing.T) {
	t.Parallel()
	p := Plugin{Manifest: Manifest{ID: "acme.boxes", Version: "1.0.0", DisplayName: "Boxes", Author: "Acme"}, Drivers: map[string]drivers.Driver{"boxes": fake.New(fake.Options{})}}
	want, err := p.ManifestJSON()
	require.NoError(t, err)
	var out, errs bytes.Buffer
	require.Zero(t, run(p, []string{"--manifest"}, &out, &errs))
	require.JSONEq(t, string(want), out.String())
	require.Empty(t, errs.String())

	require.Equal(t, 1, run(Plugin{}, []string{"--manifest"}, &out, &errs))
	require.Contains(t, errs.String(), "no driver")
	require.Equal(t, 1, run(p, []string{"--manifest"}, fullDisk{}, &errs))
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space") }

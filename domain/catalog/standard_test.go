package catalog_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain/catalog"
	"github.com/tenure-dev/tenure/domain/domaintest"
)

// Payloads are written by the standard library and read by a quicker one. Whatever the standard library reads, it must read
// the same, and it must refuse what is no JSON.
func FuzzPayloadsAreReadAsTheStandardLibraryReadsThem(f *testing.F) {
	samples := domaintest.Samples()
	for i, e := range samples {
		_, _, payload, err := catalog.Encode(e)
		require.NoError(f, err)
		f.Add(uint8(i), payload)
	}
	f.Fuzz(func(t *testing.T, of uint8, payload []byte) {
		sample := samples[int(of)%len(samples)]
		name, revision, _, err := catalog.Encode(sample)
		require.NoError(t, err)
		standard := reflect.New(reflect.TypeOf(sample))
		wanted := json.Unmarshal(payload, standard.Interface())
		got, err := catalog.Decode(name, revision, payload)
		if wanted != nil {
			require.Error(t, err, "the standard library says: %v", wanted)
			return
		}
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(standard.Elem().Interface(), got))
	})
}

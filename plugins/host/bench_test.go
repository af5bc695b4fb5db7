package host_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/plugins/host"
)

func BenchmarkRoundTrip(b *testing.B) {
	o := options(b.TempDir(), &logs{wake: make(chan struct{})})
	h, err := host.New(o)
	require.NoError(b, err)
	b.Cleanup(func() { _ = h.Stop(b.Context()) })
	require.NoError(b, h.Set([]host.Installed{installed(boxed())}))
	offer, err := h.Offer(theBox)
	require.NoError(b, err)
	w, err := offer.Worker(b.Context())
	require.NoError(b, err)
	for b.Loop() {
		if _, err := w.Acquire(b.Context(), acquire(`{}`)); err != nil {
			b.Fatal(err)
		}
	}
}

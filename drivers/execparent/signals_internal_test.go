package execparent

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// Not parallel: it changes what the whole process ignores. Signal 32 is one that Go's runtime leaves alone.
func TestWhatWasIgnoredIsDefaultAgain(t *testing.T) {
	const signal = 32
	ignore := sigaction{handler: sigIgnore}
	require.Zero(t, rtSigaction(signal, &ignore, nil))
	defaultSignals()
	var now sigaction
	require.Equal(t, syscall.Errno(0), rtSigaction(signal, nil, &now))
	require.Zero(t, now.handler)
}

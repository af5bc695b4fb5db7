package host

import (
	"errors"
	"fmt"
	"io"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/plugins/protocol"
)

// A host that comes late to see a process end has given it a kill that it did not need; how it ended is what it says itself.
func TestAnEndThatAProcessChoseIsToldFromOneThatItWasGiven(t *testing.T) {
	t.Parallel()
	for script, chosen := range map[string]bool{"exit 0": true, "exit 7": true, "kill -TERM $$": true, "kill -KILL $$": false} {
		require.Equal(t, chosen, endedByItself(exec.CommandContext(t.Context(), "sh", "-c", script).Run()), script)
	}
	require.False(t, endedByItself(errors.New("whatever")))

	closed := fmt.Errorf("%w: %w", protocol.ErrClosed, io.EOF)
	require.True(t, closedItsEnd(closed))
	for _, other := range []error{
		nil, errors.New("it did not answer health within 5s"), fmt.Errorf("%w: %w", protocol.ErrClosed, protocol.ErrStalled),
		fmt.Errorf("%w: %w", protocol.ErrClosed, &protocol.LineError{Limit: 1}),
	} {
		require.False(t, closedItsEnd(other), "%v", other)
	}
}

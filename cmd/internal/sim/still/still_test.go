package still_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/cmd/internal/sim/still"
)

func TestTheInstalledGoHasThePlacesThatAreChanged(t *testing.T) {
	t.Parallel()
	o, err := still.Runtime(t.Context(), t.TempDir())
	require.NoError(t, err)
	require.NotEmpty(t, o.Replace)
	for file, by := range o.Replace {
		before, err := os.ReadFile(file)
		require.NoError(t, err)
		after, err := os.ReadFile(by)
		require.NoError(t, err)
		require.NotEqual(t, string(before), string(after))
	}
}

func TestATextThatIsThereTwiceOrNotAtAllIsNotReplaced(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a.go"), []byte("one two two"), 0o600))
	for old, ok := range map[string]bool{"one": true, "two": false, "three": false} {
		_, err := still.Changed(dir, t.TempDir(), []still.Edit{{File: "a.go", Old: old, New: "x"}})
		require.Equal(t, ok, err == nil, old)
	}
}

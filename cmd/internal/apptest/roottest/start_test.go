package roottest

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/wire"
)

// waitLong is more than anything takes that is waited for.
const waitLong = 2 * time.Minute

// Whatever step of the first start it is that finds the disk full: one clear line, and the next start finds nothing half-made.
func TestAStartOnAFullDiskSaysSoAndLeavesNothingHalfMade(t *testing.T) {
	t.Parallel()
	for _, mib := range []int{0, 30, 38, 46} {
		t.Run(fmt.Sprintf("%d MiB", mib), func(t *testing.T) {
			t.Parallel()
			d := newDisk(t, max(mib, 1))
			if mib == 0 {
				d.fill()
			}
			e := d.engine()
			require.False(t, e.TryStart(), "it needs more than that")
			require.Equal(t, 1, e.Wait())
			log := e.Log()
			said := 0
			for line := range strings.Lines(log) {
				if strings.Contains(line, "free space in "+e.DataDir) {
					said++
				}
			}
			require.Equal(t, 1, said, log)
			left, err := filepath.Glob(filepath.Join(e.DataDir, "postgres.init-*"))
			require.NoError(t, err)
			require.Empty(t, left)

			d.resize(300)
			e.Start()
			e.Acquire(e.Tenant(wire.AddEnvironment{}), wire.AcquireLease{})
		})
	}
}

package roottest

import (
	"testing"

	"github.com/tenure-dev/tenure/drivers/driverstest"
)

func TestTheDockerDriverKeepsItsPromisesForAUserOnAReadOnlyRootWithLimits(t *testing.T) {
	t.Parallel()
	f := features(t, map[string]any{"user": "worker", "readOnlyRoot": true, "memoryMb": 512, "pids": 512, "cpus": 2})
	f.Repeats = 10
	driverstest.Run(t, f)
}

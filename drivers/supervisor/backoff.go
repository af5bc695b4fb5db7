package supervisor

import (
	"math/rand/v2"
	"time"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/eventstore/commands"
)

// backoff is how long to wait after n failures, the last of which had this code. It is drawn here, so that what is decided
// on the log's side follows from what it is given.
func (s *Supervisor) backoff(code string, n int) time.Duration {
	base, limit := s.opts.RetryBase, s.opts.RetryLimit
	if code == drivers.CodeNoCapacity {
		base, limit = s.opts.CapacityBase, s.opts.CapacityLimit
	}
	return jittered(commands.Backoff(n, base, limit))
}

// jitterPart is how much of a wait is left to chance.
const jitterPart = 4

// jittered takes up to a quarter off a wait, so that what failed together does not come back together.
func jittered(wait time.Duration) time.Duration {
	return wait - rand.N(wait/jitterPart+1) //nolint:gosec // jitter is no secret
}

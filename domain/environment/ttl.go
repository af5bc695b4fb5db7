package environment

import (
	"time"

	"github.com/tenure-dev/tenure/domain"
)

// DefaultMaxTTL is how long a lease of an environment may last that does not say.
const DefaultMaxTTL = 720 * time.Hour

// MaxTTL is how long a lease may last at most. Longer requests are cut to it.
func (s State) MaxTTL() time.Duration {
	if s.MaxTTLMs == 0 {
		return DefaultMaxTTL
	}
	return time.Duration(s.MaxTTLMs) * time.Millisecond
}

func checkMaxTTL(n int64) error {
	if n < 0 || n > domain.MaxDuration.Milliseconds() {
		return domain.Refuse(domain.KindInvalid, "invalid_duration", "is not between 1ms and %s", domain.MaxDuration).On("maxTtl").
			Mend("give a duration such as 48h, or leave it out for %s", DefaultMaxTTL)
	}
	return nil
}

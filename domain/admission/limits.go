package admission

import "github.com/tenure-dev/tenure/domain"

// DefaultMaxQueued is how many may wait for a slot of an environment that does not say; LimitMaxQueued is the most that one
// may say.
const (
	DefaultMaxQueued = 1000
	LimitMaxQueued   = 100_000
)

// leastBound is the bound of overtaking in the smallest of queues.
const leastBound = 32

// MostOvertaken is how many later arrivals may be granted before one who waits: as many as the queue has places, and 32 in
// the smallest of queues. A smaller bound would turn class and fairness into nothing as soon as many wait: whoever waits
// first would have the longest part of the order to itself.
func MostOvertaken(maxQueued int) int { return max(leastBound, maxQueued) }

// CheckMaxQueued refuses a limit that no queue can have.
func CheckMaxQueued(n *int) error {
	if n == nil || *n >= 0 && *n <= LimitMaxQueued {
		return nil
	}
	return domain.Refuse(domain.KindInvalid, "invalid_queue_limit", "%d is not between 0 and %d", *n, LimitMaxQueued).On("maxQueued").
		Mend("give the most leases that may wait at once; 0 lets nobody wait, and without it they are %d", DefaultMaxQueued)
}

// QueueLimit is the limit that an environment with this setting has.
func QueueLimit(n *int) int {
	if n == nil {
		return DefaultMaxQueued
	}
	return *n
}

package lease

import (
	"cmp"
	"time"

	"github.com/tenure-dev/tenure/domain/admission"
)

// Queueing is how a lease waits for a slot. What is zero is as it is for a request that does not say.
type Queueing struct {
	admission.Standing
	// TimeoutMs is how long it waits at most; 0 is without limit.
	TimeoutMs int64 `json:"timeoutMs,omitempty"`
}

// CodeQueueTimeout is why a lease failed that waited for a slot as long as it was to.
const CodeQueueTimeout = "queue_timeout"

// TimeOut ends a lease that has waited for a slot as long as it was to; it does nothing before that.
type TimeOut struct{ Now time.Time }

func (TimeOut) leaseCommand() {}

// Standing is by what the lease is put in order, with what counts where the request did not say: it is for its agent then.
func (s State) Standing() admission.Standing {
	return admission.Standing{
		Class: cmp.Or(s.Queue.Class, admission.ClassNormal), Key: cmp.Or(s.Queue.Key, s.Context.Agent), Weight: cmp.Or(s.Queue.Weight, 1),
	}
}

// QueueDeadline is when the lease gives up waiting for a slot; zero for never.
func (s State) QueueDeadline() time.Time {
	if s.Queue.TimeoutMs == 0 {
		return time.Time{}
	}
	return s.RequestedAt.Add(ms(s.Queue.TimeoutMs))
}

// WaitedTooLong reports whether the lease waits for a slot past its time.
func (s State) WaitedTooLong(now time.Time) bool {
	at := s.QueueDeadline()
	return s.Status() == StatusRequested && !at.IsZero() && !now.Before(at)
}

func timeOut(s State, c TimeOut) ([]Event, error) {
	if !s.WaitedTooLong(c.Now) {
		return nil, nil
	}
	return []Event{Failed{Code: CodeQueueTimeout, Message: "no slot of the environment was free within " + ms(s.Queue.TimeoutMs).String()}}, nil
}

// checkQueueing refuses what no lease can wait by.
func checkQueueing(q Queueing) error {
	if err := admission.CheckStanding(q.Standing); err != nil {
		return err
	}
	if q.TimeoutMs == 0 {
		return nil
	}
	return checkDuration("queueTimeout", q.TimeoutMs, "10m")
}

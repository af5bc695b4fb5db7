package check

import (
	"fmt"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/lease"
)

// claims: a result counts only for the attempt that is open, and from the worker that has it. What closes an attempt whose
// worker is gone says so and is no result.
func claims(j *judge) {
	for _, l := range j.allLeases() {
		var attempt, teardown claim
		for _, r := range l.records {
			switch e := r.event.(type) {
			case lease.ProvisioningStarted:
				attempt = claim{r, e.Attempt, e.Worker}
			case lease.ReleaseStarted:
				teardown = claim{r, e.Attempt, e.Worker}
			case lease.Provisioned:
				attempt.result(j, l, r, e.Attempt)
			case lease.ProvisioningFailed:
				attempt.result(j, l, r, e.Attempt)
			case lease.ReleaseFailed:
				teardown.result(j, l, r, e.Attempt)
			case lease.Retained:
				teardown.result(j, l, r, teardown.attempt)
			}
		}
	}
}

// claim is the last attempt that was claimed.
type claim struct {
	by      *record
	attempt int
	worker  domain.WorkerID
}

func (c claim) result(j *judge, l *leaseStory, r *record, attempt int) {
	j.see(1)
	actor := r.By.Actor
	switch {
	case c.by == nil:
		j.broken(leaseName(l.id), "a result of an attempt that nobody claimed", r)
	case attempt != c.attempt:
		j.broken(leaseName(l.id), fmt.Sprintf("a result of attempt %d while attempt %d is open", attempt, c.attempt), c.by, r)
	case !actor.IsZero() && actor.UUID != c.worker.UUID:
		j.broken(leaseName(l.id), fmt.Sprintf("a result of attempt %d by %s; worker %s has it", attempt, actor, c.worker), c.by, r)
	}
}

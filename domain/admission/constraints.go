package admission

import (
	"fmt"
	"strings"

	"github.com/tenure-dev/tenure/domain"
)

// Facts are what the constraints of a request for a slot are judged by.
type Facts struct {
	// Environment is where it stands, such as active.
	Environment       string
	EnvironmentActive bool
	Driver, Provider  string
	// Unavailable says why nobody can make its runtimes; nil if somebody can.
	Unavailable *domain.Refusal
	// Policy is that of the request, if it is one that may keep the runtime; Keeping is whether the provider can.
	Policy  string
	Keeping Keeping
}

// The names of constraints.
const (
	ConstraintEnvironment = "environment_active"
	ConstraintProvider    = "provider_available"
	ConstraintQueue       = "queue_room"
	ConstraintSlot        = "slot_free"
	// ConstraintPolicy is one of requests only whose policy may keep the runtime.
	ConstraintPolicy = "policy_supported"
)

// Lasting are the constraints that no waiting mends.
func Lasting(f Facts) []domain.Constraint {
	env := domain.Constraint{Name: ConstraintEnvironment, OK: f.EnvironmentActive, Detail: "the environment is " + f.Environment}
	if !env.OK {
		env.Remediation = "lease another environment"
	}
	made := domain.Constraint{Name: ConstraintProvider, OK: f.Unavailable == nil, Detail: fmt.Sprintf("%s makes its runtimes", f.Provider)}
	if !made.OK {
		made.Detail, made.Remediation = f.Unavailable.Message, f.Unavailable.Remediation
	}
	all := []domain.Constraint{env, made}
	if f.Policy != "" {
		all = append(all, PolicyConstraint(f))
	}
	return all
}

// Passing are the constraints that waiting may mend, as the admission stands. self is left out of who waits.
func Passing(s State, self domain.LeaseID) []domain.Constraint {
	slot := domain.Constraint{
		Name: ConstraintSlot, OK: hasRoom(s.Capacity, len(s.Holders)), Waiting: true,
		Detail: fmt.Sprintf("%d of %d slots are taken", len(s.Holders), s.Capacity),
	}
	if s.Capacity == 0 {
		slot.Detail = fmt.Sprintf("%d slots are taken, and there is no limit", len(s.Holders))
	}
	if !slot.OK {
		slot.Remediation = "wait, release leases that are not needed, or raise maxLeases of the environment"
	}
	others := s.Queued()
	if s.Waits(self) {
		others--
	}
	room := domain.Constraint{
		Name: ConstraintQueue, OK: slot.OK || others < s.MaxQueued, Waiting: true,
		Detail: fmt.Sprintf("%d others wait, and %d may wait at once", others, s.MaxQueued),
	}
	if !room.OK {
		room.Remediation = "wait, or raise maxQueued of the environment"
	}
	return []domain.Constraint{slot, room}
}

// Unsatisfiable refuses a request of which a constraint fails that no waiting mends, with all that fail; nil if none does.
func Unsatisfiable(cs []domain.Constraint) error {
	var failing []domain.Constraint
	var details, remedies []string
	for _, c := range cs {
		if c.OK || c.Waiting {
			continue
		}
		failing = append(failing, c)
		details = append(details, c.Detail)
		if c.Remediation != "" {
			remedies = append(remedies, c.Remediation)
		}
	}
	if len(failing) == 0 {
		return nil
	}
	field := "environmentId"
	if len(failing) == 1 && failing[0].Name == ConstraintPolicy {
		field = "leasePolicy"
	}
	r := domain.Refuse(domain.KindConflict, "unsatisfiable", "the request can never be met: %s", strings.Join(details, "; ")).
		On(field).Mend("%s", strings.Join(remedies, "; "))
	r.Constraints = failing
	return r
}

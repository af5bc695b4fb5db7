// Package secret is the life of a secret: a name, and values that come one after the other and are never in the log.
//
//	        add             destroy
//	(none) ─────► active ────────────► destroyed
//	              │    ▲
//	              └────┘ add version
//
//	version:  active ◄──────► disabled ───► destroyed
//	            └──────────────────────────────▲
//
// The latest version is the one with the highest number, whatever became of it: who disables it wants no older value, which
// may have leaked, in its place.
package secret

import (
	"slices"
	"time"

	"github.com/tenure-dev/tenure/domain"
)

// Category is the first part of the name of a secret's stream.
const Category = "secret"

// Decider is the secret's decider.
var Decider = domain.Decider[State, Command, Event]{
	Initial: func() State { return State{} },
	Decide:  Decide,
	Evolve:  Evolve,
}

// Status is where a secret, or a version of one, stands.
type Status string

// The statuses. A secret as a whole is never disabled.
const (
	StatusNone      Status = ""
	StatusActive    Status = "active"
	StatusDisabled  Status = "disabled"
	StatusDestroyed Status = "destroyed"
)

func (s Status) String() string { return string(s) }

// State is what the events of a secret add up to.
type State struct {
	Status      Status
	Company     domain.CompanyID
	Name        string
	Description string
	// Versions are in the order of their numbers, from 1 and without a gap.
	Versions []Version

	AddedAt   time.Time
	UpdatedAt time.Time
}

// Version is one value's life.
type Version struct {
	Number  int
	Status  Status
	AddedAt time.Time
	// ChangedAt is when it got its status.
	ChangedAt time.Time
}

// Latest is the number of the latest version; 0 if there is none.
func (s State) Latest() int { return len(s.Versions) }

// Version is the version with a number; its status is none if there is no such version.
func (s State) Version(n int) Version {
	if n < 1 || n > len(s.Versions) {
		return Version{}
	}
	return s.Versions[n-1]
}

// Pick is the number of the version that a reference means, if its value may be given out.
func (s State) Pick(ref domain.SecretRef) (int, error) {
	if err := s.alive(ref.Secret); err != nil {
		return 0, err
	}
	n := ref.Version
	if n == 0 {
		n = s.Latest()
	}
	v := s.Version(n)
	switch v.Status {
	case StatusActive:
		return n, nil
	case StatusDisabled:
		return 0, domain.Refuse(domain.KindConflict, "secret_version_disabled", "version %d of the secret %q (%s) is disabled", n, s.Name, ref.Secret).
			Mend("enable it, or add a new version")
	case StatusDestroyed:
		return 0, domain.Refuse(domain.KindGone, "secret_version_destroyed", "version %d of the secret %q (%s) is destroyed", n, s.Name, ref.Secret).
			Mend("add a new version, or refer to another one")
	case StatusNone:
	}
	return 0, domain.Refuse(domain.KindNotFound, "secret_version_not_found", "the secret %q (%s) has no version %d", s.Name, ref.Secret, ref.Version).
		Mend("refer to a version from 1 to %d, or to the latest", s.Latest())
}

// alive refuses a secret that has no values, or never had.
func (s State) alive(id domain.SecretID) error {
	switch s.Status {
	case StatusNone:
		return NotFound(id)
	case StatusDestroyed:
		return domain.Refuse(domain.KindGone, "secret_destroyed", "the secret %q (%s) is destroyed", s.Name, id).
			Mend("add another secret and refer to that one")
	case StatusActive, StatusDisabled:
	}
	return nil
}

// NotFound is the answer for a secret that does not exist, or that another company owns.
func NotFound(id domain.SecretID) *domain.Refusal {
	r := domain.NotFound("secret")
	r.Message = "there is no secret " + id.String()
	return r
}

// Evolve is the state after e.
func Evolve(s State, e Event, m domain.Meta) State {
	s.UpdatedAt = m.At
	switch e := e.(type) {
	case Added:
		s.Status, s.Company, s.Name, s.Description, s.AddedAt = StatusActive, e.Company, e.Name, e.Description, m.At
	case VersionAdded:
		s.Versions = append(slices.Clip(s.Versions), Version{Number: e.Version, Status: StatusActive, AddedAt: m.At, ChangedAt: m.At})
	case VersionDisabled:
		s.Versions = with(s.Versions, e.Version, StatusDisabled, m.At)
	case VersionEnabled:
		s.Versions = with(s.Versions, e.Version, StatusActive, m.At)
	case VersionDestroyed:
		s.Versions = with(s.Versions, e.Version, StatusDestroyed, m.At)
	case Destroyed:
		s.Status = StatusDestroyed
		for _, v := range s.Versions {
			if v.Status != StatusDestroyed {
				s.Versions = with(s.Versions, v.Number, StatusDestroyed, m.At)
			}
		}
	}
	return s
}

// with is a copy of versions in which one has another status.
func with(versions []Version, number int, status Status, at time.Time) []Version {
	out := slices.Clone(versions)
	for i := range out {
		if out[i].Number == number {
			out[i].Status, out[i].ChangedAt = status, at
		}
	}
	return out
}

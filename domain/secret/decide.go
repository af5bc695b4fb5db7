package secret

import "github.com/tenure-dev/tenure/domain"

// MaxVersions is how many values a secret may have had.
const MaxVersions = 10_000

// Command is what may be asked of a secret.
type Command interface{ secretCommand() }

// Add starts a secret with its first version.
type Add struct{ Added Added }

// AddVersion gives it a new value.
type AddVersion struct{}

// Disable takes a version out of use; doing so again changes nothing.
type Disable struct{ Version int }

// Enable puts a disabled version back into use; doing so again changes nothing.
type Enable struct{ Version int }

// DestroyVersion ends a version for good; doing so again changes nothing.
type DestroyVersion struct{ Version int }

// Destroy ends the secret and every version for good; doing so again changes nothing.
type Destroy struct{}

func (Add) secretCommand()            {}
func (AddVersion) secretCommand()     {}
func (Disable) secretCommand()        {}
func (Enable) secretCommand()         {}
func (DestroyVersion) secretCommand() {}
func (Destroy) secretCommand()        {}

// Decide answers a command. Commands that change nothing return no events.
func Decide(s State, cmd Command) ([]Event, error) {
	if c, ok := cmd.(Add); ok {
		return add(s, c)
	}
	if s.Status == StatusNone {
		return nil, domain.NotFound("secret")
	}
	switch c := cmd.(type) {
	case Destroy:
		if s.Status == StatusDestroyed {
			return nil, nil
		}
		return []Event{Destroyed{}}, nil
	case AddVersion:
		return addVersion(s)
	case Disable:
		return s.set(c.Version, StatusDisabled, VersionDisabled(c))
	case Enable:
		return s.set(c.Version, StatusActive, VersionEnabled(c))
	case DestroyVersion:
		return s.set(c.Version, StatusDestroyed, VersionDestroyed(c))
	}
	return nil, domain.Refuse(domain.KindInvalid, "unknown_command", "the secret does not know this command")
}

func add(s State, c Add) ([]Event, error) {
	if s.Status != StatusNone {
		return nil, domain.Refuse(domain.KindConflict, "secret_exists", "a secret with this id exists already")
	}
	if c.Added.Company.IsZero() {
		return nil, domain.Refuse(domain.KindInvalid, "missing_field", "is missing").On("companyId").Mend("name the company that owns it")
	}
	if err := domain.CheckName("name", c.Added.Name); err != nil {
		return nil, err
	}
	if err := domain.CheckText("description", c.Added.Description, domain.MaxDescription); err != nil {
		return nil, err
	}
	return []Event{c.Added, VersionAdded{Version: 1}}, nil
}

func addVersion(s State) ([]Event, error) {
	if s.Status == StatusDestroyed {
		return nil, destroyed()
	}
	if s.Latest() >= MaxVersions {
		return nil, domain.Refuse(domain.KindConflict, "too_many_versions", "the secret has had %d versions", MaxVersions).
			Mend("add another secret and refer to that one")
	}
	return []Event{VersionAdded{Version: s.Latest() + 1}}, nil
}

func destroyed() error {
	return domain.Refuse(domain.KindConflict, "secret_destroyed", "the secret is destroyed").Mend("add another secret")
}

func (s State) set(version int, status Status, e Event) ([]Event, error) {
	v := s.Version(version)
	switch v.Status {
	case StatusNone:
		return nil, domain.Refuse(domain.KindNotFound, "secret_version_not_found", "the secret has no version %d", version).On("version").
			Mend("use a number from 1 to %d", s.Latest())
	case status:
		return nil, nil
	case StatusDestroyed:
		return nil, domain.Refuse(domain.KindConflict, "secret_version_destroyed", "version %d is destroyed", version).Mend("add a new version")
	case StatusActive, StatusDisabled:
	}
	return []Event{e}, nil
}

package environment

import (
	"encoding/json"
	"maps"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/admission"
)

// Command is what may be asked of an environment.
type Command interface{ environmentCommand() }

// Register starts an environment. Without a config it has the empty one.
type Register struct{ Registered Registered }

// Reconfigure gives it whole new settings. The ones that it has already change nothing.
type Reconfigure struct{ Reconfigured Reconfigured }

// Archive ends it for new leases. Doing so again changes nothing.
type Archive struct{}

// Delete ends it for good. Doing so again changes nothing.
type Delete struct{}

// Retire ends it once its leases are taken down. Doing so again changes nothing; one that is being archived may be deleted
// instead.
type Retire struct{ Delete bool }

func (Register) environmentCommand()    {}
func (Reconfigure) environmentCommand() {}
func (Archive) environmentCommand()     {}
func (Delete) environmentCommand()      {}
func (Retire) environmentCommand()      {}

// Decide answers a command. Commands that change nothing return no events.
func Decide(s State, cmd Command) ([]Event, error) {
	if c, ok := cmd.(Register); ok {
		return register(s, c)
	}
	if s.Status == StatusNone {
		return nil, domain.NotFound("environment")
	}
	switch c := cmd.(type) {
	case Reconfigure:
		return reconfigure(s, c)
	case Archive:
		return archive(s)
	case Delete:
		if s.Status == StatusDeleted {
			return nil, nil
		}
		return []Event{Deleted{}}, nil
	case Retire:
		return retire(s, c)
	}
	return nil, domain.Refuse(domain.KindInvalid, "unknown_command", "the environment does not know this command")
}

func archive(s State) ([]Event, error) {
	switch s.Status {
	case StatusActive, StatusArchiving:
		return []Event{Archived{}}, nil
	case StatusDeleting, StatusDeleted:
		return nil, ended(s)
	case StatusNone, StatusArchived:
	}
	return nil, nil
}

func retire(s State, c Retire) ([]Event, error) {
	switch s.Status {
	case StatusDeleted:
		return nil, ended(s)
	case StatusDeleting:
		if !c.Delete {
			return nil, ended(s)
		}
		return nil, nil
	case StatusArchiving, StatusArchived:
		if !c.Delete {
			return nil, nil
		}
	case StatusNone, StatusActive:
	}
	return []Event{RetirementRequested(c)}, nil
}

// ended refuses what only an environment with a future can do.
func ended(s State) error {
	return domain.Refuse(domain.KindConflict, "environment_"+s.Status.String(), "the environment is %s", s.Status).
		Mend("register another environment")
}

func register(s State, c Register) ([]Event, error) {
	if s.Status != StatusNone {
		return nil, domain.Refuse(domain.KindConflict, "environment_exists", "an environment with this id exists already")
	}
	if c.Registered.Company.IsZero() {
		return nil, domain.Refuse(domain.KindInvalid, "missing_field", "is missing").On("companyId").Mend("name the company that owns it")
	}
	e := c.Registered
	e.Config = orEmpty(e.Config)
	if err := check(Reconfigured{
		Name: e.Name, Description: e.Description, Driver: e.Driver, Config: e.Config,
		EnvVars: e.EnvVars, MaxLeases: e.MaxLeases, Metadata: e.Metadata, MaxQueued: e.MaxQueued, MaxTTLMs: e.MaxTTLMs,
	}); err != nil {
		return nil, err
	}
	return []Event{e}, nil
}

func reconfigure(s State, c Reconfigure) ([]Event, error) {
	if s.Status != StatusActive {
		return nil, ended(s)
	}
	e := c.Reconfigured
	e.Config = orEmpty(e.Config)
	if err := check(e); err != nil {
		return nil, err
	}
	if same(e, s.Settings()) {
		return nil, nil
	}
	return []Event{e}, nil
}

func orEmpty(config json.RawMessage) json.RawMessage {
	if len(config) == 0 {
		return json.RawMessage(`{}`)
	}
	return config
}

func check(r Reconfigured) error {
	if err := domain.CheckName("name", r.Name); err != nil {
		return err
	}
	if err := domain.CheckText("description", r.Description, domain.MaxDescription); err != nil {
		return err
	}
	if r.Driver == "" {
		return domain.Refuse(domain.KindInvalid, "missing_field", "is missing").On("driver").
			Mend("name the driver that makes its runtimes, such as local")
	}
	if err := domain.CheckLine("driver", r.Driver, domain.MaxName); err != nil {
		return err
	}
	if err := domain.CheckObject("config", r.Config); err != nil {
		return err
	}
	if err := domain.CheckEnvValues("envVars", r.EnvVars); err != nil {
		return err
	}
	if r.MaxLeases < 0 {
		return domain.Refuse(domain.KindInvalid, "invalid_capacity", "must not be negative").On("maxLeases").
			Mend("give the most leases that may be active at once; 0 is no limit")
	}
	if err := checkMaxTTL(r.MaxTTLMs); err != nil {
		return err
	}
	if err := admission.CheckMaxQueued(r.MaxQueued); err != nil {
		return err
	}
	if len(r.Metadata) == 0 {
		return nil
	}
	return domain.CheckObject("metadata", r.Metadata)
}

func same(a, b Reconfigured) bool {
	return a.Name == b.Name && a.Description == b.Description && a.Driver == b.Driver && a.MaxLeases == b.MaxLeases && a.MaxTTLMs == b.MaxTTLMs &&
		maps.Equal(a.EnvVars, b.EnvVars) && domain.SameJSON(a.Config, b.Config) && domain.SameJSON(a.Metadata, b.Metadata) &&
		sameLimit(a.MaxQueued, b.MaxQueued)
}

func sameLimit(a, b *int) bool { return a == b || a != nil && b != nil && *a == *b }

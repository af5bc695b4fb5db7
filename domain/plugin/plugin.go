// Package plugin is the life of an installed plugin.
//
//	         install              disable
//	(none) ───────────► enabled ───────────► disabled
//	                     │    ▲ ◄──────────────┘
//	                     └────┘     enable
//	              install again: another version is the current one
//
// A plugin's id follows from its key ([IDOf]), so that one key is one plugin. What a version holds never changes: a lease
// that names the version it was made by finds the same one until it ends.
package plugin

import (
	"encoding/json"
	"regexp"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
)

// Category is the first part of the name of a plugin's stream.
const Category = "plugin"

// namespace is that of the ids of plugins, which have keys.
var namespace = uuid.MustParse("3c8d3c55-7c1e-4f0e-9d7a-52a3c2f9a1b4")

// IDOf is the id of the plugin with a key.
func IDOf(key string) domain.PluginID {
	return domain.PluginID{UUID: uuid.NewSHA1(namespace, []byte(key))}
}

// Event is a fact in the life of a plugin.
//
//sumtype:decl
type Event interface {
	domain.Event
	pluginEvent()
}

// Installed says: this version is there, and is the one that makes runtimes from now on.
type Installed struct {
	// Key is the name that its author gave it, in every version.
	Key     string `json:"key"`
	Version string `json:"version"`
	// Digest is the SHA-256 of its files, in hexadecimal.
	Digest string `json:"digest"`
	// Manifest is the plugin's own, as JSON.
	Manifest json.RawMessage `json:"manifest"`
	// Source is where it was installed from; "built-in" for what comes with the engine.
	Source string `json:"source"`
	// Node has its files; zero for every one.
	Node domain.NodeID `json:"nodeId"`
}

// Enabled says: it makes runtimes, and what it made before is served again.
type Enabled struct{}

// Disabled says: its process ends and it makes no more runtimes. What it made waits until it is enabled again.
type Disabled struct {
	Reason string `json:"reason,omitempty"`
}

func (Installed) EventName() string { return "PluginInstalled" }
func (Enabled) EventName() string   { return "PluginEnabled" }
func (Disabled) EventName() string  { return "PluginDisabled" }

func (Installed) pluginEvent() {}
func (Enabled) pluginEvent()   {}
func (Disabled) pluginEvent()  {}

// Codec is the catalog of this part.
var Codec = domain.NewCodec(
	domain.Spec[Installed, Event](),
	domain.Spec[Enabled, Event](),
	domain.Spec[Disabled, Event](),
)

// Command is what may be asked of a plugin.
type Command interface{ pluginCommand() }

// Install adds a version and makes it the current one; a plugin that is new is enabled. The version that is current already
// changes nothing.
type Install struct{ Installed Installed }

// Enable lets it work. Doing so again changes nothing.
type Enable struct{}

// Disable keeps it from working. Doing so again changes nothing.
type Disable struct{ Reason string }

func (Install) pluginCommand() {}
func (Enable) pluginCommand()  {}
func (Disable) pluginCommand() {}

// Status is where a plugin stands.
type Status string

// The statuses of a plugin.
const (
	StatusNone     Status = ""
	StatusEnabled  Status = "enabled"
	StatusDisabled Status = "disabled"
)

func (s Status) String() string { return string(s) }

// State is what the events of a plugin add up to.
type State struct {
	Status Status
	Key    string
	// Version is the current one; Versions are all that were ever installed, the latest last.
	Version  string
	Versions []Version
	// Reason is why it is disabled. Disables counts how often it was: who heard of nothing between two looks sees by it that
	// the plugin was off in between.
	Reason      string
	Disables    int
	InstalledAt time.Time
	UpdatedAt   time.Time
}

// Version is one version of a plugin.
type Version struct {
	Installed Installed
	At        time.Time
}

// Current is the version that makes runtimes.
func (s State) Current() (Installed, bool) { return s.Find(s.Version) }

// Find is the latest installation of a version.
func (s State) Find(version string) (Installed, bool) {
	for i := len(s.Versions) - 1; i >= 0; i-- {
		if s.Versions[i].Installed.Version == version {
			return s.Versions[i].Installed, true
		}
	}
	return Installed{}, false
}

// Decider is the plugin's decider.
var Decider = domain.Decider[State, Command, Event]{
	Initial: func() State { return State{} },
	Decide:  Decide,
	Evolve:  Evolve,
}

// Decide answers a command.
func Decide(s State, cmd Command) ([]Event, error) {
	if c, ok := cmd.(Install); ok {
		return install(s, c.Installed)
	}
	if s.Status == StatusNone {
		return nil, domain.NotFound("plugin")
	}
	switch c := cmd.(type) {
	case Enable:
		if s.Status == StatusEnabled {
			return nil, nil
		}
		return []Event{Enabled{}}, nil
	case Disable:
		if err := domain.CheckText("reason", c.Reason, domain.MaxMessage); err != nil || s.Status == StatusDisabled {
			return nil, err
		}
		return []Event{Disabled(c)}, nil
	}
	return nil, domain.Refuse(domain.KindInvalid, "unknown_command", "the plugin does not know this command")
}

// keys is how a plugin may be called.
var keys = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*$`)

func install(s State, e Installed) ([]Event, error) {
	if !keys.MatchString(e.Key) || len(e.Key) > domain.MaxName {
		return nil, domain.Refuse(domain.KindInvalid, "invalid_plugin_key", "%q is no key of a plugin", e.Key).On("key").
			Mend("use small letters, digits, dots, hyphens and underscores, at most %d", domain.MaxName)
	}
	if e.Version == "" {
		return nil, domain.Refuse(domain.KindInvalid, "missing_field", "is missing").On("version").Mend("give the plugin a version, such as 1.0.0")
	}
	if err := domain.CheckLine("version", e.Version, domain.MaxName); err != nil {
		return nil, err
	}
	if err := domain.CheckObject("manifest", e.Manifest); err != nil {
		return nil, err
	}
	if s.Status == StatusNone {
		return []Event{e, Enabled{}}, nil
	}
	if s.Key != e.Key {
		return nil, domain.Refuse(domain.KindConflict, "plugin_exists", "this is the plugin %s", s.Key)
	}
	if known, ok := s.Find(e.Version); ok {
		if known.Digest != e.Digest {
			return nil, domain.Refuse(domain.KindConflict, "plugin_version_changed", "version %s is installed already, with other files", e.Version).
				On("version").Mend("give what has changed another version; leases count on what a version is")
		}
		if s.Version == e.Version {
			return nil, nil
		}
	}
	return []Event{e}, nil
}

// Evolve is the state after e.
func Evolve(s State, e Event, m domain.Meta) State {
	s.UpdatedAt = m.At
	switch e := e.(type) {
	case Installed:
		if s.Status == StatusNone {
			s.Status, s.InstalledAt = StatusDisabled, m.At
		}
		s.Key, s.Version = e.Key, e.Version
		s.Versions = append(s.Versions[:len(s.Versions):len(s.Versions)], Version{Installed: e, At: m.At})
	case Enabled:
		s.Status, s.Reason = StatusEnabled, ""
	case Disabled:
		s.Status, s.Reason, s.Disables = StatusDisabled, e.Reason, s.Disables+1
	}
	return s
}

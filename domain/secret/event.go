package secret

import "github.com/tenure-dev/tenure/domain"

// Event is a fact in the life of a secret. None holds a value, or anything made of one.
//
//sumtype:decl
type Event interface {
	domain.Event
	secretEvent()
}

// Added says: a company has a secret. Its first version comes with it.
type Added struct {
	Company     domain.CompanyID `json:"companyId"`
	Name        string           `json:"name"`
	Description string           `json:"description,omitempty"`
}

// VersionAdded says: there is a new value. It is the latest from now on.
type VersionAdded struct {
	Version int `json:"version"`
}

// VersionDisabled says: this value is not given out until it is enabled again.
type VersionDisabled struct {
	Version int `json:"version"`
}

// VersionEnabled says: a disabled value is given out again.
type VersionEnabled struct {
	Version int `json:"version"`
}

// VersionDestroyed says: this value does not exist any more.
type VersionDestroyed struct {
	Version int `json:"version"`
}

// Destroyed says: no value of the secret exists any more, and it takes no new ones.
type Destroyed struct{}

func (Added) EventName() string            { return "SecretAdded" }
func (VersionAdded) EventName() string     { return "SecretVersionAdded" }
func (VersionDisabled) EventName() string  { return "SecretVersionDisabled" }
func (VersionEnabled) EventName() string   { return "SecretVersionEnabled" }
func (VersionDestroyed) EventName() string { return "SecretVersionDestroyed" }
func (Destroyed) EventName() string        { return "SecretDestroyed" }

func (Added) secretEvent()            {}
func (VersionAdded) secretEvent()     {}
func (VersionDisabled) secretEvent()  {}
func (VersionEnabled) secretEvent()   {}
func (VersionDestroyed) secretEvent() {}
func (Destroyed) secretEvent()        {}

// Codec is the catalog of this part.
var Codec = domain.NewCodec(
	domain.Spec[Added, Event](),
	domain.Spec[VersionAdded, Event](),
	domain.Spec[VersionDisabled, Event](),
	domain.Spec[VersionEnabled, Event](),
	domain.Spec[VersionDestroyed, Event](),
	domain.Spec[Destroyed, Event](),
)

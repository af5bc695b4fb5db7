package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// The statuses of a secret and of its versions.
const (
	SecretActive    = "active"
	SecretDisabled  = "disabled"
	SecretDestroyed = "destroyed"
)

// Secret is a secret of a company, without its values: no answer has them.
type Secret struct {
	ID          uuid.UUID `json:"id"`
	CompanyID   uuid.UUID `json:"companyId"`
	Name        string    `json:"name"`
	Description string    `json:"description"`
	// Status is active or destroyed.
	Status string `json:"status"`
	// LatestVersion is the one that "latest" stands for.
	LatestVersion int             `json:"latestVersion"`
	Versions      []SecretVersion `json:"versions"`
	CreatedAt     time.Time       `json:"createdAt"`
	UpdatedAt     time.Time       `json:"updatedAt"`
	Version       int64           `json:"version"`
	Position      int64           `json:"position,omitempty"`
}

// SecretVersion is one value's life.
type SecretVersion struct {
	Version int `json:"version"`
	// Status is active, disabled or destroyed.
	Status    string    `json:"status"`
	CreatedAt time.Time `json:"createdAt"`
	// ChangedAt is when it got its status.
	ChangedAt time.Time `json:"changedAt"`
}

// AddSecret asks for a secret. Its value is never shown again.
type AddSecret struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	Value       string `json:"value"`
}

// AddSecretVersion gives a secret a new value.
type AddSecretVersion struct {
	Value string `json:"value"`
}

// SecretRead is one use of a secret's value.
type SecretRead struct {
	// Version is the version that was read, Purpose is acquire, release, exec, probe or list.
	Version int       `json:"version"`
	Purpose string    `json:"purpose"`
	ReadAt  time.Time `json:"readAt"`
	// LeaseID, ExecID and EnvironmentID are what it was read for; null where there is none.
	LeaseID       *uuid.UUID `json:"leaseId"`
	ExecID        *uuid.UUID `json:"execId"`
	EnvironmentID *uuid.UUID `json:"environmentId"`
	// WorkerID is the process that read it, ActorID who caused that; null for the engine itself.
	WorkerID *uuid.UUID `json:"workerId"`
	ActorID  *uuid.UUID `json:"actorId"`
	Position int64      `json:"position"`
}

// SecretRef stands for the value of a secret.
type SecretRef struct {
	SecretID uuid.UUID
	// Version is the number of a version; 0 is the latest at the time of use.
	Version int
}

const (
	secretRefType = "secret_ref"
	latest        = "latest"
)

// MarshalJSON writes {"type":"secret_ref","secretId":…,"version":…}.
func (r SecretRef) MarshalJSON() ([]byte, error) {
	out := struct {
		Type     string    `json:"type"`
		SecretID uuid.UUID `json:"secretId"`
		Version  any       `json:"version"`
	}{secretRefType, r.SecretID, latest}
	if r.Version != 0 {
		out.Version = r.Version
	}
	return json.Marshal(out)
}

var errSecretRef = errors.New("not a reference to a secret")

// UnmarshalJSON reads a reference and takes nothing else. Without a version it is the latest.
func (r *SecretRef) UnmarshalJSON(raw []byte) error {
	var in struct {
		Type     string          `json:"type"`
		SecretID uuid.UUID       `json:"secretId"`
		Version  json.RawMessage `json:"version"`
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil || in.Type != secretRefType || in.SecretID == uuid.Nil {
		return errSecretRef
	}
	out := SecretRef{SecretID: in.SecretID}
	if v := string(in.Version); v != "" && v != `"`+latest+`"` {
		n, err := strconv.ParseInt(v, 10, 32)
		if err != nil || n < 1 {
			return errSecretRef
		}
		out.Version = int(n)
	}
	*r = out
	return nil
}

// EnvValue is the value of a variable: text, or a reference to a secret. In JSON it is a string or an object.
type EnvValue struct {
	Plain string
	// SecretRef is nil for text.
	SecretRef *SecretRef
}

// MarshalJSON writes a string or a reference.
func (v EnvValue) MarshalJSON() ([]byte, error) {
	if v.SecretRef != nil {
		return v.SecretRef.MarshalJSON()
	}
	return json.Marshal(v.Plain)
}

// UnmarshalJSON reads a string or a reference.
func (v *EnvValue) UnmarshalJSON(raw []byte) error {
	raw = bytes.TrimSpace(raw)
	if len(raw) > 0 && raw[0] == '{' {
		*v = EnvValue{SecretRef: &SecretRef{}}
		return v.SecretRef.UnmarshalJSON(raw)
	}
	var plain *string
	if err := json.Unmarshal(raw, &plain); err != nil || plain == nil {
		return errors.New("neither a string nor a reference to a secret")
	}
	*v = EnvValue{Plain: *plain}
	return nil
}

// PlainVars are variables of plain text.
func PlainVars(vars map[string]string) map[string]EnvValue {
	if vars == nil {
		return nil
	}
	out := make(map[string]EnvValue, len(vars))
	for name, value := range vars {
		out[name] = EnvValue{Plain: value}
	}
	return out
}

package domain

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// SecretRefType is the member "type" of a reference to a secret, by which it is known wherever it stands.
const SecretRefType = "secret_ref"

// LatestVersion stands for the newest version of a secret at the time of use.
const LatestVersion = "latest"

// SecretRef stands for the value of a secret. In JSON it is {"type":"secret_ref","secretId":…,"version":"latest"|n}.
type SecretRef struct {
	Secret SecretID
	// Version is the number of a version; 0 is the newest one at the time of use.
	Version int
}

// IsZero reports whether there is no reference.
func (r SecretRef) IsZero() bool { return r == SecretRef{} }

func (r SecretRef) String() string { return r.Secret.String() + "@" + r.version() }

func (r SecretRef) version() string {
	if r.Version == 0 {
		return LatestVersion
	}
	return strconv.Itoa(r.Version)
}

// MarshalJSON writes the reference.
func (r SecretRef) MarshalJSON() ([]byte, error) {
	version := r.version()
	if r.Version == 0 {
		version = `"` + version + `"`
	}
	return fmt.Appendf(nil, `{"type":%q,"secretId":%q,"version":%s}`, SecretRefType, r.Secret, version), nil
}

// errSecretRef never repeats what was given: it may be the secret itself.
var errSecretRef = errors.New(`not a reference to a secret: give {"type":"secret_ref","secretId":ID,"version":"latest"} or the number of a version`)

// UnmarshalJSON reads a reference and takes nothing else. Without a version it is the latest.
func (r *SecretRef) UnmarshalJSON(raw []byte) error {
	var in struct {
		Type     string          `json:"type"`
		SecretID *SecretID       `json:"secretId"`
		Version  json.RawMessage `json:"version"`
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil || in.Type != SecretRefType || in.SecretID == nil || in.SecretID.IsZero() {
		return errSecretRef
	}
	out := SecretRef{Secret: *in.SecretID}
	if v := string(in.Version); v != "" && v != `"`+LatestVersion+`"` {
		n, err := strconv.ParseInt(v, 10, 32)
		if err != nil || n < 1 {
			return errSecretRef
		}
		out.Version = int(n)
	}
	*r = out
	return nil
}

// EnvValue is the value of a variable: plain text, or a reference to a secret. In JSON it is a string or an object.
type EnvValue struct {
	Plain string
	// Ref is zero for plain text.
	Ref SecretRef
}

// MarshalJSON writes a string or a reference.
func (v EnvValue) MarshalJSON() ([]byte, error) {
	if v.Ref.IsZero() {
		return json.Marshal(v.Plain)
	}
	return v.Ref.MarshalJSON()
}

// UnmarshalJSON reads a string or a reference.
func (v *EnvValue) UnmarshalJSON(raw []byte) error {
	raw = bytes.TrimSpace(raw)
	if len(raw) > 0 && raw[0] == '{' {
		*v = EnvValue{}
		return v.Ref.UnmarshalJSON(raw)
	}
	var plain *string
	if err := json.Unmarshal(raw, &plain); err != nil || plain == nil {
		return errors.New("a variable is neither a string nor a reference to a secret")
	}
	*v = EnvValue{Plain: *plain}
	return nil
}

// EnvSecrets are the references among variables, each once, in the order of the names.
func EnvSecrets(vars map[string]EnvValue) []SecretRef {
	var refs []SecretRef
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		if ref := vars[name].Ref; !ref.IsZero() && !slices.Contains(refs, ref) {
			refs = append(refs, ref)
		}
	}
	return refs
}

// MaxSecret is the most bytes of a secret's value.
const MaxSecret = 64 << 10

// CheckSecretValue refuses what cannot be the value of a secret. The refusal says nothing of the value.
func CheckSecretValue(field, value string) error {
	switch {
	case value == "":
		return Refuse(KindInvalid, "missing_field", "is missing").On(field).Mend("give the secret's value, which is not empty")
	case len(value) > MaxSecret:
		return Refuse(KindInvalid, "secret_too_long", "has %d bytes; the limit is %d", len(value), MaxSecret).On(field).
			Mend("bring larger data in as a file, encrypted with a key that is the secret")
	}
	return CheckArgument(field, value)
}

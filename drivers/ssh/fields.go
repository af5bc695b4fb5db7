package ssh

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tenure-dev/tenure/drivers"
)

// fields takes a JSON object apart, field by field, and collects what is wrong with it. Its problems hold no value of a
// field, since any may turn out to be a secret in the wrong place.
type fields struct {
	at       string // the name of the object, such as "config"
	raw      map[string]json.RawMessage
	known    []string
	problems *[]drivers.FieldProblem
	// decrypt says that passphrases are tried, which takes a tenth of a second for each.
	decrypt bool
}

func (f *fields) problem(name, problem, remediation string) {
	at := f.at
	if name != "" {
		at += "." + name
	}
	*f.problems = append(*f.problems, drivers.FieldProblem{Field: at, Problem: problem, Remediation: remediation})
}

// open begins with the object raw.
func open(at string, raw json.RawMessage, problems *[]drivers.FieldProblem) (*fields, bool) {
	f := &fields{at: at, problems: problems}
	if err := json.Unmarshal(raw, &f.raw); err != nil || f.raw == nil {
		f.problem("", "is not a JSON object", "write an object with the fields of an SSH host")
		return nil, false
	}
	return f, true
}

// take decodes a field into v. It reports whether the field is there and fits.
func (f *fields) take(name, want string, v any) bool {
	f.known = append(f.known, name)
	raw, ok := f.raw[name]
	if !ok || string(raw) == "null" {
		return false
	}
	if err := json.Unmarshal(raw, v); err != nil {
		f.problem(name, "is not "+want, "write "+want)
		return false
	}
	return true
}

func (f *fields) text(name string) string {
	var s string
	f.take(name, "a text", &s)
	return s
}

// secret is a field that holds a secret: its value, or a reference that the engine has not replaced.
type secret struct {
	value string
	// ref says that there is a reference and no value.
	ref bool
}

func (s secret) given() bool { return s.ref || s.value != "" }

func (f *fields) secret(name string) secret {
	f.known = append(f.known, name)
	raw, ok := f.raw[name]
	if !ok || string(raw) == "null" {
		return secret{}
	}
	var s secret
	if json.Unmarshal(raw, &s.value) == nil {
		if s.value == "" {
			f.problem(name, "is empty", "give the secret, or leave the field out")
		}
		return s
	}
	var ref struct {
		Type     string `json:"type"`
		SecretID string `json:"secretId"`
	}
	if err := json.Unmarshal(raw, &ref); err != nil || ref.Type != "secret_ref" || ref.SecretID == "" {
		f.problem(name, "is neither a text nor a reference to a secret",
			`write {"type": "secret_ref", "secretId": "...", "version": "latest"}`)
		return secret{}
	}
	return secret{ref: true}
}

// rest names the fields that nobody took.
func (f *fields) rest() {
	for _, name := range slices.Sorted(maps.Keys(f.raw)) {
		if !slices.Contains(f.known, name) {
			f.problem(name, "is unknown to the driver ssh", "remove it; known here are "+strings.Join(f.known, ", "))
		}
	}
}

func index(at string, i int) string { return fmt.Sprintf("%s[%d]", at, i) }

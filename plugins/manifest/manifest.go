// Package manifest is what a plugin says of itself before it runs: who it is, what it asks for, and which drivers of
// environments it has, each with a schema of its configuration.
//
// The form is that of Paperclip's published SDK, checked as strictly as there: a name that is misspelt is refused, not
// dropped. What a plugin says beyond it for this engine stands at the top level under "tenure", where the published
// schema drops what it does not know:
//
//	"tenure": {"drivers": {"<driverKey>": {"class": "idempotent", "isolation": "container", "exec": true, "list": true}}}
package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/provider"
	"github.com/tenure-dev/tenure/plugins/protocol"
)

// APIVersion is the version of the manifest and of initialize.
const APIVersion = 1

// CapabilityDrivers is the capability that a plugin with drivers of environments must declare.
const CapabilityDrivers = "environment.drivers.register"

// Manifest is a valid manifest.
type Manifest struct {
	ID, Version, DisplayName, Description, Author string
	Categories, Capabilities                      []string
	// Worker is the entry point of the worker, relative to the package.
	Worker  string
	Drivers []Driver
	// Raw is the whole of it, as the worker gets it back.
	Raw json.RawMessage
}

// Driver is one driver of environments.
type Driver struct {
	Key                      string
	Kind                     provider.Kind
	DisplayName, Description string
	// ReusableLeases says that the plugin declares them; the verbs for it must be there as well.
	ReusableLeases bool
	Config         *Schema
	// Tenure is what the plugin declares for this engine; nil for a plugin that does not know it.
	Tenure *protocol.TenureDriver
}

// Class is what a repeated acquire can do; a plugin that does not know this engine is blind.
func (d Driver) Class() drivers.Class {
	if d.Tenure == nil {
		return drivers.ClassBlind
	}
	return drivers.Class(d.Tenure.Class)
}

// Error says which fields of a manifest are at fault.
type Error struct{ Problems []drivers.FieldProblem }

func (e *Error) Error() string {
	parts := make([]string, 0, len(e.Problems))
	for _, p := range e.Problems {
		parts = append(parts, p.Field+": "+p.Problem)
	}
	return "manifest: " + strings.Join(parts, "; ")
}

// Declares reports whether the plugin asks for a capability.
func (m Manifest) Declares(capability string) bool {
	return slices.Contains(m.Capabilities, capability)
}

// Driver finds a driver by its key.
func (m Manifest) Driver(key string) (Driver, bool) {
	i := slices.IndexFunc(m.Drivers, func(d Driver) bool { return d.Key == key })
	if i < 0 {
		return Driver{}, false
	}
	return m.Drivers[i], true
}

// wire is the manifest as it is written. Sections that this engine does not use are left alone.
type wire struct {
	ID                      *string           `json:"id"`
	APIVersion              json.RawMessage   `json:"apiVersion"`
	Version                 *string           `json:"version"`
	DisplayName             *string           `json:"displayName"`
	Description             *string           `json:"description"`
	Author                  *string           `json:"author"`
	Categories              []string          `json:"categories"`
	Capabilities            []string          `json:"capabilities"`
	Entrypoints             json.RawMessage   `json:"entrypoints"`
	MinimumHostVersion      *string           `json:"minimumHostVersion"`
	MinimumPaperclipVersion *string           `json:"minimumPaperclipVersion"`
	InstanceConfigSchema    json.RawMessage   `json:"instanceConfigSchema"`
	EnvironmentDrivers      []json.RawMessage `json:"environmentDrivers"`
	Tenure                  json.RawMessage   `json:"tenure"`
}

type entrypoints struct {
	Worker string `json:"worker"`
}

type tenure struct {
	Drivers map[string]json.RawMessage `json:"drivers"`
}

// Parse reads a manifest as JSON. The error is an [*Error].
func Parse(raw []byte) (Manifest, error) {
	var w wire
	if err := exact(raw, &w, true); err != nil {
		return Manifest{}, &Error{Problems: []drivers.FieldProblem{topProblem(err)}}
	}
	var c checker
	m := Manifest{
		ID:          c.match("id", w.ID, keyPattern, "start with a lower-case letter or digit and go on with those, '.', '_' and '-'"),
		Version:     c.match("version", w.Version, semver, "write it as semver, such as 1.0.0"),
		DisplayName: c.text("displayName", w.DisplayName, 100), Description: c.text("description", w.Description, 500),
		Author:     c.text("author", w.Author, 200),
		Categories: w.Categories, Capabilities: w.Capabilities,
	}
	if string(w.APIVersion) != "1" {
		c.add("apiVersion", "is not 1", "write \"apiVersion\": 1; this engine knows no other")
	}
	c.listed("categories", w.Categories, categories)
	c.listed("capabilities", w.Capabilities, capabilities)
	m.Worker = c.worker(w.Entrypoints)
	c.minimumVersion(w)
	if len(w.InstanceConfigSchema) > 0 {
		_, problem := NewSchema(w.InstanceConfigSchema)
		c.prefixed("instanceConfigSchema", problem)
	}
	m.Drivers = c.drivers(w)
	if len(c.problems) > 0 {
		return Manifest{}, &Error{Problems: c.problems}
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, raw); err != nil {
		return Manifest{}, &Error{Problems: []drivers.FieldProblem{topProblem(err)}}
	}
	m.Raw = compact.Bytes()
	return m, nil
}

// topProblem is a problem of the whole document, or of a field at its top.
func topProblem(err error) drivers.FieldProblem {
	p := decodeProblem("", err)
	if p.Field == "" {
		p.Field = "manifest"
	}
	return p
}

var (
	keyPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*$`)
	semver     = regexp.MustCompile(`^\d+\.\d+\.\d+(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?$`)
)

// checker collects what is wrong.
type checker struct{ problems []drivers.FieldProblem }

func (c *checker) add(field, problem, remediation string) {
	c.problems = append(c.problems, drivers.FieldProblem{Field: field, Problem: problem, Remediation: remediation})
}

func (c *checker) prefixed(field string, p *drivers.FieldProblem) {
	if p != nil {
		c.add(field+p.Field, p.Problem, p.Remediation)
	}
}

// text is a string that must be there and may be limit characters long.
func (c *checker) text(field string, value *string, limit int) string {
	switch {
	case value == nil || *value == "":
		c.add(field, "is missing", fmt.Sprintf("write a text of at most %d characters", limit))
		return ""
	case utf8.RuneCountInString(*value) > limit:
		c.add(field, fmt.Sprintf("is longer than %d characters", limit), "shorten it")
	}
	return *value
}

func (c *checker) match(field string, value *string, pattern *regexp.Regexp, remediation string) string {
	switch {
	case value == nil:
		c.add(field, "is missing", remediation)
		return ""
	case !pattern.MatchString(*value):
		c.add(field, "does not match "+pattern.String(), remediation)
	}
	return *value
}

// listed checks a list whose members are known; one at least must be there.
func (c *checker) listed(field string, values, known []string) {
	if len(values) == 0 {
		c.add(field, "names none", "name at least one of: "+strings.Join(known, ", "))
	}
	for i, v := range values {
		if !slices.Contains(known, v) {
			c.add(fmt.Sprintf("%s[%d]", field, i), fmt.Sprintf("%q is not known", v), "use one of: "+strings.Join(known, ", "))
		}
	}
}

func (c *checker) worker(raw json.RawMessage) string {
	var e entrypoints
	c.decode("entrypoints", raw, &e, true)
	if e.Worker == "" {
		c.add("entrypoints.worker", "is missing", "name the file that runs as the worker, relative to the package")
	}
	return e.Worker
}

// decode reads an object that may be absent.
func (c *checker) decode(field string, raw json.RawMessage, into any, dropUnknown bool) {
	if len(raw) == 0 || string(raw) == "null" {
		return
	}
	if err := exact(raw, into, dropUnknown); err != nil {
		c.problems = append(c.problems, decodeProblem(field, err))
	}
}

// minimumVersion checks what is asked of the host. It is of Paperclip's versions, with which ours cannot be compared.
func (c *checker) minimumVersion(w wire) {
	const remediation = "write it as semver, such as 1.0.0"
	var host, paperclip string
	if w.MinimumHostVersion != nil {
		host = c.match("minimumHostVersion", w.MinimumHostVersion, semver, remediation)
	}
	if w.MinimumPaperclipVersion != nil {
		paperclip = c.match("minimumPaperclipVersion", w.MinimumPaperclipVersion, semver, remediation)
	}
	if host != "" && paperclip != "" && host != paperclip {
		c.add("minimumHostVersion", "differs from minimumPaperclipVersion", "declare one of them, or both alike")
	}
}

func (c *checker) drivers(w wire) []Driver {
	if len(w.EnvironmentDrivers) > 0 && !slices.Contains(w.Capabilities, CapabilityDrivers) {
		c.add("capabilities", CapabilityDrivers+" is missing, though environmentDrivers are declared", "add it")
	}
	before := len(c.problems)
	byKey := make(map[string]bool)
	all := make([]Driver, 0, len(w.EnvironmentDrivers))
	for i, raw := range w.EnvironmentDrivers {
		field := fmt.Sprintf("environmentDrivers[%d]", i)
		d := c.driver(field, raw)
		if d.Key != "" && byKey[d.Key] {
			c.add(field+".driverKey", fmt.Sprintf("%q is declared twice", d.Key), "give each driver a key of its own")
		}
		byKey[d.Key] = true
		all = append(all, d)
	}
	if len(c.problems) > before {
		return all // what follows would only repeat them
	}
	var t tenure
	c.decode("tenure", w.Tenure, &t, true)
	for _, key := range slices.Sorted(maps.Keys(t.Drivers)) {
		field := fmt.Sprintf("tenure.drivers[%q]", key)
		t := c.tenureDriver(field, t.Drivers[key])
		i := slices.IndexFunc(all, func(d Driver) bool { return d.Key == key })
		if i < 0 {
			c.add(field, "is no driver of environmentDrivers", "declare it there, or remove it here")
			continue
		}
		all[i].Tenure = &t
	}
	return all
}

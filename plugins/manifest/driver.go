package manifest

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/provider"
	"github.com/tenure-dev/tenure/plugins/protocol"
)

// wireDriver is one of environmentDrivers. It is read strictly: a capability that is misspelt must not be lost silently.
type wireDriver struct {
	DriverKey                       *string         `json:"driverKey"`
	Kind                            *string         `json:"kind"`
	DisplayName                     *string         `json:"displayName"`
	Description                     *string         `json:"description"`
	ConfigSchema                    json.RawMessage `json:"configSchema"`
	SupportsReusableLeases          *bool           `json:"supportsReusableLeases"`
	SandboxCapabilities             json.RawMessage `json:"sandboxCapabilities"`
	SupportsInteractiveSetup        *bool           `json:"supportsInteractiveSetup"`
	InteractiveSetupConnectionTypes []string        `json:"interactiveSetupConnectionTypes"`
	SupportsTemplateCapture         *bool           `json:"supportsTemplateCapture"`
	TemplateRefKind                 *string         `json:"templateRefKind"`
	TemplateConfigBinding           json.RawMessage `json:"templateConfigBinding"`
	TemplateIdentityPaths           []string        `json:"templateIdentityPaths"`
	SupportsTemplateDelete          *bool           `json:"supportsTemplateDelete"`
	SupportsLoginPty                *bool           `json:"supportsLoginPty"`
	SupportsSetupTokenLogin         *bool           `json:"supportsSetupTokenLogin"`
}

type sandboxAbility struct {
	ReusableLeases             *bool `json:"reusableLeases"`
	NativeSyncIn               *bool `json:"nativeSyncIn"`
	NativeSyncOut              *bool `json:"nativeSyncOut"`
	PersistentProcessSessions  *bool `json:"persistentProcessSessions"`
	IndependentControlCommands *bool `json:"independentControlCommands"`
	IncrementalSessionOutput   *bool `json:"incrementalSessionOutput"`
	ConcurrentSyncOperations   *bool `json:"concurrentSyncOperations"`
	DuplexCommandStream        *bool `json:"duplexCommandStream"`
	RunnerWebSocketIngress     *bool `json:"runnerWebSocketIngress"`
}

type templateBinding struct {
	Field       string   `json:"field"`
	UnsetFields []string `json:"unsetFields"`
}

func (c *checker) driver(field string, raw json.RawMessage) Driver {
	var w wireDriver
	if err := exact(raw, &w, false); err != nil {
		c.problems = append(c.problems, decodeProblem(field, err))
		return Driver{}
	}
	var sandbox sandboxAbility
	c.decode(field+".sandboxCapabilities", w.SandboxCapabilities, &sandbox, false)
	d := Driver{
		Key:         c.match(field+".driverKey", w.DriverKey, keyPattern, "start with a lower-case letter or digit and go on with those, '.', '_' and '-'"),
		Kind:        provider.KindDriver,
		DisplayName: c.text(field+".displayName", w.DisplayName, 100),
	}
	if w.Kind != nil {
		d.Kind = provider.Kind(*w.Kind)
		if d.Kind != provider.KindDriver && d.Kind != provider.KindSandbox {
			c.add(field+".kind", fmt.Sprintf("%q is not known", *w.Kind), "use environment_driver or sandbox_provider")
		}
	}
	if w.Description != nil && *w.Description != "" {
		d.Description = c.text(field+".description", w.Description, 500)
	}
	if len(w.ConfigSchema) == 0 {
		c.add(field+".configSchema", "is missing", `write a JSON Schema, such as {"type": "object"}`)
	} else {
		s, problem := NewSchema(w.ConfigSchema)
		c.prefixed(field+".configSchema", problem)
		d.Config = s
	}
	d.ReusableLeases = isTrue(w.SupportsReusableLeases) || isTrue(sandbox.ReusableLeases)
	if w.SupportsLoginPty != nil && w.SupportsSetupTokenLogin != nil && *w.SupportsLoginPty != *w.SupportsSetupTokenLogin {
		c.add(field+".supportsLoginPty", "differs from supportsSetupTokenLogin, its old name", "declare supportsLoginPty only")
	}
	c.template(field, w)
	return d
}

func isTrue(b *bool) bool { return b != nil && *b }

var templateField = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)

// template checks the parts about templates, which this engine does not use yet but a plugin must not get wrong.
func (c *checker) template(field string, w wireDriver) {
	if w.TemplateRefKind != nil {
		c.text(field+".templateRefKind", w.TemplateRefKind, 100)
	}
	c.count(field+".interactiveSetupConnectionTypes", w.InteractiveSetupConnectionTypes, 10, 100)
	c.count(field+".templateIdentityPaths", w.TemplateIdentityPaths, 20, 200)
	if len(w.TemplateConfigBinding) == 0 || string(w.TemplateConfigBinding) == "null" {
		return
	}
	field += ".templateConfigBinding"
	var b templateBinding
	c.decode(field, w.TemplateConfigBinding, &b, false)
	const remediation = "name a field at the top of the configuration, and not provider"
	for i, name := range append([]string{b.Field}, b.UnsetFields...) {
		at := field + ".field"
		if i > 0 {
			at = fmt.Sprintf("%s.unsetFields[%d]", field, i-1)
		}
		if len(name) > 100 || name == "provider" || !templateField.MatchString(name) {
			c.add(at, "is no field that can be set", remediation)
		} else if slices.Contains(append([]string{b.Field}, b.UnsetFields...)[:i], name) {
			c.add(at, "is named twice", "name each field once")
		}
	}
	if len(b.UnsetFields) > 20 {
		c.add(field+".unsetFields", "has more than 20 members", "name fewer")
	}
}

func (c *checker) count(field string, values []string, most, length int) {
	if len(values) > most {
		c.add(field, fmt.Sprintf("has more than %d members", most), "name fewer")
	}
	for i := range values {
		c.text(fmt.Sprintf("%s[%d]", field, i), &values[i], length)
	}
}

// tenureDriver reads what a driver declares for this engine.
func (c *checker) tenureDriver(field string, raw json.RawMessage) protocol.TenureDriver {
	var t protocol.TenureDriver
	if err := exact(raw, &t, false); err != nil {
		c.problems = append(c.problems, decodeProblem(field, err))
		return t
	}
	switch drivers.Class(t.Class) {
	case drivers.ClassIdempotent, drivers.ClassBlind:
	case drivers.ClassListable:
		if !t.List {
			c.add(field+".list", "is not true, though the class is listable", `write "list": true, or another class`)
		}
	default:
		c.add(field+".class", fmt.Sprintf("%q is not known", t.Class), "use idempotent, listable or blind")
	}
	if t.Isolation == "" || len(t.Isolation) > 100 {
		c.add(field+".isolation", "is missing or long", `say in a word what separates a command from others, such as "container"`)
	}
	return t
}

package fake

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/tenure-dev/tenure/drivers"
)

// DefaultImage is what runtimes claim to run where a configuration does not say.
const DefaultImage = "ubuntu:24.04"

// config of an environment.
type config struct {
	Image      string
	ReuseLease bool
	Script     []Step
	ScriptFile string
}

// ConfigSchema is what the manifest says of the configuration.
const ConfigSchema = `{
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "image": {"type": "string", "minLength": 1, "description": "what runtimes claim to run"},
    "reuseLease": {"type": "boolean"},
    "script": {"type": "array", "items": {"type": "object"}, "description": "what goes wrong, and when"},
    "scriptFile": {"type": "string", "pattern": "^/", "description": "a file that holds a script"}
  }
}`

// decodeConfig is strict. Its error is a [*drivers.ConfigError] that names every field at fault.
func decodeConfig(raw json.RawMessage) (config, error) {
	c := config{Image: DefaultImage}
	if len(bytes.TrimSpace(raw)) == 0 {
		return c, nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil || fields == nil {
		return c, &drivers.ConfigError{Problems: []drivers.FieldProblem{{
			Field: "config", Problem: "is not a JSON object", Remediation: `use {} or for example {"image": "NAME"}`,
		}}}
	}
	var problems []drivers.FieldProblem
	problem := func(name, what, remediation string) {
		problems = append(problems, drivers.FieldProblem{Field: "config." + name, Problem: what, Remediation: remediation})
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		raw := fields[name]
		switch name {
		case "image":
			if json.Unmarshal(raw, &c.Image) != nil || c.Image == "" {
				problem(name, "is not the name of an image", `write for example "ubuntu:24.04"`)
			}
		case "reuseLease":
			if json.Unmarshal(raw, &c.ReuseLease) != nil {
				problem(name, "is not true or false", "write true or false")
			}
		case "script":
			var err error
			if c.Script, err = parseScript(raw); err != nil {
				problem(name, err.Error(), "see the documentation of the fake provider's scripts")
			}
		case "scriptFile":
			if json.Unmarshal(raw, &c.ScriptFile) != nil || !filepath.IsAbs(c.ScriptFile) {
				problem(name, "is not an absolute path", "name a file by its absolute path")
			}
		default:
			problem(name, "is unknown to the provider fake", fmt.Sprintf("remove it; the provider knows %v", []string{"image", "reuseLease", "script", "scriptFile"}))
		}
	}
	if len(problems) > 0 {
		return config{}, &drivers.ConfigError{Problems: problems}
	}
	return c, nil
}

package local

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tenure-dev/tenure/drivers"
)

// Config is the configuration of a local environment. It may be empty.
type Config struct {
	// Path are directories that come before the base PATH, in order.
	Path []string `json:"path,omitempty"`
}

// decodeConfig is strict: a field that is unknown, or of the wrong type, is named.
func decodeConfig(raw json.RawMessage) (Config, error) {
	var c Config
	if len(bytes.TrimSpace(raw)) == 0 {
		return c, nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil || fields == nil {
		return c, &drivers.ConfigError{Problems: []drivers.FieldProblem{{
			Field: "config", Problem: "is not a JSON object", Remediation: "use {} or an object with the field path",
		}}}
	}
	var problems []drivers.FieldProblem
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if name != "path" {
			problems = append(problems, drivers.FieldProblem{
				Field: "config." + name, Problem: "is unknown to the driver local",
				Remediation: "remove it; the driver local knows path only",
			})
			continue
		}
		if err := json.Unmarshal(fields[name], &c.Path); err != nil {
			problems = append(problems, drivers.FieldProblem{
				Field: "config.path", Problem: "is not a list of strings", Remediation: `write for example ["/usr/local/go/bin"]`,
			})
		}
	}
	for i, dir := range c.Path {
		if !filepath.IsAbs(dir) || strings.ContainsAny(dir, ":\x00") {
			problems = append(problems, drivers.FieldProblem{
				Field: fmt.Sprintf("config.path[%d]", i), Problem: fmt.Sprintf("%q is not an absolute path without ':'", dir),
				Remediation: "name a directory by its absolute path",
			})
		}
	}
	if len(problems) > 0 {
		return Config{}, &drivers.ConfigError{Problems: problems}
	}
	return c, nil
}

package bubblewrap

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/plugins/cgroup"
)

// ConfigSchema is the JSON Schema of a configuration, for the manifest. What it refuses, decodeConfig refuses as well.
const ConfigSchema = `{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "memoryMb": {
      "type": "integer", "minimum": 4, "maximum": 16777216, "title": "Memory (MiB)",
      "description": "Most memory of all commands of a runtime together, swap included where the kernel accounts for it."
    },
    "pids": {
      "type": "integer", "minimum": 1, "maximum": 4194304, "title": "Processes",
      "description": "Most processes and threads of all commands of a runtime together."
    },
    "cpus": {
      "type": "number", "minimum": 0.01, "maximum": 4096, "title": "Processors",
      "description": "Most processor time of all commands of a runtime together, in processors; may be a fraction."
    },
    "network": {
      "type": "string", "enum": ["none", "host"], "default": "none", "title": "Network",
      "description": "none: a loopback of its own. host: the network of the machine, with everything that listens on it."
    },
    "readOnlyPaths": {
      "type": "array", "maxItems": 64, "uniqueItems": true, "title": "Further paths",
      "items": {"type": "string", "pattern": "^/[^\\x00]*$", "maxLength": 4000},
      "description": "Absolute paths of the machine that commands may read, such as /opt/toolchain."
    },
    "timeoutMs": {
      "type": "integer", "minimum": 1, "maximum": 9007199254, "title": "Time limit (ms)",
      "description": "Longest that any command may take."
    },
    "limits": {
      "type": "string", "enum": ["enforce", "best_effort"], "default": "enforce", "title": "Limits",
      "description": "enforce: refuse a lease whose limits cannot be kept. best_effort: go on, and say which are not kept."
    }
  }
}`

// The values of Config.Network and Config.Limits.
const (
	NetworkNone      = "none"
	NetworkHost      = "host"
	LimitsEnforce    = "enforce"
	LimitsBestEffort = "best_effort"
)

// The bounds that the schema states.
const (
	minMemoryMb, maxMemoryMb = 4, 16 << 20
	minPids, maxPids         = 1, 4 << 20
	minCPUs, maxCPUs         = 0.01, 4096
	maxPaths, maxPathBytes   = 64, 4000
	maxTimeoutMs             = 9007199254 // what a time.Duration holds of the integers that JSON has
)

// Config is the configuration of an environment. It may be empty; the zero value of a field is no limit.
type Config struct {
	MemoryMb      int
	Pids          int
	CPUs          float64
	Network       string
	ReadOnlyPaths []string
	TimeoutMs     int64
	Limits        string
}

// limits are those that a cgroup keeps.
func (c Config) limits() cgroup.Limits {
	return cgroup.Limits{MemoryBytes: int64(c.MemoryMb) << 20, Pids: c.Pids, CPUs: c.CPUs}
}

// timeout is how long a command may take that asked for wanted.
func (c Config) timeout(wanted time.Duration) time.Duration {
	most := time.Duration(c.TimeoutMs) * time.Millisecond
	if most > 0 && (wanted <= 0 || wanted > most) {
		return most
	}
	return wanted
}

// decoder collects the problems of a configuration.
type decoder struct{ problems []drivers.FieldProblem }

func (d *decoder) refuse(field, problem, remediation string) {
	d.problems = append(d.problems, drivers.FieldProblem{Field: field, Problem: problem, Remediation: remediation})
}

// decodeConfig is strict: a field that is unknown, of the wrong type or out of bounds is named.
func decodeConfig(raw json.RawMessage) (Config, error) {
	c := Config{Network: NetworkNone, Limits: LimitsEnforce}
	if len(bytes.TrimSpace(raw)) == 0 {
		return c, nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil || fields == nil {
		return c, &drivers.ConfigError{Problems: []drivers.FieldProblem{{
			Field: "config", Problem: "is not a JSON object", Remediation: `use {} or an object such as {"memoryMb": 512}`,
		}}}
	}
	d := &decoder{}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		field, value := "config."+name, fields[name]
		switch name {
		case "memoryMb":
			c.MemoryMb = int(d.integer(field, value, minMemoryMb, maxMemoryMb))
		case "pids":
			c.Pids = int(d.integer(field, value, minPids, maxPids))
		case "cpus":
			c.CPUs = d.number(field, value, minCPUs, maxCPUs)
		case "network":
			c.Network = d.oneOf(field, value, NetworkNone, NetworkHost)
		case "readOnlyPaths":
			c.ReadOnlyPaths = d.paths(field, value)
		case "timeoutMs":
			c.TimeoutMs = d.integer(field, value, 1, maxTimeoutMs)
		case "limits":
			c.Limits = d.oneOf(field, value, LimitsEnforce, LimitsBestEffort)
		default:
			d.refuse(field, "is unknown to the driver bubblewrap",
				"remove it; the driver bubblewrap knows memoryMb, pids, cpus, network, readOnlyPaths, timeoutMs and limits")
		}
	}
	if len(d.problems) > 0 {
		return Config{}, &drivers.ConfigError{Problems: d.problems}
	}
	return c, nil
}

func (d *decoder) number(field string, raw json.RawMessage, least, most float64) float64 {
	var n *float64
	if err := json.Unmarshal(raw, &n); err != nil || n == nil || *n < least || *n > most {
		d.refuse(field, fmt.Sprintf("is not a number from %v to %.0f", least, most), "write for example 1.5, or leave it out for no limit")
		return 0
	}
	return *n
}

func (d *decoder) integer(field string, raw json.RawMessage, least, most int64) int64 {
	var n *float64 // 5.0 and 5e2 are integers to JSON Schema
	if err := json.Unmarshal(raw, &n); err != nil || n == nil || *n != float64(int64(*n)) || *n < float64(least) || *n > float64(most) {
		d.refuse(field, fmt.Sprintf("is not an integer from %d to %d", least, most), "write for example 512, or leave it out for no limit")
		return 0
	}
	return int64(*n)
}

func (d *decoder) oneOf(field string, raw json.RawMessage, allowed ...string) string {
	var s string
	if err := json.Unmarshal(raw, &s); err != nil || !slices.Contains(allowed, s) {
		d.refuse(field, fmt.Sprintf("is neither %q nor %q", allowed[0], allowed[1]), "use one of them, or leave it out for "+allowed[0])
		return allowed[0]
	}
	return s
}

func (d *decoder) paths(field string, raw json.RawMessage) []string {
	var list []*string
	if err := json.Unmarshal(raw, &list); err != nil || list == nil || len(list) > maxPaths {
		d.refuse(field, fmt.Sprintf("is not a list of at most %d strings", maxPaths), `write for example ["/opt/toolchain"]`)
		return nil
	}
	var paths []string
	for i, p := range list {
		at := fmt.Sprintf("%s[%d]", field, i)
		switch {
		case p == nil || !filepath.IsAbs(*p) || strings.Contains(*p, "\x00") || len([]rune(*p)) > maxPathBytes:
			d.refuse(at, "is not an absolute path", "name a directory or file of the machine by its absolute path")
		case slices.Contains(paths, *p):
			d.refuse(at, "is there twice", "name each path once")
		default:
			paths = append(paths, *p)
		}
	}
	return paths
}

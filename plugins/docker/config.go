package docker

import (
	"bytes"
	_ "embed" // the schema
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"

	"github.com/tenure-dev/tenure/drivers"
)

// Schema is the JSON Schema of a configuration, for the plugin's manifest. [Driver.CheckConfig] is stricter.
//
//go:embed schema.json
var Schema []byte

// PullPolicy says when an image is pulled.
type PullPolicy string

// The pull policies.
const (
	PullIfMissing PullPolicy = "if_missing"
	PullAlways    PullPolicy = "always"
	PullNever     PullPolicy = "never"
)

// Network is what a container can reach.
type Network string

// The networks.
const (
	NetworkNone   Network = "none"
	NetworkBridge Network = "bridge"
)

// config is the configuration of an environment. Limits that are 0 are none.
type config struct {
	Image            string
	PullPolicy       PullPolicy
	RegistryUsername string
	RegistryPassword string
	MemoryMB         int64
	CPUs             float64
	PIDs             int64
	Network          Network
	User             string
	ReadOnlyRoot     bool
	Host             string
	Timeout          time.Duration
	PullTimeout      time.Duration
}

const (
	defaultTimeout     = time.Minute
	defaultPullTimeout = 5 * time.Minute
	// Below these the program in the container could not run beside a command.
	minMemoryMB = 64
	minPIDs     = 64
	// passwordPointer is where the only secret is, as a value or as a reference.
	passwordPointer = "/registryPassword"
)

// field reads one field of a configuration. It returns what is wrong and how to mend it, or "".
type field func(c *config, raw json.RawMessage) (problem, remediation string)

// fields are all that a configuration may have.
func fields(opts Options) map[string]field {
	return map[string]field{
		"image": func(c *config, raw json.RawMessage) (string, string) {
			const example = `name an image, such as "debian:12"`
			if json.Unmarshal(raw, &c.Image) != nil || c.Image == "" {
				return "is not a text", example
			}
			if _, err := reference.ParseNormalizedNamed(c.Image); err != nil {
				return fmt.Sprintf("%q is not the name of an image: %v", c.Image, err), example
			}
			return "", ""
		},
		"pullPolicy": oneOf(func(c *config) *PullPolicy { return &c.PullPolicy }, PullIfMissing, PullAlways, PullNever),
		"network":    oneOf(func(c *config) *Network { return &c.Network }, NetworkNone, NetworkBridge),
		"registryUsername": func(c *config, raw json.RawMessage) (string, string) {
			return text(&c.RegistryUsername, raw)
		},
		"registryPassword": func(c *config, raw json.RawMessage) (string, string) {
			if isReference(raw) {
				return "", ""
			}
			return text(&c.RegistryPassword, raw)
		},
		"user": func(c *config, raw json.RawMessage) (string, string) {
			const remedy = `name a user of the image, such as "node" or "1000:1000"`
			if problem, _ := text(&c.User, raw); problem != "" {
				return problem, remedy
			}
			if strings.ContainsAny(c.User, "\x00\n\r ") || strings.Count(c.User, ":") > 1 || strings.HasPrefix(c.User, ":") {
				return fmt.Sprintf("%q is neither user nor user:group", c.User), remedy
			}
			return "", ""
		},
		"host": func(c *config, raw json.RawMessage) (string, string) {
			const remedy = "write unix:///var/run/docker.sock or tcp://host:port, or leave it out"
			if problem, _ := text(&c.Host, raw); problem != "" {
				return problem, remedy
			}
			if err := checkHost(c.Host, opts.CertDir); err != nil {
				return err.Error(), remedy
			}
			if isLocal(c.Host) && !isLocal(opts.Host) {
				return "is a socket of one machine, and this server's runtimes are not bound to one", "name an engine by tcp://host:port"
			}
			return "", ""
		},
		"memoryMb": integer(func(c *config) *int64 { return &c.MemoryMB }, minMemoryMB, math.MaxInt64>>20),
		"pids":     integer(func(c *config) *int64 { return &c.PIDs }, minPIDs, 1<<22),
		"cpus": func(c *config, raw json.RawMessage) (string, string) {
			if json.Unmarshal(raw, &c.CPUs) != nil || c.CPUs < 0.01 || c.CPUs > 4096 {
				return "is not a number from 0.01 to 4096", "write for example 1.5"
			}
			return "", ""
		},
		"readOnlyRoot": func(c *config, raw json.RawMessage) (string, string) {
			if json.Unmarshal(raw, &c.ReadOnlyRoot) != nil || isNull(raw) {
				return "is neither true nor false", "write true or false"
			}
			return "", ""
		},
		"timeoutMs":     milliseconds(func(c *config) *time.Duration { return &c.Timeout }),
		"pullTimeoutMs": milliseconds(func(c *config) *time.Duration { return &c.PullTimeout }),
	}
}

// decodeConfig is strict: every field that is unknown, or of the wrong type, is named.
func decodeConfig(raw json.RawMessage, opts Options) (config, error) {
	c := config{
		PullPolicy: PullIfMissing, Network: NetworkNone, Host: opts.Host, Timeout: defaultTimeout, PullTimeout: defaultPullTimeout,
	}
	var given map[string]json.RawMessage
	if len(bytes.TrimSpace(raw)) > 0 {
		if err := json.Unmarshal(raw, &given); err != nil || given == nil {
			return c, &drivers.ConfigError{Problems: []drivers.FieldProblem{{
				Field: "config", Problem: "is not a JSON object", Remediation: `write an object with the field image at least`,
			}}}
		}
	}
	var problems []drivers.FieldProblem
	add := func(name, problem, remediation string) {
		problems = append(problems, drivers.FieldProblem{Field: "config." + name, Problem: problem, Remediation: remediation})
	}
	known := fields(opts)
	for _, name := range slices.Sorted(maps.Keys(given)) {
		read, ok := known[name]
		if !ok {
			add(name, "is unknown to the driver docker", "remove it; known are "+strings.Join(slices.Sorted(maps.Keys(known)), ", "))
			continue
		}
		if problem, remediation := read(&c, given[name]); problem != "" {
			add(name, problem, remediation)
		}
	}
	if _, ok := given["image"]; !ok {
		add("image", "is missing", `name an image, such as "debian:12"`)
	}
	_, user := given["registryUsername"]
	if _, password := given["registryPassword"]; user != password {
		missing := "registryUsername"
		if user {
			missing = "registryPassword"
		}
		add(missing, "is missing", "give both registryUsername and registryPassword, or neither")
	}
	if len(problems) > 0 {
		return config{}, &drivers.ConfigError{Problems: problems}
	}
	return c, nil
}

// lenientConfig reads what a release needs: a configuration that is not accepted any more must not keep a container alive.
func lenientConfig(raw json.RawMessage, opts Options) config {
	if c, err := decodeConfig(raw, opts); err == nil {
		return c
	}
	c := config{Host: opts.Host, Timeout: defaultTimeout}
	var host struct {
		Host string `json:"host"`
	}
	if json.Unmarshal(raw, &host) == nil && host.Host != "" && checkHost(host.Host, opts.CertDir) == nil {
		c.Host = host.Host
	}
	var image struct {
		Image string `json:"image"`
	}
	if json.Unmarshal(raw, &image) == nil {
		c.Image = image.Image
	}
	return c
}

func text(to *string, raw json.RawMessage) (string, string) {
	if json.Unmarshal(raw, to) != nil || *to == "" || strings.Contains(*to, "\x00") {
		return "is not a text", "write a text, or leave the field out"
	}
	return "", ""
}

func oneOf[T ~string](to func(*config) *T, values ...T) field {
	return func(c *config, raw json.RawMessage) (string, string) {
		var given T
		if json.Unmarshal(raw, &given) != nil || !slices.Contains(values, given) {
			names := make([]string, len(values))
			for i, v := range values {
				names[i] = string(v)
			}
			return "is none of " + strings.Join(names, ", "), "use one of these, or leave the field out"
		}
		*to(c) = given
		return "", ""
	}
}

func integer(to func(*config) *int64, least, most int64) field {
	return func(c *config, raw json.RawMessage) (string, string) {
		if v := to(c); json.Unmarshal(raw, v) != nil || *v < least || *v > most {
			return fmt.Sprintf("is not a whole number from %d to %d", least, most), "correct it, or leave the field out for no limit"
		}
		return "", ""
	}
}

func milliseconds(to func(*config) *time.Duration) field {
	return func(c *config, raw json.RawMessage) (string, string) {
		const least, most = 1000, 3_600_000
		var ms int64
		if json.Unmarshal(raw, &ms) != nil || ms < least || ms > most {
			return fmt.Sprintf("is not a whole number from %d to %d", least, most), "give the limit in milliseconds"
		}
		*to(c) = time.Duration(ms) * time.Millisecond
		return "", ""
	}
}

func isNull(raw json.RawMessage) bool { return string(bytes.TrimSpace(raw)) == "null" }

// isReference reports whether a field names a secret instead of holding it.
func isReference(raw json.RawMessage) bool {
	var ref struct {
		Type     string `json:"type"`
		SecretID string `json:"secretId"`
	}
	return json.Unmarshal(raw, &ref) == nil && ref.Type == "secret_ref" && ref.SecretID != ""
}

// CheckConfig implements [drivers.ConfigChecker].
func (d *Driver) CheckConfig(raw json.RawMessage) error {
	_, err := decodeConfig(raw, d.opts)
	return err
}

// SecretFields implements [drivers.SecretHolder].
func (d *Driver) SecretFields(raw json.RawMessage) []drivers.SecretField {
	var given map[string]json.RawMessage
	if json.Unmarshal(raw, &given) != nil || len(given[passwordPointer[1:]]) == 0 {
		return nil
	}
	return []drivers.SecretField{{Value: passwordPointer, Ref: passwordPointer}}
}

package host

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/plugins/manifest"
)

// secrets are what a worker was given and must not repeat: the secrets of the configurations of its calls, and the values
// of the environments of its commands.
type secrets struct {
	mu   sync.Mutex
	held map[string]int
	// past are those of calls that have ended: a worker may still be writing about them.
	past []string
	// order is all of them, longest first; nil when it must be made.
	order []string
}

const (
	// shortestSecret: a shorter one would black out half of every message, and hides nothing.
	shortestSecret = 4
	// shortestEnv is the same for the value of a variable, which is a secret only sometimes.
	shortestEnv = 8
	// pastSecrets is how many of past calls are still looked for.
	pastSecrets = 256
	redacted    = "[secret]"
)

func newSecrets() *secrets { return &secrets{held: make(map[string]int)} }

// hold looks for values until release, and for a while after.
func (s *secrets) hold(values ...string) (release func()) {
	var forms []string
	for _, v := range values {
		forms = append(forms, formsOf(v)...)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range forms {
		s.held[f]++
	}
	s.order = nil
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, f := range forms {
			if s.held[f]--; s.held[f] == 0 {
				delete(s.held, f)
				s.past = append(s.past, f)
			}
		}
		s.past = slices.Clone(s.past[max(0, len(s.past)-pastSecrets):])
		s.order = nil
	})
}

// formsOf are the ways in which a value may be written: as it is, as JSON writes it, and line by line.
func formsOf(v string) []string {
	if len(v) < shortestSecret {
		return nil
	}
	forms := []string{v}
	if quoted, err := json.Marshal(v); err == nil {
		if inner := string(quoted[1 : len(quoted)-1]); inner != v {
			forms = append(forms, inner)
		}
	}
	if strings.Contains(v, "\n") {
		for line := range strings.SplitSeq(v, "\n") {
			if line = strings.TrimSpace(line); len(line) >= 4*shortestSecret {
				forms = append(forms, line)
			}
		}
	}
	return forms
}

// clean is text without secrets.
func (s *secrets) clean(text string) string {
	s.mu.Lock()
	if s.order == nil {
		s.order = make([]string, 0, len(s.held)+len(s.past))
		for f := range s.held {
			s.order = append(s.order, f)
		}
		s.order = append(s.order, s.past...)
		slices.SortFunc(s.order, func(a, b string) int { return len(b) - len(a) })
		s.order = slices.Compact(s.order)
	}
	order := s.order
	s.mu.Unlock()
	for _, f := range order {
		text = strings.ReplaceAll(text, f, redacted)
	}
	return text
}

// secretsOf are the secrets in a configuration.
func secretsOf(d manifest.Driver, config json.RawMessage) []string {
	var tree any
	if json.Unmarshal(config, &tree) != nil {
		return nil
	}
	fields := d.SecretFields(config)
	values := make([]string, 0, len(fields))
	for _, f := range fields {
		if v, ok := at(tree, f.Value).(string); ok {
			values = append(values, v)
		}
	}
	return values
}

// at is what a JSON pointer (RFC 6901) leads to; nil for nothing.
func at(tree any, pointer string) any {
	if pointer == "" {
		return tree
	}
	for part := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		part = strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
		switch node := tree.(type) {
		case map[string]any:
			tree = node[part]
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i < 0 || i >= len(node) {
				return nil
			}
			tree = node[i]
		default:
			return nil
		}
	}
	return tree
}

// envSecrets are the values of a command's environment that are long enough to be one.
func envSecrets(env []drivers.EnvVar) []string {
	var values []string
	for _, v := range env {
		if len(v.Value) >= shortestEnv {
			values = append(values, v.Value)
		}
	}
	return values
}

// clip bounds a text that a worker wrote.
func clip(s string, limit int) string {
	if len(s) <= limit {
		return strings.ToValidUTF8(s, string(utf8.RuneError))
	}
	return strings.ToValidUTF8(s[:limit], string(utf8.RuneError)) + "…"
}

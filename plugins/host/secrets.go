package host

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/redact"
	"github.com/tenure-dev/tenure/plugins/manifest"
)

// secrets are what a worker was given and must not repeat: the secrets of the configurations of its calls, and the values
// of the environments of its commands.
type secrets struct {
	mu   sync.Mutex
	held map[string]int
	// past are those of calls that have ended: a worker may still be writing about them.
	past []string
	// order is all of them; nil when it must be made.
	order redact.Texts
}

const (
	// shortestEnv is the length from which the value of a variable is looked for, which is a secret only sometimes.
	shortestEnv = 8
	// pastSecrets is how many of past calls are still looked for.
	pastSecrets = 256
	// quotable is more than is ever shown of a text and the longest secret together: a beginning of this length is enough
	// for [secrets.quote]. A variable has 128 KiB at most, and in JSON six bytes for each.
	quotable = 1 << 20
)

func newSecrets() *secrets { return &secrets{held: make(map[string]int)} }

// hold looks for values until release, and for a while after.
func (s *secrets) hold(values ...string) (release func()) {
	var forms []string
	for _, v := range values {
		forms = append(forms, redact.Forms(v)...)
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

// clean is text without secrets.
func (s *secrets) clean(text string) string { return s.all().Clean(text) }

func (s *secrets) all() redact.Texts {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.order == nil {
		s.order = redact.Order(slices.AppendSeq(slices.Clone(s.past), maps.Keys(s.held)))
	}
	return s.order
}

// quote is what may be shown of a text that a worker wrote: at most limit bytes of its beginning, without secrets. It is cut
// after it is cleaned, since half a secret would not be found.
func (s *secrets) quote(text string, limit int) string {
	all := s.all()
	most := limit
	if len(all) > 0 {
		most += len(all[0]) // the longest
	}
	if len(text) > most { // it may be of any length, and each secret is looked for in all of it
		text = text[:most]
		text = text[:len(text)-begun(all, text)]
	}
	return clip(all.Clean(text), limit)
}

// begun is how long the end of a text is that may be the beginning of a secret.
func begun(all redact.Texts, text string) int {
	longest := 0
	for _, secret := range all {
		for n := min(len(secret)-1, len(text)); n > longest; n-- {
			if strings.HasSuffix(text, secret[:n]) {
				longest = n
			}
		}
	}
	return longest
}

// mostSaid bounds how many things of one kind are kept of what a worker answers at once.
const mostSaid = 100

// secretsOf are the secrets in a configuration.
func secretsOf(d manifest.Driver, config json.RawMessage) []string {
	return redact.Values(config, d.SecretFields(config))
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

// clip bounds a text and makes it one that can be recorded: without NUL, which no text of Postgres has.
func clip(s string, limit int) string {
	end := ""
	if len(s) > limit {
		s, end = s[:limit], "…"
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, string(utf8.RuneError)), "\x00", string(utf8.RuneError)) + end
}

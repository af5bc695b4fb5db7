// Package redact keeps secrets out of texts that others wrote: what a provider says, prints or reports.
package redact

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/tenure-dev/tenure/drivers"
)

// Shortest is the length in bytes from which a secret is looked for: a shorter one would black out half of every message,
// and hides nothing.
const Shortest = 4

// Removed stands for a secret in a text.
const Removed = "[secret]"

// Values are the secrets in a configuration, at the fields where its driver has them.
func Values(config json.RawMessage, fields []drivers.SecretField) []string {
	var tree any
	if json.Unmarshal(config, &tree) != nil {
		return nil
	}
	var values []string
	for _, f := range fields {
		for _, pointer := range []string{f.Value, f.Ref} {
			if v, ok := At(tree, pointer).(string); ok && pointer != "" {
				values = append(values, v)
			}
		}
	}
	return values
}

// Forms are the ways in which a secret may be written: as it is, as JSON writes it, and line by line, as a key is printed.
func Forms(secret string) []string {
	if len(secret) < Shortest {
		return nil
	}
	forms := []string{secret}
	if quoted, err := json.Marshal(secret); err == nil {
		if inner := string(quoted[1 : len(quoted)-1]); inner != secret {
			forms = append(forms, inner)
		}
	}
	if strings.Contains(secret, "\n") {
		for line := range strings.SplitSeq(secret, "\n") {
			if line = strings.TrimSpace(line); len(line) >= 4*Shortest {
				forms = append(forms, line)
			}
		}
	}
	return forms
}

// Texts are what is looked for, longest first, so that none is left that contains another.
type Texts []string

// Order makes them of forms in any order, which it takes over.
func Order(forms []string) Texts {
	slices.SortFunc(forms, func(a, b string) int {
		if d := len(b) - len(a); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	return slices.Compact(forms)
}

// Clean is text without them.
func (t Texts) Clean(text string) string {
	for _, f := range t {
		text = strings.ReplaceAll(text, f, Removed)
	}
	return text
}

// At is what a JSON pointer (RFC 6901) leads to in a decoded document; nil for nothing.
func At(tree any, pointer string) any {
	if pointer == "" {
		return tree
	}
	for part := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		part = Unescape(part)
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

// Unescape is a part of a JSON pointer as the field is called.
func Unescape(part string) string { return unescaper.Replace(part) }

var unescaper = strings.NewReplacer("~1", "/", "~0", "~")

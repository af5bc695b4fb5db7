package provider

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/tenure-dev/tenure/drivers"
)

// hidden are the secrets of one configuration, which must not come back in what a provider says.
type hidden struct {
	// values are the secrets, longest first; pointers are where the configuration has them.
	values   []string
	pointers []string
}

// shortest is the length from which a secret is looked for in texts: a shorter one would black out half of every message,
// and hides nothing.
const shortest = 4

func secretsOf(offer Offer, config json.RawMessage) hidden {
	var h hidden
	var tree any
	if json.Unmarshal(config, &tree) != nil {
		return h
	}
	for _, f := range offer.SecretFields(config) {
		for _, pointer := range []string{f.Value, f.Ref} {
			h.pointers = append(h.pointers, pointer)
			if s, ok := at(tree, pointer).(string); ok && len(s) >= shortest {
				h.values = append(h.values, s)
				// A text of several lines, such as a key, may come back line by line, or escaped.
				for line := range strings.SplitSeq(s, "\n") {
					if len(line) >= 4*shortest {
						h.values = append(h.values, line)
					}
				}
			}
		}
	}
	slices.SortFunc(h.values, func(a, b string) int { return len(b) - len(a) })
	h.values = slices.Compact(h.values)
	return h
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

// removed stands for a secret in a text.
const removed = "[secret]"

// text is s without secrets.
func (h hidden) text(s string) string {
	for _, v := range h.values {
		s = strings.ReplaceAll(s, v, removed)
	}
	return s
}

// clean is err without secrets. One that has none stays what it is.
func (h hidden) clean(err error) error {
	if err == nil || h.text(err.Error()) == err.Error() {
		return err
	}
	said := errors.New(h.text(err.Error()))
	if f, ok := errors.AsType[*drivers.Failure](err); ok {
		c := *f
		c.Err, c.Remediation = errors.New(h.text(f.Err.Error())), h.text(f.Remediation)
		return &c
	}
	if f, ok := errors.AsType[*drivers.StartError](err); ok {
		c := *f
		c.Err, c.Remediation = errors.New(h.text(f.Err.Error())), h.text(f.Remediation)
		return &c
	}
	return said
}

// strip is a provider's metadata without the fields that the configuration has its secrets in, and without their values.
// What is no object is nothing.
func (h hidden) strip(raw json.RawMessage) json.RawMessage {
	var tree map[string]any
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber()
	if d.Decode(&tree) != nil || tree == nil {
		return json.RawMessage(`{}`)
	}
	for _, pointer := range h.pointers {
		drop(tree, pointer)
	}
	return drivers.Metadata(h.without(tree).(map[string]any))
}

// drop removes what a pointer leads to within objects.
func drop(tree map[string]any, pointer string) {
	parts := strings.Split(strings.TrimPrefix(pointer, "/"), "/")
	parent, ok := at(tree, strings.Join(append([]string{""}, parts[:len(parts)-1]...), "/")).(map[string]any)
	if ok {
		delete(parent, strings.NewReplacer("~1", "/", "~0", "~").Replace(parts[len(parts)-1]))
	}
}

func (h hidden) without(node any) any {
	switch node := node.(type) {
	case string:
		return h.text(node)
	case []any:
		for i := range node {
			node[i] = h.without(node[i])
		}
	case map[string]any:
		for name := range node {
			node[name] = h.without(node[name])
		}
	}
	return node
}

package commands

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tenure-dev/tenure/domain"
)

// FoundRef is a reference to a secret within a configuration.
type FoundRef struct {
	// Pointer is where it stands, as a JSON pointer (RFC 6901).
	Pointer string
	Ref     domain.SecretRef
}

// FindSecretRefs finds every reference to a secret in a configuration, wherever it stands, in an order that depends on the
// configuration alone. What says that it is a reference and is none is refused on its field.
func FindSecretRefs(config json.RawMessage) ([]FoundRef, error) {
	document, err := decodeConfig(config)
	if err != nil {
		return nil, err
	}
	var found []FoundRef
	_, err = walk(document, "", func(pointer string, ref domain.SecretRef) (any, error) {
		found = append(found, FoundRef{Pointer: pointer, Ref: ref})
		return nil, nil
	})
	return found, err
}

// SecretRefs are the references in a configuration, each once.
func SecretRefs(config json.RawMessage) ([]domain.SecretRef, error) {
	found, err := FindSecretRefs(config)
	var refs []domain.SecretRef
	for _, f := range found {
		if !slices.Contains(refs, f.Ref) {
			refs = append(refs, f.Ref)
		}
	}
	return refs, err
}

// ReplaceSecretRefs puts values in the place of references. One without a value is an error.
func ReplaceSecretRefs(config json.RawMessage, values SecretValues) (json.RawMessage, error) {
	document, err := decodeConfig(config)
	if err != nil {
		return nil, err
	}
	replaced := false
	out, err := walk(document, "", func(pointer string, ref domain.SecretRef) (any, error) {
		value, ok := values[ref]
		if !ok {
			return nil, fmt.Errorf("%s refers to the secret %s, whose value is not here", fieldOf(pointer), ref)
		}
		replaced = true
		return value, nil
	})
	if err != nil || !replaced {
		return config, err
	}
	return encodeConfig(out)
}

// walk rebuilds a JSON document with what replace returns in the place of each reference.
func walk(v any, pointer string, replace func(pointer string, ref domain.SecretRef) (any, error)) (any, error) {
	var err error
	switch v := v.(type) {
	case []any:
		for i := range v {
			if v[i], err = walk(v[i], pointer+"/"+strconv.Itoa(i), replace); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		if v["type"] == domain.SecretRefType {
			ref, err := refOf(v)
			if err != nil {
				return nil, domain.Refuse(domain.KindInvalid, "invalid_secret_ref", "is not a reference to a secret").On(fieldOf(pointer)).
					Mend(`give {"type":"secret_ref","secretId":ID,"version":"latest"}, or the number of a version`)
			}
			return replace(pointer, ref)
		}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if v[name], err = walk(v[name], pointer+"/"+escape(name), replace); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}

func refOf(v any) (ref domain.SecretRef, err error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return ref, err
	}
	return ref, ref.UnmarshalJSON(raw)
}

// decodeConfig reads a configuration; an absent one is empty.
func decodeConfig(config json.RawMessage) (any, error) {
	if len(config) == 0 {
		return map[string]any{}, nil
	}
	d := json.NewDecoder(bytes.NewReader(config))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, domain.Refuse(domain.KindInvalid, "invalid_json", "must be a JSON object").On("config").Mend("give an object such as {}")
	}
	return v, nil
}

// encodeConfig leaves texts as they are: a configuration is no HTML.
func encodeConfig(v any) (json.RawMessage, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, errors.New("encode a configuration")
	}
	return bytes.TrimSpace(out.Bytes()), nil
}

// A JSON pointer is a path of names, in which ~1 stands for / and ~0 for ~.
var (
	escaper   = strings.NewReplacer("~", "~0", "/", "~1")
	unescaper = strings.NewReplacer("~1", "/", "~0", "~")
)

func escape(name string) string { return escaper.Replace(name) }

// path splits a JSON pointer; the empty one is the document itself.
func path(pointer string) []string {
	if pointer == "" {
		return nil
	}
	parts := strings.Split(strings.TrimPrefix(pointer, "/"), "/")
	for i := range parts {
		parts[i] = unescaper.Replace(parts[i])
	}
	return parts
}

// fieldOf spells a pointer into a configuration as refusals name fields, such as config.jump.0.privateKey.
func fieldOf(pointer string) string {
	return strings.Join(append([]string{"config"}, path(pointer)...), ".")
}

// at finds what a pointer names, and the container that holds it or could hold it: a map or a list.
func at(document any, pointer string) (parent any, name string, value any, ok bool) {
	names := path(pointer)
	if len(names) == 0 {
		return nil, "", nil, false
	}
	parent, last := document, len(names)-1
	for _, name := range names[:last] {
		if parent, ok = member(parent, name); !ok {
			return nil, "", nil, false
		}
	}
	value, ok = member(parent, names[last])
	return parent, names[last], value, ok
}

// member is what a map or a list holds under a name.
func member(of any, name string) (any, bool) {
	switch of := of.(type) {
	case map[string]any:
		v, ok := of[name]
		return v, ok
	case []any:
		if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(of) {
			return of[i], true
		}
	}
	return nil, false
}

// put sets a member of a map or an element of a list; false if there is no such place.
func put(parent any, name string, value any) bool {
	switch p := parent.(type) {
	case map[string]any:
		p[name] = value
		return true
	case []any:
		if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(p) {
			p[i] = value
			return true
		}
	}
	return false
}

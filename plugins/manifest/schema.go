package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/tenure-dev/tenure/drivers"
)

// FormatSecret marks a field of a configuration that holds a secret.
const FormatSecret = "secret-ref"

// secretRefType is the value of type in a reference to a secret.
const secretRefType = "secret_ref"

// Schema is the JSON Schema of a driver's configuration.
type Schema struct {
	doc      map[string]any
	compiled *jsonschema.Schema
}

// NewSchema compiles a schema. What is wrong with it is a problem whose Field is relative to the schema.
func NewSchema(raw json.RawMessage) (*Schema, *drivers.FieldProblem) {
	doc, err := decode(raw)
	object, ok := doc.(map[string]any)
	if err != nil || !ok {
		return nil, &drivers.FieldProblem{Problem: "is no JSON object", Remediation: `write a JSON Schema, such as {"type": "object"}`}
	}
	if draft, _ := object["$schema"].(string); strings.Contains(draft, "draft-04") || strings.Contains(draft, "draft-06") {
		return nil, &drivers.FieldProblem{
			Field: ".$schema", Problem: "is an old draft of JSON Schema", Remediation: "use draft-07 or a later one, or leave it out",
		}
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.UseLoader(noLoader{})
	if err = c.AddResource(schemaURL, admitReferences(doc)); err == nil {
		var s *jsonschema.Schema
		if s, err = c.Compile(schemaURL); err == nil {
			return &Schema{doc: object, compiled: s}, nil
		}
	}
	return nil, &drivers.FieldProblem{
		Problem: "is no valid JSON Schema: " + oneLine(err.Error()), Remediation: "mend the schema; it cannot refer to other documents",
	}
}

const schemaURL = "urn:tenure:config"

// noLoader keeps a schema from reading files and asking servers.
type noLoader struct{}

func (noLoader) Load(string) (any, error) {
	return nil, errors.New("a schema cannot refer to other documents")
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// decode keeps numbers as they are written.
func decode(raw []byte) (any, error) {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return nil, errors.New("it is no valid JSON")
	}
	return v, nil
}

// admitReferences returns a copy of a schema in which a field that holds a secret takes a reference as well as a value. What
// the schema asks of the value (a length, a pattern) is not asked of a reference.
func admitReferences(node any) any {
	switch n := node.(type) {
	case []any:
		list := make([]any, len(n))
		for i, v := range n {
			list[i] = admitReferences(v)
		}
		return list
	case map[string]any:
		admitted := make(map[string]any, len(n))
		for k, v := range n {
			named, isNamed := v.(map[string]any)
			switch {
			case slices.Contains(literalKeywords, k):
				admitted[k] = v
			case isNamed && slices.Contains(namedKeywords, k):
				admitted[k] = admitNamed(named)
			default:
				admitted[k] = admitReferences(v)
			}
		}
		if n["format"] != FormatSecret {
			return admitted
		}
		return map[string]any{
			"if": map[string]any{"type": "object"}, "then": referenceSchema(),
			"else": map[string]any{"allOf": []any{map[string]any{"type": "string"}, admitted}},
		}
	default:
		return node
	}
}

// admitNamed is [admitReferences] for a keyword that holds schemas by names, which are no keywords.
func admitNamed(named map[string]any) map[string]any {
	admitted := make(map[string]any, len(named))
	for name, v := range named {
		admitted[name] = admitReferences(v)
	}
	return admitted
}

var namedKeywords = []string{"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"}

// literalKeywords hold values, not schemas.
var literalKeywords = []string{"const", "enum", "default", "examples", "required", "$id", "$schema"}

func referenceSchema() any {
	return map[string]any{
		"type": "object", "additionalProperties": false, "required": []any{"type", "secretId"},
		"properties": map[string]any{
			"type":     map[string]any{"const": secretRefType},
			"secretId": map[string]any{"type": "string", "minLength": json.Number("1")},
			"version": map[string]any{"anyOf": []any{
				map[string]any{"const": "latest"}, map[string]any{"type": "integer", "minimum": json.Number("1")},
			}},
		},
	}
}

// Declares reports whether the schema names a field at its top.
func (s *Schema) Declares(field string) bool {
	properties, _ := s.doc["properties"].(map[string]any)
	_, ok := properties[field]
	return ok
}

// Check returns nil or a [*drivers.ConfigError] that names every field at fault and quotes no value.
func (s *Schema) Check(config json.RawMessage) error {
	if len(bytes.TrimSpace(config)) == 0 {
		config = json.RawMessage("{}")
	}
	v, err := decode(config)
	if _, ok := v.(map[string]any); err != nil || !ok {
		return &drivers.ConfigError{Problems: []drivers.FieldProblem{{
			Field: "config", Problem: "is not a JSON object", Remediation: "write an object with the fields of the provider",
		}}}
	}
	err = s.compiled.Validate(v)
	if err == nil {
		return nil
	}
	invalid, ok := errors.AsType[*jsonschema.ValidationError](err)
	if !ok {
		return &drivers.ConfigError{Problems: []drivers.FieldProblem{{
			Field: "config", Problem: "cannot be checked", Remediation: "tell the plugin's author that its schema is at fault",
		}}}
	}
	return &drivers.ConfigError{Problems: problemsOf(v, invalid)}
}

// SecretFields returns where config holds a secret: the value itself and the reference to it stand in the same place.
func (s *Schema) SecretFields(config json.RawMessage) []drivers.SecretField {
	v, err := decode(config)
	if err != nil {
		return nil
	}
	w := secretWalk{root: s.doc, seen: make(map[string]bool)}
	w.walk(s.doc, v, "", "#")
	slices.Sort(w.found)
	fields := make([]drivers.SecretField, 0, len(w.found))
	for _, p := range slices.Compact(w.found) {
		fields = append(fields, drivers.SecretField{Value: p, Ref: p})
	}
	return fields
}

// secretWalk goes through a schema and a document side by side. Where a schema has alternatives it takes all of them: a
// field that is a secret in one of them is treated as one.
type secretWalk struct {
	root  map[string]any
	seen  map[string]bool // schema and place, so that a schema that refers to itself ends
	found []string
}

func (w *secretWalk) walk(node, value any, at, schemaAt string) {
	schema, ok := node.(map[string]any)
	key := schemaAt + "\x00" + at
	if !ok || w.seen[key] {
		return
	}
	w.seen[key] = true
	if schema["format"] == FormatSecret && holdsSecret(value) {
		w.found = append(w.found, at)
		return
	}
	for _, ref := range []string{"$ref", "$dynamicRef"} {
		if r, ok := schema[ref].(string); ok {
			w.walk(w.resolve(r), value, at, r)
		}
	}
	for _, k := range []string{"allOf", "anyOf", "oneOf"} {
		list, _ := schema[k].([]any)
		for i, sub := range list {
			w.walk(sub, value, at, fmt.Sprintf("%s/%s/%d", schemaAt, k, i))
		}
	}
	for _, k := range []string{"if", "then", "else", "not"} {
		w.walk(schema[k], value, at, schemaAt+"/"+k)
	}
	switch v := value.(type) {
	case map[string]any:
		w.object(schema, v, at, schemaAt)
	case []any:
		w.array(schema, v, at, schemaAt)
	}
}

func (w *secretWalk) object(schema, v map[string]any, at, schemaAt string) {
	properties, _ := schema["properties"].(map[string]any)
	patterns, _ := schema["patternProperties"].(map[string]any)
	for name, field := range v {
		place := at + "/" + escapePointer(name)
		if sub, ok := properties[name]; ok {
			w.walk(sub, field, place, schemaAt+"/properties/"+escapePointer(name))
			continue
		}
		for p, sub := range patterns { // whether it matches or not: see above
			w.walk(sub, field, place, schemaAt+"/patternProperties/"+escapePointer(p))
		}
		for _, k := range []string{"additionalProperties", "unevaluatedProperties"} {
			w.walk(schema[k], field, place, schemaAt+"/"+k)
		}
	}
	dependent, _ := schema["dependentSchemas"].(map[string]any)
	for name, sub := range dependent {
		w.walk(sub, v, at, schemaAt+"/dependentSchemas/"+escapePointer(name))
	}
}

func (w *secretWalk) array(schema map[string]any, v []any, at, schemaAt string) {
	prefix, _ := schema["prefixItems"].([]any)
	if list, ok := schema["items"].([]any); ok { // before 2020-12
		prefix = list
	}
	for i, item := range v {
		place := fmt.Sprintf("%s/%d", at, i)
		if i < len(prefix) {
			w.walk(prefix[i], item, place, fmt.Sprintf("%s/prefixItems/%d", schemaAt, i))
			continue
		}
		for _, k := range []string{"items", "additionalItems", "unevaluatedItems", "contains"} {
			w.walk(schema[k], item, place, schemaAt+"/"+k)
		}
	}
}

// resolve follows a reference within the document: a JSON pointer or an anchor.
func (w *secretWalk) resolve(ref string) any {
	fragment, ok := strings.CutPrefix(ref, "#")
	switch {
	case !ok:
		return nil
	case fragment == "":
		return w.root
	case fragment[0] != '/':
		return findAnchor(w.root, fragment)
	}
	var node any = w.root
	for _, part := range strings.Split(fragment[1:], "/") {
		part = strings.NewReplacer("~1", "/", "~0", "~", "%25", "%", "%22", `"`).Replace(part)
		switch n := node.(type) {
		case map[string]any:
			node = n[part]
		case []any:
			i, err := parseIndex(part)
			if err != nil || i >= len(n) {
				return nil
			}
			node = n[i]
		default:
			return nil
		}
	}
	return node
}

func parseIndex(s string) (int, error) {
	var i int
	if _, err := fmt.Sscanf(s, "%d", &i); err != nil || i < 0 {
		return 0, errors.New("no index")
	}
	return i, nil
}

func findAnchor(node any, name string) any {
	switch n := node.(type) {
	case map[string]any:
		if n["$anchor"] == name || n["$dynamicAnchor"] == name {
			return n
		}
		for _, v := range n {
			if found := findAnchor(v, name); found != nil {
				return found
			}
		}
	case []any:
		for _, v := range n {
			if found := findAnchor(v, name); found != nil {
				return found
			}
		}
	}
	return nil
}

// holdsSecret is true for a value or a reference; anything else is refused by [Schema.Check].
func holdsSecret(v any) bool {
	switch v := v.(type) {
	case string:
		return v != ""
	case map[string]any:
		return v["type"] == secretRefType
	default:
		return false
	}
}

func escapePointer(s string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(s) }

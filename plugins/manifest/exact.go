package manifest

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/tenure-dev/tenure/drivers"
)

// unknownField says that an object has a field that it should not have.
type unknownField string

func (f unknownField) Error() string { return fmt.Sprintf("unknown field %q", string(f)) }

// exact decodes the fields of an object into a struct. encoding/json takes a name in any case; here supportsLoginPTY is not
// supportsLoginPty. Fields that into does not have are an error, or dropped.
func exact(raw []byte, into any, dropUnknown bool) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return err
	}
	if fields == nil {
		return &json.UnmarshalTypeError{Value: "null"}
	}
	v := reflect.ValueOf(into).Elem()
	known := make(map[string]int, v.NumField())
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		known[name] = i
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		i, ok := known[name]
		switch {
		case !ok && dropUnknown:
		case !ok:
			return unknownField(name)
		default:
			if err := json.Unmarshal(fields[name], v.Field(i).Addr().Interface()); err != nil {
				return wrongType(name, err)
			}
		}
	}
	return nil
}

// wrongType is what [decodeProblem] needs to name the place.
func wrongType(name string, err error) error {
	e, ok := err.(*json.UnmarshalTypeError) //nolint:errorlint // encoding/json returns it as it is
	if !ok {
		return err
	}
	e.Field = strings.TrimSuffix(name+"."+e.Field, ".")
	return e
}

// decodeProblem says where a document is not as it should be. It does not quote the document, but for the names of fields.
func decodeProblem(field string, err error) drivers.FieldProblem {
	p := drivers.FieldProblem{Field: field, Problem: "is no valid JSON", Remediation: "write one JSON object"}
	switch e := err.(type) { //nolint:errorlint // they come as they are
	case unknownField:
		p.Problem, p.Remediation = fmt.Sprintf("has the unknown field %q", clip(string(e))), "remove it, or mend its name"
	case *json.UnmarshalTypeError:
		p.Problem, p.Remediation = "is a "+e.Value+", which is not its type", "use the type that the schema of manifests has for it"
		p.Field = strings.Trim(field+"."+e.Field, ".")
	case *json.SyntaxError:
		p.Problem = fmt.Sprintf("is no valid JSON at byte %d", e.Offset)
	}
	return p
}

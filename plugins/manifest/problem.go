package manifest

import (
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"github.com/tenure-dev/tenure/drivers"
)

// problemsOf turns the findings of the validator into fields and words of ours. The validator's own texts quote what was
// found, which may be a secret; ours say only what is expected.
func problemsOf(config any, e *jsonschema.ValidationError) []drivers.FieldProblem {
	var problems []drivers.FieldProblem
	var visit func(e *jsonschema.ValidationError)
	visit = func(e *jsonschema.ValidationError) {
		switch e.ErrorKind.(type) {
		case *kind.AnyOf, *kind.OneOf:
			problems = append(problems, problemOf(config, e)...) // what each alternative lacks only confuses
			return
		}
		for _, cause := range e.Causes {
			visit(cause)
		}
		if len(e.Causes) == 0 {
			problems = append(problems, problemOf(config, e)...)
		}
	}
	visit(e)
	slices.SortStableFunc(problems, func(a, b drivers.FieldProblem) int { return strings.Compare(a.Field, b.Field) })
	return slices.Compact(problems)
}

// problemOf is one finding; one that names several fields becomes several problems.
func problemOf(config any, e *jsonschema.ValidationError) []drivers.FieldProblem {
	field := fieldName(config, e.InstanceLocation)
	one := func(problem, remediation string) []drivers.FieldProblem {
		return []drivers.FieldProblem{{Field: field, Problem: problem, Remediation: remediation}}
	}
	each := func(names []string, problem, remediation string) []drivers.FieldProblem {
		all := make([]drivers.FieldProblem, 0, len(names))
		for _, name := range slices.Sorted(slices.Values(names)) {
			all = append(all, drivers.FieldProblem{Field: field + member(name), Problem: problem, Remediation: remediation})
		}
		return all
	}
	switch k := e.ErrorKind.(type) {
	case *kind.Required:
		return each(k.Missing, "is missing", "add it")
	case *kind.DependentRequired:
		return each(k.Missing, "is missing, though "+clip(k.Prop)+" is there", "add it")
	case *kind.Dependency:
		return each(k.Missing, "is missing, though "+clip(k.Prop)+" is there", "add it")
	case *kind.AdditionalProperties:
		return each(k.Properties, "is unknown to the provider", "remove it, or mend its name")
	case *kind.FalseSchema:
		return one("is not allowed here", "remove it")
	case *kind.PropertyNames:
		return one("has a field whose name is not allowed", "remove it, or mend its name")
	case *kind.Type:
		return one(fmt.Sprintf("is a %s, not %s", k.Got, strings.Join(k.Want, " or ")), "write a value of this type")
	case *kind.Enum:
		return one("is none of the allowed values", "use one of: "+literals(k.Want))
	case *kind.Const:
		return one("is not the one value that is allowed", "write "+literals([]any{k.Want}))
	case *kind.Pattern:
		return one("does not match "+clip(k.Want), "write a value that matches it")
	case *kind.Format:
		return one("is no "+clip(k.Want), "write a value of this form")
	case *kind.MinLength:
		return one(fmt.Sprintf("is shorter than %d characters", k.Want), "write a longer value")
	case *kind.MaxLength:
		return one(fmt.Sprintf("is longer than %d characters", k.Want), "write a shorter value")
	case *kind.Minimum:
		return one("is less than "+number(k.Want), "write a larger number")
	case *kind.Maximum:
		return one("is more than "+number(k.Want), "write a smaller number")
	case *kind.ExclusiveMinimum:
		return one("is not more than "+number(k.Want), "write a larger number")
	case *kind.ExclusiveMaximum:
		return one("is not less than "+number(k.Want), "write a smaller number")
	case *kind.MultipleOf:
		return one("is no multiple of "+number(k.Want), "write a multiple of it")
	case *kind.MinItems:
		return one(fmt.Sprintf("has fewer than %d members", k.Want), "add some")
	case *kind.MaxItems:
		return one(fmt.Sprintf("has more than %d members", k.Want), "remove some")
	case *kind.MinProperties:
		return one(fmt.Sprintf("has fewer than %d fields", k.Want), "add some")
	case *kind.MaxProperties:
		return one(fmt.Sprintf("has more than %d fields", k.Want), "remove some")
	case *kind.AdditionalItems:
		return one("has more members than are allowed", "remove some")
	case *kind.UniqueItems:
		return one("has two equal members", "remove one of them")
	case *kind.AnyOf, *kind.OneOf:
		return one("has none of the forms that the provider takes, or several", "see the provider's schema")
	default:
		return one("is not what the provider takes", "see the provider's schema")
	}
}

var plainName = regexp.MustCompile(`^[A-Za-z_$][A-Za-z0-9_$-]*$`)

// fieldName writes a place as config.a.b[0].
func fieldName(config any, location []string) string {
	var b strings.Builder
	b.WriteString("config")
	at := config
	for _, part := range location {
		switch v := at.(type) {
		case []any:
			fmt.Fprintf(&b, "[%s]", part)
			if i, err := strconv.Atoi(part); err == nil && i >= 0 && i < len(v) {
				at = v[i]
			}
		case map[string]any:
			b.WriteString(member(part))
			at = v[part]
		}
	}
	return b.String()
}

func member(name string) string {
	if plainName.MatchString(name) && len(name) <= 100 {
		return "." + name
	}
	return "[" + strconv.Quote(clip(name)) + "]"
}

func clip(s string) string {
	if len(s) > 100 {
		return strings.ToValidUTF8(s[:100], "") + "…"
	}
	return s
}

func number(r *big.Rat) string {
	if r.IsInt() {
		return r.Num().String()
	}
	f, _ := r.Float64()
	return strconv.FormatFloat(f, 'g', -1, 64)
}

// literals writes values of a schema.
func literals(values []any) string {
	parts := make([]string, 0, len(values))
	for _, v := range values {
		parts = append(parts, clip(fmt.Sprintf("%v", v)))
	}
	return strings.Join(parts, ", ")
}

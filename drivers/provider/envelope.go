package provider

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/runtimeurl"
)

// envelope is what the engine reads of a configuration that otherwise belongs to the provider.
type envelope struct {
	RuntimeURL string
	Candidates []string
	problems   []drivers.FieldProblem
}

// Fields of every envelope. A provider does not see them.
const (
	fieldStreamLogs = "streamRunLogs" // Paperclip's, and of no meaning here
	fieldRuntimeURL = "runtimeUrl"
	fieldCandidates = "runtimeApiCandidates"
)

// open parts a configuration into the provider's own and the envelope. Its error is a [*drivers.ConfigError].
func (s Shape) open(raw json.RawMessage) (json.RawMessage, envelope, error) {
	var e envelope
	if len(bytes.TrimSpace(raw)) == 0 {
		raw = json.RawMessage(`{}`)
	}
	fields, err := object("config", raw)
	if err != nil {
		return nil, e, err
	}
	e.read(fields)
	for _, name := range s.words() {
		delete(fields, name)
	}
	if s.Within == "" {
		own, err := json.Marshal(fields)
		return own, e, err
	}
	own, given := fields[s.Within]
	delete(fields, s.Within)
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		e.problem(name, "is unknown to the driver "+s.Driver, "remove it, or write it into config."+s.Within)
	}
	if !given {
		return json.RawMessage(`{}`), e, nil
	}
	_, err = object("config."+s.Within, own)
	return own, e, err
}

// words are the fields of the envelope.
func (s Shape) words() []string {
	return append([]string{fieldStreamLogs, fieldRuntimeURL, fieldCandidates}, s.Words...)
}

func object(field string, raw json.RawMessage) (map[string]json.RawMessage, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil || fields == nil {
		return nil, &drivers.ConfigError{Problems: []drivers.FieldProblem{{
			Field: field, Problem: "is not a JSON object", Remediation: "write an object, such as {}",
		}}}
	}
	return fields, nil
}

// read takes what the engine itself needs of a configuration.
func (e *envelope) read(fields map[string]json.RawMessage) {
	if v, ok := fields[fieldRuntimeURL]; ok {
		if err := json.Unmarshal(v, &e.RuntimeURL); err != nil || e.RuntimeURL != "optional" && e.RuntimeURL != urlRequired {
			e.problem(fieldRuntimeURL, "is neither optional nor required", `write "optional", or "required" for runs that cannot do without`)
		}
	}
	if v, ok := fields[fieldCandidates]; ok {
		if err := json.Unmarshal(v, &e.Candidates); err != nil {
			e.problem(fieldCandidates, "is not a list of URLs", `write for example ["https://tenure.example.com"]`)
		}
	}
	for i, c := range e.Candidates {
		if err := runtimeurl.CheckURL(c); err != nil {
			e.problem(fmt.Sprintf("%s[%d]", fieldCandidates, i), err.Error(), "write for example https://tenure.example.com")
		}
	}
}

const urlRequired = "required"

func (e *envelope) problem(field, problem, remediation string) {
	e.problems = append(e.problems, drivers.FieldProblem{Field: "config." + field, Problem: problem, Remediation: remediation})
}

// Word is a required text of a configuration, such as provider. Its error is a [*drivers.ConfigError].
func Word(raw json.RawMessage, field string) (string, error) {
	var fields map[string]json.RawMessage
	var text string
	if json.Unmarshal(raw, &fields) == nil {
		if v, ok := fields[field]; ok && json.Unmarshal(v, &text) == nil && text != "" {
			return text, nil
		}
	}
	return "", &drivers.ConfigError{Problems: []drivers.FieldProblem{{
		Field: "config." + field, Problem: "is missing", Remediation: "name it; `tenure plugin list` shows what is installed",
	}}}
}

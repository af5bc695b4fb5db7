package drivers

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// What Linux accepts in an execve. A request beyond these limits is refused before anything starts, on every driver, so
// that a variable is never silently missing or cut.
const (
	// MaxArgBytes is the longest argument, and the longest "name=value": MAX_ARG_STRLEN less its closing NUL.
	MaxArgBytes = 128*1024 - 1
	// MaxExecBytes bounds arguments and environment together, each with its NUL and its pointer: a quarter of the usual
	// 8 MiB stack, less room for the path of the program and of a script's interpreter.
	MaxExecBytes = 2*1024*1024 - 16*1024
)

// ValidateEnv names every variable that no environment can hold. The answer holds names, never values. Names that only a
// shell would refuse (MY-KEY, a.b, 1X) are fine: no shell is involved.
func ValidateEnv(env []EnvVar) []FieldProblem {
	var problems []FieldProblem
	for i, v := range env {
		field := fmt.Sprintf("env[%q]", v.Name)
		switch {
		case v.Name == "":
			problems = append(problems, FieldProblem{
				Field: fmt.Sprintf("env[%d]", i), Problem: "the name is empty", Remediation: "give the variable a name",
			})
		case strings.ContainsAny(v.Name, "=\x00"):
			problems = append(problems, FieldProblem{
				Field: field, Problem: "the name contains '=' or NUL", Remediation: "choose a name without '=' and NUL",
			})
		case strings.Contains(v.Value, "\x00"):
			problems = append(problems, FieldProblem{
				Field: field, Problem: "the value contains NUL", Remediation: "encode the value, for example as base64",
			})
		case len(v.Name)+1+len(v.Value) > MaxArgBytes:
			problems = append(problems, FieldProblem{
				Field: field, Problem: fmt.Sprintf("name and value together are longer than %d bytes", MaxArgBytes-1),
				Remediation: "pass large data on stdin or in a file",
			})
		}
	}
	return problems
}

// ValidateArgv names every argument that cannot be passed to a program.
func ValidateArgv(argv []string) []FieldProblem {
	if len(argv) == 0 {
		return []FieldProblem{{Field: "argv", Problem: "is empty", Remediation: "name the program to run"}}
	}
	var problems []FieldProblem
	if argv[0] == "" {
		problems = append(problems, FieldProblem{
			Field: "argv[0]", Problem: "is empty", Remediation: "name the program to run",
		})
	}
	for i, arg := range argv {
		field := fmt.Sprintf("argv[%d]", i)
		if strings.Contains(arg, "\x00") {
			problems = append(problems, FieldProblem{
				Field: field, Problem: "contains NUL", Remediation: "pass binary data on stdin or in a file",
			})
		}
		if len(arg) > MaxArgBytes {
			problems = append(problems, FieldProblem{
				Field: field, Problem: fmt.Sprintf("is longer than %d bytes", MaxArgBytes),
				Remediation: "pass large data on stdin or in a file",
			})
		}
	}
	return problems
}

// ValidateExec joins what [ValidateArgv] and [ValidateEnv] find and checks the total size and the working directory. base
// is what the driver adds to the environment.
func ValidateExec(req ExecRequest, base ...EnvVar) []FieldProblem {
	problems := append(ValidateArgv(req.Argv), ValidateEnv(req.Env)...)
	if strings.Contains(req.Cwd, "\x00") {
		problems = append(problems, FieldProblem{
			Field: "cwd", Problem: "contains NUL", Remediation: "name an existing directory",
		})
	}
	if len(problems) > 0 {
		return problems
	}
	const perString = 1 + 8 // the NUL and the pointer
	total := 0
	for _, arg := range req.Argv {
		total += len(arg) + perString
	}
	for _, v := range slices.Concat(base, req.Env) { // base is the caller's
		total += len(v.Name) + 1 + len(v.Value) + perString
	}
	if total > MaxExecBytes {
		problems = append(problems, FieldProblem{
			Field:       "env",
			Problem:     fmt.Sprintf("arguments and environment together need %d bytes of at most %d", total, MaxExecBytes),
			Remediation: "pass large data on stdin or in a file",
		})
	}
	return problems
}

// Refuse turns field problems of an [ExecRequest] into the [*StartError] of the stage that they belong to; nil for none.
func Refuse(problems []FieldProblem) error {
	if len(problems) == 0 {
		return nil
	}
	stage, _, _ := strings.Cut(problems[0].Field, "[")
	if stage == "env" {
		stage = "environment"
	}
	texts := make([]error, 0, len(problems))
	for _, p := range problems {
		texts = append(texts, fmt.Errorf("%s %s", p.Field, p.Problem))
	}
	return &StartError{
		Stage: stage, Code: "refused", Remediation: problems[0].Remediation, Err: errors.Join(texts...),
	}
}

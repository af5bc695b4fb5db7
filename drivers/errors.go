package drivers

import (
	"errors"
	"fmt"
	"strings"
)

// ErrUnsupported is the answer of a verb that a driver does not declare.
var ErrUnsupported = errors.New("the driver does not support this")

// ErrGone says that the runtime definitely does not exist any more.
var ErrGone = errors.New("the runtime is gone")

// ErrMismatch says that what answers to the name of a runtime is not that runtime.
var ErrMismatch = errors.New("another runtime has its name")

// Outcome is what a failed Acquire or Release leaves behind, as far as the driver knows.
type Outcome string

// The outcomes of a failure.
const (
	// OutcomeRetryable: nothing was decided; the same request may be made again with the same token.
	OutcomeRetryable Outcome = "retryable"
	// OutcomeDefinite: it cannot succeed, and nothing exists outside.
	OutcomeDefinite Outcome = "definite"
	// OutcomeAmbiguous: something may exist outside and the driver cannot tell.
	OutcomeAmbiguous Outcome = "ambiguous"
)

// Failure is a failed verb with what the engine must know to go on.
type Failure struct {
	Outcome Outcome
	// Code is stable and in snake case, such as "disk_full".
	Code string
	// Step names the step of the verb that failed, such as "make_workspace".
	Step string
	// Remediation says how to mend it.
	Remediation string
	// NothingMade says of a retryable failure of Acquire that this attempt made nothing, for example because the provider was not
	// asked. A definite one has made nothing either way.
	NothingMade bool
	Err         error
}

func (f *Failure) Error() string {
	if f.Step == "" {
		return fmt.Sprintf("%s: %v", f.Code, f.Err)
	}
	return fmt.Sprintf("%s: %s: %v", f.Step, f.Code, f.Err)
}

func (f *Failure) Unwrap() error { return f.Err }

// CodeNoCapacity is the code of a failure for want of room at the provider: no node, quota or address is free. Asking again
// soon is of no use, so the engine waits longer after it than after any other.
const CodeNoCapacity = "no_capacity"

// OutcomeOf is the outcome of err; an error that is no [*Failure] is retryable, since every verb may be repeated.
func OutcomeOf(err error) Outcome {
	if f, ok := errors.AsType[*Failure](err); ok {
		return f.Outcome
	}
	return OutcomeRetryable
}

// StartError says that a command did not start.
type StartError struct {
	// Stage is where it failed: "runtime", "fence" ([StageFence]), "cwd", "argv", "environment", "stdin", "parent", "process", "journal"; where there is
	// a sandbox also "sandbox" and "limits", where there is a plugin also "worker".
	Stage       string
	Code        string
	Remediation string
	Err         error
}

func (e *StartError) Error() string { return fmt.Sprintf("start command: %s: %v", e.Stage, e.Err) }

func (e *StartError) Unwrap() error { return e.Err }

// NotStarted is the error of a command that certainly did not start because of err. A [*StartError] stays what it is, and a
// [*Failure] gives its code and remediation; code is for any other.
func NotStarted(stage, code string, err error) error {
	if _, ok := errors.AsType[*StartError](err); ok {
		return err
	}
	s := &StartError{Stage: stage, Code: code, Err: err, Remediation: "start it again, under a new id"}
	if f, ok := errors.AsType[*Failure](err); ok {
		s.Code, s.Remediation = f.Code, f.Remediation
	}
	return s
}

// BadConfig is the failure of a verb other than [CheckConfig] whose configuration is refused.
func BadConfig(err error) *Failure {
	return &Failure{
		Outcome: OutcomeDefinite, Code: "bad_config", Step: "check_config", Err: err,
		Remediation: "correct the environment's configuration",
	}
}

// FieldProblem is one field at fault.
type FieldProblem struct{ Field, Problem, Remediation string }

// ConfigError names every field of a configuration that is at fault.
type ConfigError struct{ Problems []FieldProblem }

func (e *ConfigError) Error() string {
	parts := make([]string, 0, len(e.Problems))
	for _, p := range e.Problems {
		parts = append(parts, p.Field+": "+p.Problem)
	}
	return "configuration: " + strings.Join(parts, "; ")
}

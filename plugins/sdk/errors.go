package sdk

import (
	"cmp"
	"encoding/json"
	"errors"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/plugins/protocol"
)

// wireError says what a driver's error says, in the words of the wire.
func wireError(err error) *protocol.Error {
	if e, ok := errors.AsType[*protocol.Error](err); ok {
		return e
	}
	data := protocol.ErrorData{Schema: protocol.ErrorSchema, Gone: errors.Is(err, drivers.ErrGone), Mismatch: errors.Is(err, drivers.ErrMismatch)}
	out := &protocol.Error{Code: protocol.CodeWorkerError, Message: err.Error()}
	if c, ok := errors.AsType[*drivers.ConfigError](err); ok {
		for _, p := range c.Problems {
			data.Problems = append(data.Problems, protocol.FieldProblem(p))
		}
	}
	start, isStart := errors.AsType[*drivers.StartError](err)
	failure, isFailure := errors.AsType[*drivers.Failure](err)
	switch {
	case isStart:
		data.Stage, data.Code, data.Remediation = cmp.Or(start.Stage, "process"), start.Code, start.Remediation
		out.Message = textOf(start.Err, out.Message)
	case isFailure:
		data.Outcome, data.Code, data.Step, data.Remediation = string(failure.Outcome), failure.Code, failure.Step, failure.Remediation
		data.NothingMade = failure.NothingMade
		out.Message = textOf(failure.Err, out.Message)
	case errors.Is(err, drivers.ErrUnsupported):
		data.Unsupported = true
		out.Code = protocol.CodeMethodNotImplemented
	case len(data.Problems) > 0:
		data.Outcome, data.Code = string(drivers.OutcomeDefinite), "bad_config"
	default:
		data.Outcome = string(drivers.OutcomeOf(err))
	}
	raw, err := json.Marshal(data)
	if err == nil {
		out.Data = raw
	}
	return out
}

// textOf is the text of the innermost error that the data does not say already.
func textOf(err error, whole string) string {
	if err == nil {
		return whole
	}
	return err.Error()
}

// panicked is the error of a call whose driver panicked: what it did before nobody knows.
func panicked(what any) error {
	return &drivers.Failure{
		Outcome: drivers.OutcomeAmbiguous, Code: "panic", Step: "driver",
		Remediation: "this is a fault of the plugin; its author finds the stack in the worker's stderr",
		Err:         panicError{what},
	}
}

// panicError does not repeat what a driver said when it panicked: that may hold a secret. Stderr has it.
type panicError struct{ what any }

func (panicError) Error() string { return "the plugin's driver panicked" }

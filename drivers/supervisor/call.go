package supervisor

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/tenure-dev/tenure/drivers"
)

// errNoAnswer is why a call of a driver ends when its time is over.
var errNoAnswer = errors.New("the driver did not answer in time")

// panicked is a driver's panic. It must not end the engine: the next one would take the lease over and end as well.
type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("the driver panicked: %v", p.value) }

// call calls a driver for at most timeout.
func (s *Supervisor) call(ctx context.Context, timeout time.Duration, f func(ctx context.Context) error) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, errNoAnswer)
	defer cancel()
	defer func() {
		if v := recover(); v != nil {
			p := &panicked{value: v, stack: debug.Stack()}
			s.log.Error("a driver panicked", "panic", fmt.Sprint(v), "stack", string(p.stack))
			err = p
		}
	}()
	err = f(ctx)
	if err != nil && !errors.Is(err, errNoAnswer) && errors.Is(context.Cause(ctx), errNoAnswer) {
		err = fmt.Errorf("%w: %w", errNoAnswer, err)
	}
	return err
}

// failureOf says what a failed call left behind. A driver that says nothing of it may be asked again, unless it is one
// that makes another runtime each time.
func failureOf(class drivers.Class, err error) *drivers.Failure {
	if f, ok := errors.AsType[*drivers.Failure](err); ok {
		return f
	}
	f := &drivers.Failure{Outcome: drivers.OutcomeRetryable, Code: "driver_failed", Err: err}
	if class == drivers.ClassBlind {
		f.Outcome = drivers.OutcomeAmbiguous
	}
	if errors.Is(err, errNoAnswer) {
		f.Code = "driver_timeout"
	}
	if _, ok := errors.AsType[*panicked](err); ok {
		f.Code = "driver_panicked"
	}
	return f
}

// messageOf is what a person reads of a failure.
func messageOf(f *drivers.Failure, err error) string {
	if f.Remediation == "" {
		return err.Error()
	}
	return err.Error() + "; " + f.Remediation
}

func noDriver(name string) error {
	return &drivers.Failure{
		Outcome: drivers.OutcomeDefinite, Code: "driver_unavailable", Err: fmt.Errorf("this engine has no driver %q", name),
		Remediation: "start an engine that has it, or use another environment",
	}
}

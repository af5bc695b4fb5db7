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

// errLeft says that a call goes on although nobody waits for it any more.
var errLeft = errors.New("the driver heeds no end of its time and is left to itself")

// panicked is a driver's panic. It must not end the engine: the next one would take the lease over and end as well.
type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("the driver panicked: %v", p.value) }

// overrun is how long a driver may take to come back once its time is over.
const overrun = time.Second

// Call is a call of a driver that is over, or that is not waited for any more.
type Call struct {
	// Driver and Provider are the words of the environment, Verb is one of the few below.
	Driver, Provider, Verb string
	// Outcome is ok, gone (there was nothing to release), timeout, one of [drivers.Outcome], or failed where the driver says no more.
	Outcome string
	// Took is the provider's part of what a client waits for.
	Took time.Duration
}

// The verbs of a [Call].
const (
	VerbAcquire   = "acquire"
	VerbStartExec = "exec_start"
	VerbRelease   = "release"
	VerbKeep      = "keep"
	VerbResume    = "resume"
	VerbProbe     = "probe"
)

// called tells how a call of a driver ended.
func (s *Supervisor) called(driver drivers.Driver, verb string, began time.Time, err error) {
	if s.deps.Called == nil {
		return
	}
	about := driver.Describe()
	s.deps.Called(Call{Driver: about.Name, Provider: about.Provider, Verb: verb, Outcome: outcomeOf(err), Took: time.Since(began)})
}

func outcomeOf(err error) string {
	switch f, ok := errors.AsType[*drivers.Failure](err); {
	case err == nil:
		return "ok"
	case errors.Is(err, drivers.ErrGone):
		return "gone"
	case errors.Is(err, errNoAnswer):
		return "timeout"
	case ok:
		return string(f.Outcome)
	}
	return "failed"
}

// callDriver is [call] for a verb that is told to [Deps.Called].
func callDriver[T any](
	ctx context.Context, s *Supervisor, driver drivers.Driver, verb string, timeout time.Duration, f func(ctx context.Context) (T, error), late func(T),
) (T, error) {
	began := time.Now()
	value, err := call(ctx, s, timeout, f, late)
	s.called(driver, verb, began, err)
	return value, err
}

// within is the time that a driver gets of a claim's: a little less, so that it can say why it failed, and that is on record,
// before the claim is anybody's.
func within(claim time.Duration) time.Duration { return claim - min(claim/20, 5*time.Second) }

// call calls a driver for at most timeout. One that does not come back soon after is left to itself, so that nothing waits
// for a provider that never answers; if it comes back after all, late gets what it brings.
func call[T any](ctx context.Context, s *Supervisor, timeout time.Duration, f func(ctx context.Context) (T, error), late func(T)) (T, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, errNoAnswer)
	defer cancel()
	answers, left := make(chan answer[T]), make(chan struct{})
	go func() {
		a := guarded(ctx, s, f)
		select {
		case answers <- a:
		case <-left:
			late(a.value)
		}
	}()
	var a answer[T]
	select {
	case a = <-answers:
	case <-ctx.Done():
		select {
		case a = <-answers:
		case <-time.After(overrun):
			close(left)
			a.err = fmt.Errorf("%w: %w", context.Cause(ctx), errLeft)
			s.log.Error("a driver does not come back", "error", a.err)
		}
	}
	if a.err != nil && !errors.Is(a.err, errNoAnswer) && errors.Is(context.Cause(ctx), errNoAnswer) {
		a.err = fmt.Errorf("%w: %w", errNoAnswer, a.err)
	}
	return a.value, a.err
}

// answer is what a call of a driver came to.
type answer[T any] struct {
	value T
	err   error
}

// guarded calls a driver, and makes an error of its panic.
func guarded[T any](ctx context.Context, s *Supervisor, f func(ctx context.Context) (T, error)) (a answer[T]) {
	defer func() {
		if v := recover(); v != nil {
			p := &panicked{value: v, stack: debug.Stack()}
			s.log.Error("a driver panicked", "panic", fmt.Sprint(v), "stack", string(p.stack))
			a.err = p
		}
	}()
	a.value, a.err = f(ctx)
	return a
}

// nothing is what comes of an answer that is too late and leaves nothing.
func nothing(struct{}) {}

// failureOf says what a failed call left behind. A driver that says nothing of it may be asked again, unless it is one
// that makes another runtime each time.
func failureOf(class drivers.Class, err error) *drivers.Failure {
	if f, ok := errors.AsType[*drivers.Failure](err); ok {
		return f
	}
	f := &drivers.Failure{
		Outcome: drivers.OutcomeRetryable, Code: "driver_failed", Err: err, Remediation: "look at the engine's log, and probe the environment",
	}
	if class == drivers.ClassBlind {
		f.Outcome = drivers.OutcomeAmbiguous
	}
	if errors.Is(err, errNoAnswer) {
		f.Code, f.Remediation = "driver_timeout", "see whether what the driver reaches out to answers: probe the environment"
	}
	if _, ok := errors.AsType[*panicked](err); ok {
		f.Code, f.Remediation = "driver_panicked", "report it, with the stack in the engine's log"
	}
	return f
}

// notAsked is the failure of an attempt for which no driver was called.
func notAsked(err error) error {
	f := *failureOf("", err)
	f.NothingMade = true
	return &f
}

// messageOf is what a person reads of a failure.
func messageOf(f *drivers.Failure, err error) string {
	if f.Remediation == "" {
		return err.Error()
	}
	return err.Error() + "; " + f.Remediation
}

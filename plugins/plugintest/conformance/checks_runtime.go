package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/plugins/protocol"
)

// driverChecks are about one driver.
func driverChecks() []check {
	return slices.Concat([]check{
		{
			name: "validate_config", sentence: "validateConfig accepts a configuration that works and refuses nonsense, saying why",
			applies: needs(protocol.MethodValidateConfig), run: checkValidateConfig,
		},
		{
			name: "probe", sentence: "a probe of a configuration that works says so and makes nothing",
			applies: needs(protocol.MethodProbe), run: checkProbe,
		},
		{name: "acquire", sentence: "acquire makes a runtime and names it, with a JSON object as metadata", run: checkAcquire},
		{name: "release", sentence: "release takes the runtime down, and a second release is harmless", run: checkRelease},
		{name: "repeat", sentence: "a repeated acquire does what the driver's class says", run: checkRepeat},
		{
			name: "race", sentence: "acquires of one id that race make one runtime",
			applies: func(s *session) string {
				if s.class != drivers.ClassIdempotent {
					return "the class is " + string(s.class)
				}
				return ""
			},
			run: checkRace,
		},
		{
			name: "installations", sentence: "runtimes of another installation are not listed",
			applies: func(s *session) string {
				if !s.about.List {
					return "the driver does not list"
				}
				return ""
			},
			run: checkInstallations,
		},
		{
			name: "canceled", sentence: "what an acquire that was given up has made can be taken down by its id",
			applies: tokens, run: checkCanceled,
		},
		{
			name: "killed", sentence: "what a worker has made that was killed over it can be taken down by the next one",
			applies: tokens, run: checkKilled,
		},
		{
			name: "resume", sentence: "resume finds a runtime that exists, and says of one that does not that it is gone",
			applies: needs(protocol.MethodResume), run: checkResume,
		},
	}, keepChecks(), commandChecks())
}

// needs is for checks of a verb that is optional.
func needs(method string) func(s *session) string {
	return func(s *session) string {
		if !s.methods[method] {
			return method + " is not served"
		}
		return ""
	}
}

// tokens is for checks of what an id of the engine finds.
func tokens(s *session) string {
	if !s.ext || s.class == drivers.ClassBlind {
		return "the driver knows no ids of the engine"
	}
	return ""
}

func checkValidateConfig(ctx context.Context, s *session) error {
	ask := func(config string) (protocol.ValidateConfigResult, error) {
		var r protocol.ValidateConfigResult
		err := s.call(ctx, "", protocol.MethodValidateConfig, protocol.ValidateConfigParams{DriverKey: s.key, Config: json.RawMessage(config)}, &r)
		return r, err
	}
	r, err := ask(string(s.opts.Config))
	if err != nil {
		return err
	}
	if !r.OK {
		return fmt.Errorf("a configuration that works is refused: %v", r.Errors)
	}
	r, err = ask(`{"no-such-field-` + uuid.NewString() + `": {"a": [1, null, "x"]}}`)
	if _, refused := errors.AsType[*protocol.Error](err); refused {
		return nil // an error is a refusal as well
	}
	if err != nil {
		return err
	}
	if r.OK {
		return errors.New("a configuration with a field that nobody knows is accepted")
	}
	if len(r.Errors) == 0 {
		return errors.New("nonsense is refused without a word why")
	}
	return nil
}

func checkProbe(ctx context.Context, s *session) error {
	var r protocol.ProbeResult
	l := s.newLease()
	if err := s.call(ctx, l.company, protocol.MethodProbe, protocol.ProbeParams{Base: s.base(l)}, &r); err != nil {
		return err
	}
	if !r.OK {
		return fmt.Errorf("it says that the environment does not work: %s %+v", r.Summary, r.Diagnostics)
	}
	if !s.about.List {
		return nil
	}
	n, err := s.listed(ctx, s.host.installation, "")
	if err == nil && n > 0 {
		return fmt.Errorf("%d runtimes are there after it", n)
	}
	return err
}

func checkAcquire(ctx context.Context, s *session) error {
	l := s.newLease()
	got, err := s.acquire(ctx, l)
	if err != nil {
		return err
	}
	if got.Resumed {
		return errors.New("a runtime that was never asked for before is said to be resumed")
	}
	if got.ProviderLeaseID != nil && *got.ProviderLeaseID == "" {
		return errors.New("the provider's id is empty; it is null if there is none")
	}
	if got.ProviderLeaseID == nil && !s.ext {
		return errors.New("the provider's id is null, so nobody could take the runtime down")
	}
	if got.ExpiresAt != nil {
		if _, err := time.Parse(time.RFC3339, *got.ExpiresAt); err != nil {
			return fmt.Errorf("expiresAt %q is no time", *got.ExpiresAt)
		}
	}
	return s.mustList(ctx, l, 1)
}

func checkRelease(ctx context.Context, s *session) error {
	l, err := s.acquired(ctx)
	if err != nil {
		return err
	}
	for i := range 2 {
		if err := s.release(ctx, l); err != nil {
			return fmt.Errorf("release %d: %w", i+1, err)
		}
		if err := s.mustList(ctx, l, 0); err != nil {
			return err
		}
	}
	if tokens(s) != "" {
		return nil
	}
	never := s.newLease()
	if err := s.release(ctx, never); err != nil {
		return fmt.Errorf("release of a runtime that never was: %w", err)
	}
	return nil
}

func checkRepeat(ctx context.Context, s *session) error {
	l := s.newLease()
	first, err := s.acquire(ctx, l)
	if err != nil {
		return err
	}
	other := *l
	other.got = protocol.Lease{}
	if l.token != nil {
		again := *l.token
		again.Attempt = 2
		other.token = &again
	}
	second, err := s.acquire(ctx, &other)
	if err != nil {
		return err
	}
	same := first.ProviderLeaseID == nil && second.ProviderLeaseID == nil ||
		first.ProviderLeaseID != nil && second.ProviderLeaseID != nil && *first.ProviderLeaseID == *second.ProviderLeaseID
	switch s.class {
	case drivers.ClassIdempotent:
		if !same {
			return errors.New("the driver is idempotent, and the second acquire of an id names another runtime")
		}
		if !second.Resumed {
			return errors.New("the second acquire of an id does not say that the runtime existed")
		}
		other.released = true // it is the same one
		return s.mustList(ctx, l, 1)
	case drivers.ClassListable:
		if same {
			return errors.New("the driver says that it makes a runtime on each call, and names the same one twice")
		}
		if err := s.mustList(ctx, l, 2); err != nil {
			return err
		}
		if err := s.release(ctx, l); err != nil {
			return err
		}
		if err := s.release(ctx, &other); err != nil {
			return err
		}
		return s.mustList(ctx, l, 0)
	case drivers.ClassBlind:
		if same && first.ProviderLeaseID != nil {
			return errors.New("two runtimes have one name, so the end of one would be the end of the other")
		}
	}
	return nil
}

func checkRace(ctx context.Context, s *session) error {
	l := s.newLease()
	s.open = append(s.open, l)
	const callers = 6
	type answer struct {
		got protocol.Lease
		err error
	}
	if _, err := s.host.worker(ctx); err != nil { // once, before they race for it
		return err
	}
	answers := make(chan answer, callers)
	for range callers {
		go func() {
			var a answer
			a.err = s.call(ctx, l.company, protocol.MethodAcquire, s.acquireParams(l), &a.got)
			answers <- a
		}()
	}
	made := 0
	var errs []error
	for range callers {
		a := <-answers
		if a.err != nil {
			errs = append(errs, a.err)
			continue
		}
		if !a.got.Resumed {
			made++
		}
		l.got = a.got
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if made != 1 {
		return fmt.Errorf("%d of %d say that they made it", made, callers)
	}
	return s.mustList(ctx, l, 1)
}

func checkInstallations(ctx context.Context, s *session) error {
	if _, err := s.acquired(ctx); err != nil {
		return err
	}
	n, err := s.listed(ctx, "somebody-else-"+uuid.NewString(), "")
	if err == nil && n > 0 {
		return fmt.Errorf("%d are", n)
	}
	return err
}

func checkCanceled(ctx context.Context, s *session) error {
	// A worker that is fast has answered before it is told; what it made must go all the same.
	for _, patience := range []time.Duration{time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond} {
		l := s.newLease()
		s.open = append(s.open, l)
		if err := s.giveUp(ctx, l, patience); err != nil {
			return err
		}
		if err := s.takenDown(ctx, l); err != nil {
			return err
		}
	}
	return nil
}

// giveUp asks for a runtime and gives up soon. It returns when the reply, late or not, has come.
func (s *session) giveUp(ctx context.Context, l *lease, patience time.Duration) error {
	w, err := s.host.worker(ctx)
	if err != nil {
		return err
	}
	short, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	late := make(chan struct{}, 1)
	err = w.Call(short, protocol.MethodAcquire, s.acquireParams(l), nil, protocol.OnLate(func(json.RawMessage, error) { late <- struct{}{} }),
		protocol.WithInvocation(protocol.Invocation{ID: uuid.NewString(), Scope: protocol.InvocationScope{CompanyID: l.company}}))
	lost, ok := errors.AsType[*protocol.CallError](err)
	if !ok || !lost.Sent {
		return nil
	}
	ctx, cancel = context.WithTimeoutCause(ctx, s.opts.CallTimeout, errors.New("the canceled call is never answered"))
	defer cancel()
	select {
	case <-late:
		return nil
	case <-w.Done():
		return w.explain(lost)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// takenDown releases a runtime that perhaps exists, by its id alone.
func (s *session) takenDown(ctx context.Context, l *lease) error {
	l.got = protocol.Lease{}
	if err := s.release(ctx, l); err != nil {
		return err
	}
	if err := s.mustList(ctx, l, 0); err != nil {
		return err
	}
	// And the id is free again.
	again := s.newLease()
	again.token.RuntimeID, again.runtimeID = l.runtimeID, l.runtimeID
	got, err := s.acquire(ctx, again)
	if err != nil {
		return err
	}
	if got.Resumed {
		return errors.New("it was released, and a later acquire says that it still existed")
	}
	return nil
}

func checkKilled(ctx context.Context, s *session) error {
	for _, after := range []bool{false, true} {
		w, err := s.host.worker(ctx)
		if err != nil {
			return err
		}
		l := s.newLease()
		s.open = append(s.open, l)
		replied := make(chan error, 1)
		go func() { replied <- w.Call(ctx, protocol.MethodAcquire, s.acquireParams(l), nil) }()
		if after {
			if err := <-replied; err != nil {
				return err
			}
		} else if err := w.Flush(ctx); err != nil { // it is on its way; whether it arrives is the point
			return err
		}
		w.kill()
		if err := s.takenDown(ctx, l); err != nil {
			return err
		}
	}
	return nil
}

func checkResume(ctx context.Context, s *session) error {
	l, err := s.acquired(ctx)
	if err != nil {
		return err
	}
	if l.got.ProviderLeaseID == nil {
		return nil
	}
	ask := func() (protocol.Lease, error) {
		var got protocol.Lease
		err := s.call(ctx, l.company, protocol.MethodResume, s.leaseParams(l), &got)
		return got, err
	}
	got, err := ask()
	if unsupported(err) {
		return nil // another driver of this worker has it
	}
	if err != nil {
		return err
	}
	if got.ProviderLeaseID == nil || *got.ProviderLeaseID != *l.got.ProviderLeaseID {
		return errors.New("a runtime that exists is not found")
	}
	if err := s.call(ctx, l.company, protocol.MethodDestroy, protocol.EndParams{LeaseParams: s.leaseParams(l)}, nil); err != nil {
		return err
	}
	l.released = true
	got, err = ask()
	if e, ok := errors.AsType[*protocol.Error](err); ok {
		var data protocol.ErrorData
		if json.Unmarshal(e.Data, &data) == nil && data.Gone {
			return nil
		}
	}
	if err != nil {
		return err
	}
	if got.ProviderLeaseID != nil {
		return errors.New("a runtime that was destroyed is found")
	}
	return nil
}

// unsupported says that a driver does not have a verb which its worker has.
func unsupported(err error) bool {
	e, ok := errors.AsType[*protocol.Error](err)
	return ok && e.Code == protocol.CodeMethodNotImplemented
}

package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/plugins/protocol"
)

// keepChecks are about runtimes that outlive their lease.
func keepChecks() []check {
	return []check{
		{
			name: "keep", sentence: "a runtime that a release kept is the same one for its next holder, and is gone once it is destroyed",
			applies: needs(protocol.MethodResume), run: checkKeep,
		},
		{
			name: "fence", sentence: "a holder that a newer one came after starts nothing, and neither keeps, resumes nor destroys",
			applies: func(s *session) string {
				if !s.ext {
					return "the worker does not speak the extension"
				}
				return needs(protocol.MethodResume)(s)
			},
			run: checkFence,
		},
	}
}

// errNotKept: the worker has no opinion on what it was asked, or may do with the runtime what it did.
var errNotKept = errors.New("the runtime was not kept")

// kept makes a runtime and lets a release keep it. Its error is errNotKept where the driver need not.
func (s *session) kept(ctx context.Context) (*lease, error) {
	l, err := s.acquired(ctx)
	if err != nil {
		return l, err
	}
	receipt, err := s.keep(ctx, l)
	switch {
	case unsupported(err):
		return l, errNotKept // another driver of this worker has it
	case err != nil:
		return l, err
	case receipt == nil:
		return l, errors.New("the end of the work was asked for, and there is no receipt that says so")
	case receipt.State == "destroyed" && !s.ext:
		return l, errNotKept // which a configuration may say
	case receipt.State != "stopped":
		return l, fmt.Errorf("the receipt says %q, and not stopped", receipt.State)
	}
	return l, s.mustList(ctx, l, 1)
}

func (s *session) keep(ctx context.Context, l *lease) (receipt *protocol.Receipt, err error) {
	params := protocol.EndParams{LeaseParams: s.leaseParams(l), CancelActiveWork: true}
	if l.token != nil {
		keep := *l.token
		keep.Keep = protocol.KeepStopped
		params.Tenure = &keep
	}
	return receipt, s.call(ctx, l.company, protocol.MethodRelease, params, &receipt)
}

// next is the next holder of the runtime of l.
func (s *session) next(l *lease) *lease {
	n := *l
	n.run = uuid.NewString()
	if l.token != nil {
		token := *l.token
		token.LeaseID, token.Fence = uuid.NewString(), l.token.Fence+1
		token.Holder = &protocol.TenureHolder{RunID: n.run}
		n.token = &token
	}
	l.released = true // it is for the next one to do
	s.open = append(s.open, &n)
	return &n
}

// resume asks for the runtime of l.
func (s *session) resume(ctx context.Context, l *lease) (got protocol.Lease, err error) {
	return got, s.call(ctx, l.company, protocol.MethodResume, s.leaseParams(l), &got)
}

func checkKeep(ctx context.Context, s *session) error {
	l, err := s.kept(ctx)
	if errors.Is(err, errNotKept) {
		return nil
	}
	if err != nil {
		return err
	}
	n := s.next(l)
	for range 2 {
		got, err := s.resume(ctx, n)
		if err != nil {
			return err
		}
		if !found(got, l) || got.ProviderLeaseID != nil && l.got.ProviderLeaseID != nil && *got.ProviderLeaseID != *l.got.ProviderLeaseID {
			return errors.New("a runtime that was kept is not found, or is another one")
		}
		if len(got.Metadata) > 0 {
			n.got = got
		}
	}
	if err := s.mustList(ctx, n, 1); err != nil {
		return err
	}
	if executes(s) == "" {
		if r, err := s.run(ctx, n, command{argv: []string{"echo", "hi"}}); err != nil || string(r.out) != "hi\n" {
			return fmt.Errorf("a command in it says %q: %w", r.out, errOr(err, "and should say hi"))
		}
	}
	if _, err := s.keep(ctx, n); err != nil {
		return err
	}
	n.released = true
	if err := s.call(ctx, n.company, protocol.MethodDestroy, protocol.EndParams{LeaseParams: s.leaseParams(n), CancelActiveWork: true}, nil); err != nil {
		return err
	}
	got, err := s.resume(ctx, n)
	if err == nil && found(got, n) {
		return errors.New("a runtime that was destroyed is found")
	}
	return s.mustList(ctx, n, 0)
}

// found reports whether a resume found a runtime: one without a name is found unless the metadata denies it.
func found(got protocol.Lease, of *lease) bool {
	var said struct {
		Expired  bool            `json:"expired"`
		Sentinel json.RawMessage `json:"workspaceSentinel"`
	}
	_ = json.Unmarshal(got.Metadata, &said) // metadata without these says nothing
	return got.ProviderLeaseID != nil || of.got.ProviderLeaseID == nil && !said.Expired && said.Sentinel == nil
}

func errOr(err error, text string) error {
	if err != nil {
		return err
	}
	return errors.New(text)
}

func checkFence(ctx context.Context, s *session) error {
	l, err := s.kept(ctx)
	if errors.Is(err, errNotKept) {
		return nil
	}
	if err != nil {
		return err
	}
	n := s.next(l)
	if _, err := s.resume(ctx, n); err != nil {
		return err
	}
	refusals := map[string]func() error{
		"a release that keeps": func() error { _, err := s.keep(ctx, l); return err },
		"a destroy": func() error {
			return s.call(ctx, l.company, protocol.MethodDestroy, protocol.EndParams{LeaseParams: s.leaseParams(l), CancelActiveWork: true}, nil)
		},
		"a resume": func() error { _, err := s.resume(ctx, l); return err },
	}
	if executes(s) == "" {
		refusals["a command"] = func() error { _, err := s.run(ctx, l, command{argv: []string{"echo", "hi"}}); return err }
	}
	for what, ask := range refusals {
		e, ok := errors.AsType[*protocol.Error](ask())
		if !ok {
			return fmt.Errorf("%s of an older holder is not refused", what)
		}
		var data protocol.ErrorData
		if json.Unmarshal(e.Data, &data) != nil || data.Code != drivers.CodeStaleFence {
			return fmt.Errorf("%s of an older holder is refused, but not as %s: %s", what, drivers.CodeStaleFence, e.Message)
		}
		if what != "a command" && data.Outcome != string(drivers.OutcomeDefinite) {
			return fmt.Errorf("%s of an older holder is refused as %q, and never becomes right", what, data.Outcome)
		}
	}
	return s.mustList(ctx, n, 1)
}

package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/plugins/protocol"
)

// lease is one runtime that a check asked for.
type lease struct {
	runtimeID, company, environment, run string
	token                                *protocol.TenureToken // nil without the extension
	got                                  protocol.Lease
	released                             bool
}

// newLease names a runtime that does not exist yet.
func (s *session) newLease() *lease {
	l := &lease{
		runtimeID: "rt-" + uuid.NewString(), company: uuid.NewString(), environment: uuid.NewString(), run: uuid.NewString(),
	}
	if s.ext {
		l.token = &protocol.TenureToken{
			RuntimeID: l.runtimeID, Installation: s.host.installation, LeaseID: uuid.NewString(), Fence: 7, Epoch: 1, Attempt: 1,
		}
	}
	return l
}

func (s *session) base(l *lease) protocol.Base {
	return protocol.Base{DriverKey: s.key, CompanyID: l.company, EnvironmentID: l.environment, Config: s.opts.Config}
}

// call makes one call for the company of a lease.
func (s *session) call(ctx context.Context, company, method string, params, result any) error {
	w, err := s.host.worker(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.opts.CallTimeout, fmt.Errorf("no answer within %s", s.opts.CallTimeout))
	defer cancel()
	var opts []protocol.CallOption
	if company != "" {
		opts = append(opts, protocol.WithInvocation(protocol.Invocation{
			ID: uuid.NewString(), Scope: protocol.InvocationScope{CompanyID: company},
		}))
	}
	if err := w.Call(ctx, method, params, result, opts...); err != nil {
		return w.explain(fmt.Errorf("%s: %w", method, err))
	}
	return nil
}

// acquire makes the runtime of l.
func (s *session) acquire(ctx context.Context, l *lease) (protocol.Lease, error) {
	s.open = append(s.open, l)
	var got protocol.Lease
	if err := s.call(ctx, l.company, protocol.MethodAcquire, s.acquireParams(l), &got); err != nil {
		return got, err
	}
	if l.got.ProviderLeaseID == nil {
		l.got = got
	}
	var object map[string]json.RawMessage
	if len(got.Metadata) > 0 && json.Unmarshal(got.Metadata, &object) != nil {
		return got, errors.New("the metadata of the lease is no JSON object")
	}
	return got, nil
}

func (s *session) acquireParams(l *lease) protocol.AcquireParams {
	return protocol.AcquireParams{Base: s.base(l), RunID: l.run, Tenure: l.token}
}

// acquired makes a new runtime.
func (s *session) acquired(ctx context.Context) (*lease, error) {
	l := s.newLease()
	_, err := s.acquire(ctx, l)
	return l, err
}

func (s *session) leaseParams(l *lease) protocol.LeaseParams {
	return protocol.LeaseParams{
		Base: s.base(l), ProviderLeaseID: l.got.ProviderLeaseID, LeaseMetadata: l.got.Metadata, Tenure: l.token,
	}
}

// release takes a runtime down as an engine does: release, and where its receipt does not say that nothing is left, destroy.
func (s *session) release(ctx context.Context, l *lease) error {
	l.released = true
	var receipt *protocol.Receipt
	params := protocol.EndParams{LeaseParams: s.leaseParams(l)}
	if err := s.call(ctx, l.company, protocol.MethodRelease, params, &receipt); err != nil {
		return err
	}
	if receipt != nil {
		switch receipt.State {
		case "destroyed":
			return nil
		case "stopped":
		default:
			return fmt.Errorf("%s: the receipt says %q, which is neither stopped nor destroyed", protocol.MethodRelease, receipt.State)
		}
	}
	if !s.methods[protocol.MethodDestroy] {
		return nil
	}
	return s.call(ctx, l.company, protocol.MethodDestroy, params, nil)
}

// releaseAll takes down what a check left.
func (s *session) releaseAll(ctx context.Context) error {
	var errs []error
	for _, l := range s.open {
		if !l.released {
			if err := s.release(ctx, l); err != nil {
				errs = append(errs, fmt.Errorf("clean up: %w", err))
			}
		}
	}
	s.open = nil
	return errors.Join(errs...)
}

// listed counts the runtimes of an id.
func (s *session) listed(ctx context.Context, installation, runtimeID string) (n int, err error) {
	var r protocol.ListResult
	params := protocol.ListParams{Base: protocol.Base{DriverKey: s.key, Config: s.opts.Config}, Installation: installation}
	if err := s.call(ctx, "", protocol.MethodList, params, &r); err != nil {
		return 0, err
	}
	for _, one := range r.Runtimes {
		if runtimeID == "" || one.RuntimeID == runtimeID {
			n++
		}
	}
	return n, nil
}

// mustList is listed with an opinion, for drivers that list.
func (s *session) mustList(ctx context.Context, l *lease, want int) error {
	if !s.about.List {
		return nil
	}
	n, err := s.listed(ctx, s.host.installation, l.runtimeID)
	if err == nil && n != want {
		return fmt.Errorf("%d runtimes are listed under one id, and %d should be", n, want)
	}
	return err
}

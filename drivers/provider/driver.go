package provider

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/tenure-dev/tenure/drivers"
)

// Shape is how one driver of the engine presents what a provider made.
type Shape struct {
	// Driver and Provider are the words of an environment.
	Driver, Provider string
	// Metadata is what a lease says of its runtime; said is the provider's own, without secrets.
	Metadata func(about Description, stored, said json.RawMessage, runtimeURL *string) json.RawMessage
	// Said finds the provider's own again in what Metadata made.
	Said func(metadata json.RawMessage) json.RawMessage
	// Words are the fields of a configuration that the engine reads, such as provider. Within is the field that holds the
	// provider's own; "" for all the others.
	Words  []string
	Within string
	// NoRuntimeURL leaves out the way back to the control plane.
	NoRuntimeURL bool
}

// RunScript runs a POSIX shell script in a runtime and returns what it prints.
type RunScript func(ctx context.Context, script string, stdin []byte) ([]byte, error)

// URLQuery asks for the way from a runtime back to the control plane.
type URLQuery struct {
	// Configured are the environment's own candidates.
	Configured []string
	// Local says that the runtime is on the engine's machine.
	Local bool
}

// URLFinder looks for the way from a runtime back to the control plane. tried says what became of each candidate.
type URLFinder interface {
	FindURL(ctx context.Context, q URLQuery, run RunScript) (url, tried string)
}

// Driver is a provider's offer as a driver of the engine.
type Driver struct {
	offer Offer
	about Description
	shape Shape
	late  *Late
	urls  URLFinder
}

// NewDriver makes a driver of an offer. late is shared by all drivers of the process, which come and go; urls may be nil.
func NewDriver(offer Offer, shape Shape, late *Late, urls URLFinder) *Driver {
	return &Driver{offer: offer, about: offer.Describe(), shape: shape, late: late, urls: urls}
}

// Describe implements [drivers.Driver].
func (d *Driver) Describe() drivers.Description {
	return drivers.Description{
		Name: d.shape.Driver, Provider: d.shape.Provider, Class: d.about.Class, Isolation: cmp.Or(d.about.Isolation, "provider"),
		NodeBound: d.about.NodeBound, Plugin: d.about.Plugin,
		Capabilities: drivers.Capabilities{
			Exec: d.about.Exec || d.about.Streams, List: d.about.List, Probe: d.about.Probe, CheckConfig: true,
			Keep: d.about.ReusableLeases,
		},
	}
}

// Acquire implements [drivers.Driver].
func (d *Driver) Acquire(ctx context.Context, req drivers.AcquireRequest) (drivers.Runtime, error) {
	config, envelope, err := d.shape.open(req.Config)
	if err != nil {
		return drivers.Runtime{}, drivers.BadConfig(err)
	}
	hidden := secretsOf(d.offer, config)
	worker, err := d.offer.Worker(ctx)
	if err != nil {
		return drivers.Runtime{}, hidden.clean(nothingMade(err))
	}
	scope := Scope{CompanyID: req.CompanyID, EnvironmentID: req.EnvironmentID, IssueID: req.IssueID, Config: config}
	token := Token{RuntimeID: req.RuntimeID, Installation: req.Installation, LeaseID: req.LeaseID, Fence: req.Fence}
	lease, err := d.make(ctx, worker, scope, token, req)
	if err != nil {
		return drivers.Runtime{}, hidden.clean(err)
	}
	url, err := d.findURL(ctx, worker, LeaseRequest{Scope: scope, Token: token, Lease: lease}, envelope)
	if err != nil {
		return drivers.Runtime{}, hidden.clean(d.undo(ctx, worker, LeaseRequest{Scope: scope, Token: token, Lease: lease}, err))
	}
	stored, _, err := d.shape.open(req.StoredConfig)
	if err != nil {
		stored = nil // it is for show only
	}
	d.late.holds(req.RuntimeID, lease)
	return drivers.Runtime{
		ProviderLeaseID: lease.ProviderLeaseID, Resumed: lease.Resumed,
		Metadata: d.shape.Metadata(d.about, stored, hidden.strip(lease.Metadata), url),
	}, nil
}

// make asks the provider for the runtime, unless there is one that an earlier attempt led to.
func (d *Driver) make(ctx context.Context, worker Worker, scope Scope, token Token, req drivers.AcquireRequest) (Lease, error) {
	if lease, ok := d.late.take(token.RuntimeID); ok {
		lease.Resumed = true
		return lease, nil
	}
	if d.about.Class == drivers.ClassListable && req.Attempt > 1 {
		found, err := d.find(ctx, worker, scope, token)
		if err != nil {
			return Lease{}, err
		}
		if len(found) > 0 {
			return Lease{ProviderLeaseID: found[0].ProviderLeaseID, Metadata: json.RawMessage(`{}`), Resumed: true}, nil
		}
	}
	lease, err := worker.Acquire(ctx, AcquireRequest{
		Scope: scope, Token: token, Attempt: req.Attempt, Epoch: req.Epoch, RunID: req.RunID, AgentID: req.AgentID,
		ExecutionWorkspaceID: req.ExecutionWorkspaceID, ExecutionWorkspaceMode: req.ExecutionWorkspaceMode, AdapterType: req.AdapterType,
		Late: func(lease Lease) {
			if extra := d.late.arrives(token.RuntimeID, d.about.Class, lease); extra {
				d.destroyExtra(worker, LeaseRequest{Scope: scope, Token: token, Lease: lease})
			}
		},
	})
	if u, ok := errors.AsType[*Unanswered](err); ok {
		d.late.opens(token.RuntimeID, u.Over)
		if req.Settled != nil {
			go func() { // as long as the call is open, which ends with the worker
				<-u.Over
				req.Settled()
			}()
		}
	}
	if d.about.Class == drivers.ClassBlind {
		err = nothingMade(err) // one that may be asked again
	}
	return lease, err
}

// nothingMade says so of a retryable failure.
func nothingMade(err error) error {
	f, ok := errors.AsType[*drivers.Failure](err)
	if !ok || f.Outcome != drivers.OutcomeRetryable {
		return err
	}
	made := *f
	made.NothingMade = true
	return &made
}

// find lists what the provider has under the token.
func (d *Driver) find(ctx context.Context, worker Worker, scope Scope, token Token) ([]drivers.ListedRuntime, error) {
	all, err := worker.ListRuntimes(ctx, ListRequest{Scope: scope, Installation: token.Installation})
	if err != nil {
		return nil, err
	}
	var found []drivers.ListedRuntime
	for _, r := range all {
		if r.RuntimeID == token.RuntimeID {
			found = append(found, r)
		}
	}
	return found, nil
}

// undo takes down a runtime whose acquisition fails after it was made. What is left if that fails too is known to a next
// attempt and to the release. Once the attempt's time is over the runtime is left to them at once: another attempt may have
// it already.
func (d *Driver) undo(ctx context.Context, worker Worker, of LeaseRequest, failure error) error {
	err := context.Cause(ctx)
	over := err != nil
	if !over {
		ctx, cancel := context.WithTimeout(ctx, undoTimeout)
		defer cancel()
		err = d.end(ctx, worker, of)
	}
	if err == nil {
		return failure
	}
	d.late.keep(of.Token.RuntimeID, of.Lease)
	if over && d.about.Class != drivers.ClassBlind && drivers.OutcomeOf(failure) == drivers.OutcomeRetryable {
		return failure
	}
	return &drivers.Failure{
		Outcome: drivers.OutcomeAmbiguous, Code: "cleanup_failed", Step: "undo_acquire", Err: errors.Join(failure, err),
		Remediation: "the teardown is tried again",
	}
}

// Release implements [drivers.Driver].
func (d *Driver) Release(ctx context.Context, req drivers.ReleaseRequest) error {
	config, _, err := d.shape.open(req.Config)
	if err != nil {
		return drivers.BadConfig(err)
	}
	hidden := secretsOf(d.offer, config)
	worker, err := d.offer.Worker(ctx)
	if err != nil {
		return hidden.clean(err)
	}
	// Asked before anything is ended: what such a call makes meanwhile is seen by the next try.
	open := d.late.isOpen(req.RuntimeID)
	of := d.leaseOf(req.Handle, config)
	ends, err := d.toEnd(ctx, worker, of)
	if err != nil {
		return hidden.clean(err)
	}
	for _, lease := range ends {
		of.Lease = lease
		if err := d.end(ctx, worker, of); err != nil {
			return hidden.clean(err)
		}
	}
	if open {
		return &drivers.Failure{
			Outcome: drivers.OutcomeRetryable, Code: "acquire_unanswered", Step: "find_runtime",
			Err:         errors.New("the provider was asked for the runtime, has not answered yet, and may still make it"),
			Remediation: "wait for its answer, which is dealt with by itself, or end its worker: tenure plugin disable, and enable once tenure plugin list shows that its process has stopped",
		}
	}
	d.late.forget(req.RuntimeID)
	return nil
}

// toEnd is every runtime that may exist under the handle's id.
func (d *Driver) toEnd(ctx context.Context, worker Worker, of LeaseRequest) ([]Lease, error) {
	ends := d.late.all(of.Token.RuntimeID)
	seen := of.Lease.ProviderLeaseID != nil || len(of.Lease.Metadata) > 0
	switch d.about.Class {
	case drivers.ClassIdempotent:
		// Its token says all: one call ends whatever was made under it.
		return []Lease{of.Lease}, nil
	case drivers.ClassListable:
		found, err := d.find(ctx, worker, of.Scope, of.Token)
		if err != nil {
			return nil, err
		}
		for _, r := range found {
			ends = append(ends, Lease{ProviderLeaseID: r.ProviderLeaseID})
		}
	case drivers.ClassBlind:
		if !seen && len(ends) == 0 {
			return nil, &drivers.Failure{
				Outcome: drivers.OutcomeRetryable, Code: "runtime_unknown", Step: "find_runtime",
				Err:         errors.New("the provider was asked for a runtime and never answered, so nobody knows whether there is one, or its name"),
				Remediation: "look at the provider for a runtime of this run and remove it there; a late answer is dealt with by itself",
			}
		}
	}
	if seen {
		ends = append(ends, of.Lease)
	}
	return distinct(ends), nil
}

func distinct(leases []Lease) []Lease {
	seen := map[string]bool{}
	var out []Lease
	for _, l := range leases {
		id := "" // a runtime without a name
		if l.ProviderLeaseID != nil {
			id = "=" + *l.ProviderLeaseID
		}
		if !seen[id] {
			seen[id] = true
			out = append(out, l)
		}
	}
	return out
}

// end takes a runtime down. Release is how the protocol ends a run; where its receipt does not say that nothing is left,
// and the provider can destroy, it is told to. A provider that keeps runtimes at a release is told to destroy at once.
func (d *Driver) end(ctx context.Context, worker Worker, of LeaseRequest) error {
	if d.about.ReusableLeases {
		_, err := worker.Destroy(ctx, EndRequest{LeaseRequest: of, CancelActiveWork: true})
		if errors.Is(err, drivers.ErrGone) {
			return nil
		}
		return err
	}
	receipt, err := worker.Release(ctx, EndRequest{LeaseRequest: of})
	if errors.Is(err, drivers.ErrGone) {
		return nil
	}
	if err != nil && (!errors.Is(err, drivers.ErrUnsupported) || !d.about.Destroy) {
		return err
	}
	if receipt.State == ReceiptDestroyed || !d.about.Destroy {
		return nil
	}
	_, err = worker.Destroy(ctx, EndRequest{LeaseRequest: of, CancelActiveWork: true})
	if errors.Is(err, drivers.ErrGone) {
		return nil
	}
	return err
}

func (d *Driver) leaseOf(h drivers.Handle, config json.RawMessage) LeaseRequest {
	of := LeaseRequest{
		Scope: Scope{CompanyID: h.CompanyID, EnvironmentID: h.EnvironmentID, IssueID: h.IssueID, Config: config},
		Token: Token{RuntimeID: h.RuntimeID, Installation: h.Installation, LeaseID: h.LeaseID, Fence: h.Fence},
		Lease: Lease{ProviderLeaseID: h.ProviderLeaseID},
	}
	if len(h.Metadata) > 0 {
		of.Lease.Metadata = d.shape.Said(h.Metadata)
	}
	return of
}

// ListRuntimes implements [drivers.Lister].
func (d *Driver) ListRuntimes(ctx context.Context, req drivers.ListRequest) ([]drivers.ListedRuntime, error) {
	config, _, err := d.shape.open(req.Config)
	if err != nil {
		return nil, drivers.BadConfig(err)
	}
	hidden := secretsOf(d.offer, config)
	worker, err := d.offer.Worker(ctx)
	if err != nil {
		return nil, hidden.clean(err)
	}
	listed, err := worker.ListRuntimes(ctx, ListRequest{Scope: Scope{Config: config}, Installation: req.Installation})
	return listed, hidden.clean(err)
}

// Probe implements [drivers.Prober].
func (d *Driver) Probe(ctx context.Context, req drivers.ProbeRequest) (drivers.ProbeResult, error) {
	config, _, err := d.shape.open(req.Config)
	if err != nil {
		return drivers.ProbeResult{}, drivers.BadConfig(err)
	}
	hidden := secretsOf(d.offer, config)
	worker, err := d.offer.Worker(ctx)
	if err != nil {
		return failedProbe("worker", hidden.clean(err)), nil
	}
	if _, err := worker.ValidateConfig(ctx, config); err != nil && !errors.Is(err, drivers.ErrUnsupported) {
		err = hidden.clean(err)
		if _, said := errors.AsType[*drivers.Failure](err); !said {
			err = drivers.BadConfig(err)
		}
		return failedProbe("validate_config", err), nil
	}
	result, err := worker.Probe(ctx, Scope{CompanyID: req.CompanyID, EnvironmentID: req.EnvironmentID, Config: config})
	switch {
	case errors.Is(err, drivers.ErrUnsupported):
		return drivers.ProbeResult{OK: true, Phase: "validate_config", Summary: "its worker runs and the configuration is accepted", Diagnostics: []drivers.Diagnostic{{
			Severity: drivers.SeverityWarning, Code: "no_probe", Message: "the provider offers no probe, so it was not asked to try anything",
			Remediation: "acquire a lease to see whether it works",
		}}}, nil
	case err != nil:
		return failedProbe("probe", hidden.clean(err)), nil
	}
	if !result.OK {
		result.Phase = cmp.Or(result.Phase, "probe") // workers of the published SDK name none
	}
	result.Summary = cmp.Or(result.Summary, map[bool]string{true: "the provider answers", false: "the provider refuses"}[result.OK])
	hidden.probe(&result)
	return result, nil
}

// failedProbe is the result of a probe that came to an error.
func failedProbe(phase string, err error) drivers.ProbeResult {
	found := drivers.Diagnostic{Severity: drivers.SeverityError, Message: err.Error()}
	summary := err.Error()
	if f, ok := errors.AsType[*drivers.Failure](err); ok {
		found.Code, found.Remediation = f.Code, f.Remediation
		phase = cmp.Or(f.Step, phase)
		if f.Err != nil {
			summary = f.Err.Error() // code and step stand beside it
		}
	}
	return drivers.ProbeResult{Phase: phase, Summary: summary, Diagnostics: []drivers.Diagnostic{found}}
}

// CheckConfig implements [drivers.ConfigChecker].
func (d *Driver) CheckConfig(raw json.RawMessage) error {
	config, envelope, err := d.shape.open(raw)
	if err != nil {
		return err
	}
	problems := envelope.problems
	err = d.offer.CheckConfig(config)
	if own, ok := errors.AsType[*drivers.ConfigError](err); ok {
		problems, err = append(problems, d.shape.within(own.Problems)...), nil
	}
	if err == nil && len(problems) > 0 {
		err = &drivers.ConfigError{Problems: problems}
	}
	return err
}

// SecretFields implements [drivers.SecretHolder].
func (d *Driver) SecretFields(raw json.RawMessage) []drivers.SecretField {
	config, _, err := d.shape.open(raw)
	if err != nil {
		return nil
	}
	fields := d.offer.SecretFields(config)
	if d.shape.Within != "" {
		for i := range fields {
			fields[i].Value, fields[i].Ref = "/"+d.shape.Within+fields[i].Value, "/"+d.shape.Within+fields[i].Ref
		}
	}
	return fields
}

// within names the fields as whoever wrote the configuration sees them.
func (s Shape) within(problems []drivers.FieldProblem) []drivers.FieldProblem {
	if s.Within == "" {
		return problems
	}
	out := slices.Clone(problems)
	for i := range out {
		out[i].Field = strings.Replace(out[i].Field, "config", "config."+s.Within, 1)
	}
	return out
}

var (
	_ drivers.Driver        = (*Driver)(nil)
	_ drivers.Executor      = (*Driver)(nil)
	_ drivers.Lister        = (*Driver)(nil)
	_ drivers.Pruner        = (*Driver)(nil)
	_ drivers.Keeper        = (*Driver)(nil)
	_ drivers.Prober        = (*Driver)(nil)
	_ drivers.ConfigChecker = (*Driver)(nil)
	_ drivers.SecretHolder  = (*Driver)(nil)
)

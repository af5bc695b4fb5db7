package host

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/provider"
	"github.com/tenure-dev/tenure/plugins/manifest"
	"github.com/tenure-dev/tenure/plugins/protocol"
)

// worker is one driver of a running process.
type worker struct {
	child  *child
	driver manifest.Driver
}

// errVerbTimeout is the cause of a call that took longer than its verb may.
var errVerbTimeout = errors.New("the verb's own limit is over")

// call is one call of a verb.
type call struct {
	verb  verb
	scope provider.Scope
	// limit is the most that it may take; 0 is no limit but the caller's.
	limit time.Duration
	// relay receives output meanwhile.
	relay *relay
	// late receives a reply that comes too late.
	late func(result json.RawMessage)
	// hidden are more values that the worker must not repeat.
	hidden []string
}

// serves reports whether the worker has the verb.
func (w *worker) serves(v verb) bool {
	return w.child.methods.has(v.method) && (!v.extension || w.child.tenure != nil)
}

// do makes a call. When the time is nearly over the worker is told to stop, and then has a while to say how far it got, so
// that its own reason, and not ours, reaches whoever waits.
func (w *worker) do(ctx context.Context, k call, params, result any) error {
	c := w.child
	if !w.serves(k.verb) {
		return fmt.Errorf("driver %q of plugin %q: %s: %w", w.driver.Key, c.plugin.installed.Plugin.Key, k.verb.step, drivers.ErrUnsupported)
	}
	if err := c.enter(); err != nil {
		return &drivers.Failure{Outcome: drivers.OutcomeRetryable, Code: "plugin_stopping", Step: k.verb.step, Err: err, Remediation: "try again; it is started again"}
	}
	release := c.secrets.hold(append(secretsOf(w.driver, k.scope.Config), k.hidden...)...)
	inv := protocol.Invocation{ID: rand.Text(), Scope: protocol.InvocationScope{CompanyID: k.scope.CompanyID}}
	c.mu.Lock()
	c.serve(k.scope.CompanyID)
	c.invocations[inv.ID] = &invocation{company: k.scope.CompanyID, output: k.relay}
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.invocations, inv.ID)
		c.mu.Unlock()
		c.leave()
	}()

	ctx, enough, cancel := patience(ctx, k.limit)
	defer cancel()
	opts := []protocol.CallOption{protocol.CancelWhen(enough)}
	if k.scope.CompanyID != "" {
		opts = append(opts, protocol.WithInvocation(inv))
	}
	answered := make(chan struct{})
	if k.late != nil {
		opts = append(opts, protocol.OnLate(func(raw json.RawMessage, err error) {
			defer close(answered)
			defer release()
			if err == nil {
				k.late(raw)
			}
		}))
	}
	err := c.conn.Call(ctx, k.verb.method, params, result, opts...)
	gaveUp, ok := errors.AsType[*protocol.CallError](err)
	unanswered := ok && gaveUp.Sent
	if !unanswered || k.late == nil {
		release() // else the worker still has them, and writes about them
	}
	if unanswered && k.relay != nil {
		c.mu.Lock()
		c.orphans = true
		c.mu.Unlock()
	}
	err = c.translate(k.verb, err)
	if f, ok := errors.AsType[*drivers.Failure](err); ok && unanswered && k.late != nil {
		f.Err = &provider.Unanswered{Over: c.overOr(answered), Err: f.Err}
	}
	return err
}

// overOr is closed when the process has ended or the call was answered. The last of the late answers has been dealt with by
// the time that the process counts as ended.
func (c *child) overOr(answered <-chan struct{}) <-chan struct{} {
	over := make(chan struct{})
	go func() {
		defer close(over)
		select {
		case <-answered:
		case <-c.finished:
		}
	}()
	return over
}

// patience parts the time there is: until enough is closed the worker works, until the context is done it may still answer,
// and the caller's own time is over only then.
func patience(ctx context.Context, limit time.Duration) (bounded context.Context, enough <-chan struct{}, cancel context.CancelFunc) {
	now := time.Now() // read once, so that a limit is said as it was set
	deadline, ok := ctx.Deadline()
	if ok {
		deadline = deadline.Add(-share(deadline.Sub(now), 20, time.Second))
	}
	if limit > 0 {
		if own := now.Add(limit); !ok || own.Before(deadline) {
			deadline, ok = own, true
		}
	}
	if !ok {
		return ctx, nil, func() {}
	}
	total := deadline.Sub(now)
	bounded, cancelHard := context.WithDeadlineCause(ctx, deadline, fmt.Errorf("%w after %s", errVerbTimeout, total.Round(time.Millisecond)))
	soft, cancelSoft := context.WithDeadline(context.WithoutCancel(ctx), deadline.Add(-share(total, 5, 10*time.Second)))
	return bounded, soft.Done(), func() {
		cancelSoft()
		cancelHard()
	}
}

// share is a part of d, but not more than most.
func share(d time.Duration, part int, most time.Duration) time.Duration {
	return min(max(d, 0)/time.Duration(part), most)
}

func (w *worker) base(s provider.Scope) protocol.Base {
	b := protocol.Base{
		DriverKey: w.driver.Key, CompanyID: s.CompanyID, EnvironmentID: s.EnvironmentID, Config: w.driver.ProviderConfig(s.Config),
	}
	b.IssueID = optional(s.IssueID)
	return b
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// token is what a worker that speaks the extension gets.
func (w *worker) token(t provider.Token, epoch int64, attempt int) *protocol.TenureToken {
	if w.child.tenure == nil {
		return nil
	}
	return &protocol.TenureToken{
		RuntimeID: t.RuntimeID, Installation: t.Installation, LeaseID: t.LeaseID, Fence: t.Fence, Epoch: epoch, Attempt: attempt,
	}
}

// Acquire implements [provider.Worker].
func (w *worker) Acquire(ctx context.Context, req provider.AcquireRequest) (provider.Lease, error) {
	params := protocol.AcquireParams{
		Base: w.base(req.Scope), RunID: req.RunID, WorkspaceMode: optional(req.ExecutionWorkspaceMode), AgentID: optional(req.AgentID),
		ExecutionWorkspaceID: optional(req.ExecutionWorkspaceID), AdapterType: optional(req.AdapterType),
		Tenure: w.token(req.Token, req.Epoch, req.Attempt),
	}
	if params.RunID == "" {
		params.RunID = req.Token.RuntimeID
	}
	if !req.RequestedExpiresAt.IsZero() {
		at := req.RequestedExpiresAt.UTC().Format(time.RFC3339)
		params.RequestedExpiresAt = &at
	}
	limit := w.child.plugin.opts.Timeouts.Verb
	if w.driver.Class() == drivers.ClassBlind {
		limit = 0 // it is not asked again, so that the answer is waited for as long as the caller can use it
	}
	k := call{verb: verbAcquire, scope: req.Scope, limit: limit, late: func(raw json.RawMessage) {
		var got *protocol.Lease
		if req.Late != nil && json.Unmarshal(raw, &got) == nil && unusable(got) == nil {
			req.Late(leaseOf(*got))
		}
	}}
	var got *protocol.Lease
	if err := w.do(ctx, k, params, &got); err != nil {
		return provider.Lease{}, err
	}
	if err := unusable(got); err != nil {
		return provider.Lease{}, w.child.translate(verbAcquire, err)
	}
	return leaseOf(*got), nil
}

// longestID bounds a provider's name of a runtime, which is in events, lists and answers.
const longestID = 4096

// unusable says why a reply is no lease that can be recorded; nil if it is.
func unusable(got *protocol.Lease) error {
	switch {
	case got == nil:
		return fmt.Errorf("%w: it is null", protocol.ErrBadReply)
	case got.ProviderLeaseID == nil:
		return nil
	case len(*got.ProviderLeaseID) > longestID || strings.Contains(*got.ProviderLeaseID, "\x00"):
		return fmt.Errorf("%w: providerLeaseId has NUL or more than %d bytes", protocol.ErrBadReply, longestID)
	}
	return nil
}

// leaseOf reads a lease as far as it is one.
func leaseOf(got protocol.Lease) provider.Lease {
	lease := provider.Lease{ProviderLeaseID: got.ProviderLeaseID, Resumed: got.Resumed}
	var object map[string]json.RawMessage
	if json.Unmarshal(got.Metadata, &object) == nil && object != nil {
		lease.Metadata = got.Metadata
	}
	if got.ExpiresAt != nil {
		if at, err := time.Parse(time.RFC3339, *got.ExpiresAt); err == nil {
			lease.ExpiresAt = at
		}
	}
	return lease
}

func (w *worker) lease(req provider.LeaseRequest) protocol.LeaseParams {
	return protocol.LeaseParams{
		Base: w.base(req.Scope), ProviderLeaseID: req.Lease.ProviderLeaseID, LeaseMetadata: req.Lease.Metadata,
		Tenure: w.token(req.Token, 0, 0),
	}
}

// Resume implements [provider.Worker].
func (w *worker) Resume(ctx context.Context, req provider.ResumeRequest) (provider.Lease, error) {
	var answer *protocol.Lease
	k := call{verb: verbResume, scope: req.Scope, limit: w.child.plugin.opts.Timeouts.Verb}
	params := w.lease(req.LeaseRequest)
	if t := params.Tenure; t != nil {
		t.Epoch, t.Attempt = req.Epoch, req.Attempt
		t.Holder = &protocol.TenureHolder{
			RunID: req.RunID, AgentID: req.AgentID, ExecutionWorkspaceID: req.ExecutionWorkspaceID, WorkspaceMode: req.ExecutionWorkspaceMode,
			AdapterType: req.AdapterType,
		}
	}
	if err := w.do(ctx, k, params, &answer); err != nil {
		return provider.Lease{}, err
	}
	if err := unusable(answer); err != nil {
		return provider.Lease{}, w.child.translate(verbResume, err)
	}
	got := *answer
	var said struct {
		Expired  bool `json:"expired"`
		Sentinel *struct {
			Result string `json:"result"`
		} `json:"workspaceSentinel"`
	}
	_ = json.Unmarshal(got.Metadata, &said) // metadata without these says nothing
	switch asked := req.Lease.ProviderLeaseID; {
	case said.Sentinel != nil && said.Sentinel.Result != "matched":
		return provider.Lease{}, fmt.Errorf("resume: the provider says that what it found is another runtime: %w", drivers.ErrMismatch)
	case got.ProviderLeaseID == nil && (said.Expired || asked != nil):
		return provider.Lease{}, fmt.Errorf("resume: the provider does not find it: %w", drivers.ErrGone)
	case got.ProviderLeaseID != nil && asked != nil && *got.ProviderLeaseID != *asked:
		return provider.Lease{}, fmt.Errorf("resume: the provider names another runtime than the one that it was asked for: %w", drivers.ErrMismatch)
	}
	lease := leaseOf(got)
	lease.Resumed = true
	return lease, nil
}

// Release implements [provider.Worker].
func (w *worker) Release(ctx context.Context, req provider.EndRequest) (provider.Receipt, error) {
	receipt, err := w.endRuntime(ctx, verbRelease, req)
	if err == nil && req.CancelActiveWork && receipt.State == provider.ReceiptUnconfirmed {
		return provider.Receipt{}, &drivers.Failure{
			Outcome: drivers.OutcomeRetryable, Code: "release_unconfirmed", Step: verbRelease.step,
			Err: errors.New("the provider does not confirm that the work in it has ended"), Remediation: "destroy it, or see at the provider",
		}
	}
	return receipt, err
}

// Destroy implements [provider.Worker]. A provider that answers nothing has destroyed the runtime with all that ran in it,
// as far as it says; the receipt is unconfirmed.
func (w *worker) Destroy(ctx context.Context, req provider.EndRequest) (provider.Receipt, error) {
	return w.endRuntime(ctx, verbDestroy, req)
}

func (w *worker) endRuntime(ctx context.Context, v verb, req provider.EndRequest) (provider.Receipt, error) {
	var got *protocol.Receipt
	params := protocol.EndParams{LeaseParams: w.lease(req.LeaseRequest), CancelActiveWork: req.CancelActiveWork}
	if t := params.Tenure; t != nil {
		t.Attempt = req.Attempt
		if req.Keep {
			t.Keep = protocol.KeepRunning
		}
		if req.Keep && req.Stop {
			t.Keep = protocol.KeepStopped
		}
	}
	k := call{verb: v, scope: req.Scope, limit: w.child.plugin.opts.Timeouts.Verb}
	if err := w.do(ctx, k, params, &got); err != nil {
		if errors.Is(err, drivers.ErrGone) {
			return provider.Receipt{State: provider.ReceiptDestroyed}, nil
		}
		return provider.Receipt{}, err
	}
	receipt := provider.Receipt{State: provider.ReceiptUnconfirmed}
	if got != nil {
		switch state := provider.ReceiptState(got.State); state {
		case provider.ReceiptStopped, provider.ReceiptDestroyed:
			receipt.State = state
		case provider.ReceiptUnconfirmed:
		}
	}
	return receipt, nil
}

// ListRuntimes implements [provider.Worker].
func (w *worker) ListRuntimes(ctx context.Context, req provider.ListRequest) ([]drivers.ListedRuntime, error) {
	var got protocol.ListResult
	params := protocol.ListParams{Base: w.base(req.Scope), Installation: req.Installation}
	k := call{verb: verbList, scope: req.Scope, limit: w.child.plugin.opts.Timeouts.List}
	if err := w.do(ctx, k, params, &got); err != nil {
		return nil, err
	}
	all := make([]drivers.ListedRuntime, 0, len(got.Runtimes))
	for _, r := range got.Runtimes {
		one := drivers.ListedRuntime{RuntimeID: r.RuntimeID, ProviderLeaseID: r.ProviderLeaseID, LeaseID: r.LeaseID, Epoch: r.Epoch}
		if at, err := time.Parse(time.RFC3339Nano, r.CreatedAt); err == nil {
			one.CreatedAt = at
		}
		all = append(all, one)
	}
	return all, nil
}

// Probe implements [provider.Worker].
func (w *worker) Probe(ctx context.Context, scope provider.Scope) (drivers.ProbeResult, error) {
	var got protocol.ProbeResult
	k := call{verb: verbProbe, scope: scope, limit: w.child.plugin.opts.Timeouts.Probe}
	if err := w.do(ctx, k, protocol.ProbeParams{Base: w.base(scope)}, &got); err != nil {
		return drivers.ProbeResult{}, err
	}
	clean := func(s string) string { return w.child.secrets.quote(s, 4000) }
	result := drivers.ProbeResult{OK: got.OK, Phase: clean(got.Phase), Summary: clean(got.Summary)}
	for _, d := range got.Diagnostics[:min(len(got.Diagnostics), mostSaid)] {
		found := drivers.Diagnostic{Severity: drivers.Severity(d.Severity), Code: clean(d.Code), Message: clean(d.Message), Remediation: clean(d.Remediation)}
		switch found.Severity {
		case drivers.SeverityInfo, drivers.SeverityWarning, drivers.SeverityError:
		default:
			found.Severity = drivers.SeverityInfo
		}
		result.Diagnostics = append(result.Diagnostics, found)
	}
	return result, nil
}

// ValidateConfig implements [provider.Worker].
func (w *worker) ValidateConfig(ctx context.Context, config json.RawMessage) (provider.ConfigVerdict, error) {
	var got protocol.ValidateConfigResult
	params := protocol.ValidateConfigParams{DriverKey: w.driver.Key, Config: w.driver.ProviderConfig(config)}
	k := call{verb: verbValidate, scope: provider.Scope{Config: config}, limit: w.child.plugin.opts.Timeouts.Validate}
	if err := w.do(ctx, k, params, &got); err != nil {
		return provider.ConfigVerdict{}, err
	}
	if !got.OK {
		return provider.ConfigVerdict{}, w.configError(got.Errors)
	}
	verdict := provider.ConfigVerdict{}
	for _, text := range got.Warnings[:min(len(got.Warnings), mostSaid)] {
		verdict.Warnings = append(verdict.Warnings, w.child.secrets.quote(text, 1000))
	}
	if len(got.NormalizedConfig) > 0 && string(got.NormalizedConfig) != "null" {
		verdict.Normalized = got.NormalizedConfig
	}
	return verdict, nil
}

var _ provider.Worker = (*worker)(nil)

package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/plugins/protocol"
)

// request answers one request of the host. Its errors are [*protocol.Error]s.
func (s *server) request(ctx context.Context, req protocol.Request) (result any, err error) {
	<-s.connected
	if req.Method == protocol.MethodShutdown {
		s.drain()
		return nil, nil
	}
	if !s.enter() {
		return nil, protocol.Errorf(protocol.CodeWorkerUnavailable, "the worker ends")
	}
	defer s.calls.Done()
	defer func() {
		if what := recover(); what != nil {
			s.sayPanic(req.Method, what)
			err = panicked(what)
		}
		if err != nil {
			result, err = nil, wireError(err)
		}
	}()
	return s.answer(ctx, req)
}

// sayPanic tells the author of the driver where it panicked.
func (s *server) sayPanic(in string, what any) {
	fmt.Fprintf(os.Stderr, "panic in %s: %v\n%s", in, what, debug.Stack())
}

func (s *server) answer(ctx context.Context, req protocol.Request) (any, error) {
	switch req.Method {
	case protocol.MethodInitialize:
		return handle(req, s.initialize)
	case protocol.MethodHealth:
		return protocol.HealthResult{Status: "ok"}, nil
	case protocol.MethodConfigChanged:
		return nil, nil
	case protocol.MethodValidateConfig:
		return handle(req, s.validateConfig)
	case protocol.MethodProbe:
		return handle(req, func(p protocol.ProbeParams) (any, error) { return s.probe(ctx, p) })
	case protocol.MethodAcquire:
		return handle(req, func(p protocol.AcquireParams) (any, error) { return s.acquire(ctx, p) })
	case protocol.MethodResume:
		return handle(req, func(p protocol.LeaseParams) (any, error) { return s.resume(ctx, p) })
	case protocol.MethodRelease:
		return handle(req, func(p protocol.EndParams) (any, error) { return s.release(ctx, p, keptBy(p.Tenure)) })
	case protocol.MethodDestroy:
		return handle(req, func(p protocol.EndParams) (any, error) { return s.release(ctx, p, "") })
	case protocol.MethodRealize:
		return handle(req, func(p realizeParams) (any, error) { return s.realize(ctx, p) })
	case protocol.MethodExecute:
		return handle(req, func(p protocol.ExecuteParams) (any, error) { return s.execute(ctx, p, invocationOf(req)) })
	}
	if !s.speaksTenure() {
		return nil, protocol.MethodNotFound(req.Method)
	}
	switch req.Method {
	case protocol.MethodExecStart:
		return handle(req, func(p protocol.ExecStartParams) (any, error) { return s.execStart(ctx, p) })
	case protocol.MethodExecKill:
		return handle(req, func(p protocol.ExecKillParams) (any, error) { return nil, s.execKill(ctx, p) })
	case protocol.MethodList:
		return handle(req, func(p protocol.ListParams) (any, error) { return s.list(ctx, p) })
	}
	return nil, protocol.MethodNotFound(req.Method)
}

// handle decodes the parameters of a call and makes it.
func handle[P any](req protocol.Request, call func(P) (any, error)) (any, error) {
	var p P
	if trimmed := strings.TrimSpace(string(req.Params)); !strings.HasPrefix(trimmed, "{") {
		return nil, protocol.Errorf(protocol.CodeInvalidParams, "%s: params is no object", req.Method)
	}
	if err := json.Unmarshal(req.Params, &p); err != nil {
		// Not with the text of err, which may quote a configuration.
		return nil, protocol.Errorf(protocol.CodeInvalidParams, "%s: params cannot be read", req.Method)
	}
	return call(p)
}

func (s *server) speaksTenure() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tenure
}

func (s *server) initialize(p protocol.InitializeParams) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.begun {
		return nil, protocol.Errorf(protocol.CodeWorkerError, "the worker is already initialized")
	}
	s.begun = true
	s.tenure = p.Tenure != nil && p.Tenure.Version >= protocol.ExtensionVersion
	result := protocol.InitializeResult{OK: true, SupportedMethods: s.plugin.methods(s.tenure)}
	if s.tenure {
		result.Tenure = s.plugin.accept()
	}
	return result, nil
}

func (s *server) validateConfig(p protocol.ValidateConfigParams) (any, error) {
	d, err := s.driver(p.DriverKey)
	if err != nil {
		return nil, err
	}
	err = drivers.CheckConfig(d, object(p.Config))
	problem, bad := errors.AsType[*drivers.ConfigError](err)
	if err != nil && !bad {
		return nil, err
	}
	result := protocol.ValidateConfigResult{OK: err == nil}
	if bad {
		for _, f := range problem.Problems {
			text := f.Field + ": " + f.Problem
			if f.Remediation != "" {
				text += " (" + f.Remediation + ")"
			}
			result.Errors = append(result.Errors, text)
		}
	}
	return result, nil
}

func (s *server) probe(ctx context.Context, p protocol.ProbeParams) (any, error) {
	d, err := s.driver(p.DriverKey)
	if err != nil {
		return nil, err
	}
	found, err := drivers.Probe(ctx, d, drivers.ProbeRequest{CompanyID: p.CompanyID, EnvironmentID: p.EnvironmentID, Config: object(p.Config)})
	if err != nil {
		return nil, err
	}
	result := protocol.ProbeResult{OK: found.OK, Summary: found.Summary, Phase: found.Phase}
	for _, f := range found.Diagnostics {
		result.Diagnostics = append(result.Diagnostics, protocol.Diagnostic{
			Severity: string(f.Severity), Code: f.Code, Message: f.Message, Remediation: f.Remediation,
		})
	}
	return result, nil
}

func (s *server) acquire(ctx context.Context, p protocol.AcquireParams) (any, error) {
	d, err := s.driver(p.DriverKey)
	if err != nil {
		return nil, err
	}
	req := drivers.AcquireRequest{
		CompanyID: p.CompanyID, EnvironmentID: p.EnvironmentID, RunID: p.RunID, IssueID: text(p.IssueID), AgentID: text(p.AgentID),
		ExecutionWorkspaceID: text(p.ExecutionWorkspaceID), ExecutionWorkspaceMode: text(p.WorkspaceMode), AdapterType: text(p.AdapterType),
		Config: object(p.Config), StoredConfig: object(p.Config), Attempt: 1,
	}
	t := p.Tenure
	if t != nil {
		req.RuntimeID, req.Installation, req.LeaseID = t.RuntimeID, t.Installation, t.LeaseID
		req.Fence, req.Epoch, req.Attempt = t.Fence, t.Epoch, max(t.Attempt, 1)
	} else {
		// No token came, so this call is the only one that can ever mean this runtime.
		req.RuntimeID = "run-" + uuid.NewString()
	}
	rt, err := d.Acquire(ctx, req)
	if err != nil {
		return nil, err
	}
	lease := protocol.Lease{ProviderLeaseID: rt.ProviderLeaseID, Metadata: rt.Metadata, Resumed: rt.Resumed}
	if t == nil {
		if lease.Metadata, err = withRuntimeID(rt.Metadata, req.RuntimeID); err != nil {
			return nil, err
		}
	}
	return lease, nil
}

// runtimeIDField keeps the id of a runtime with hosts that know no tokens.
const runtimeIDField = "tenureRuntimeId"

func withRuntimeID(metadata json.RawMessage, id string) (json.RawMessage, error) {
	fields := map[string]json.RawMessage{}
	if len(metadata) > 0 {
		if err := json.Unmarshal(metadata, &fields); err != nil {
			return nil, fmt.Errorf("the driver's metadata is no object: %w", err)
		}
	}
	quoted, err := json.Marshal(id)
	if err != nil {
		return nil, err
	}
	fields[runtimeIDField] = quoted
	return json.Marshal(fields)
}

// resume answers in the published words where the runtime is gone or another one has its name.
func (s *server) resume(ctx context.Context, p protocol.LeaseParams) (any, error) {
	d, err := s.driver(p.DriverKey)
	if err != nil {
		return nil, err
	}
	h := handleOf(p)
	req := drivers.ResumeRequest{
		AcquireRequest: drivers.AcquireRequest{
			RuntimeID: h.RuntimeID, Installation: h.Installation, Attempt: 1, Fence: h.Fence, LeaseID: h.LeaseID, CompanyID: h.CompanyID,
			EnvironmentID: h.EnvironmentID, IssueID: h.IssueID, Config: h.Config, StoredConfig: h.Config,
		},
		ProviderLeaseID: h.ProviderLeaseID, Metadata: h.Metadata,
	}
	if t := p.Tenure; t != nil {
		req.Epoch, req.Attempt = t.Epoch, max(t.Attempt, 1)
		if next := t.Holder; next != nil {
			req.RunID, req.AgentID, req.AdapterType = next.RunID, next.AgentID, next.AdapterType
			req.ExecutionWorkspaceID, req.ExecutionWorkspaceMode = next.ExecutionWorkspaceID, next.WorkspaceMode
		}
	}
	rt, err := drivers.Resume(ctx, d, req)
	switch {
	case errors.Is(err, drivers.ErrMismatch):
		return protocol.Lease{Metadata: json.RawMessage(`{"workspaceSentinel":{"result":"mismatch"}}`)}, nil
	case errors.Is(err, drivers.ErrGone):
		return protocol.Lease{Metadata: json.RawMessage(`{"expired":true}`)}, nil
	case err != nil:
		return nil, err
	}
	lease := protocol.Lease{ProviderLeaseID: rt.ProviderLeaseID, Metadata: rt.Metadata, Resumed: true}
	if p.Tenure == nil {
		if lease.Metadata, err = withRuntimeID(rt.Metadata, h.RuntimeID); err != nil {
			return nil, err
		}
	}
	return lease, nil
}

// release serves release and destroy: a driver's Release leaves nothing. Only a host that asks for it keeps a runtime.
func (s *server) release(ctx context.Context, p protocol.EndParams, keep string) (any, error) {
	d, err := s.driver(p.DriverKey)
	if err != nil {
		return nil, err
	}
	attempt := 1
	if p.Tenure != nil {
		attempt = max(p.Tenure.Attempt, 1)
	}
	h := handleOf(p.LeaseParams)
	if keep != "" {
		if err := drivers.Keep(ctx, d, drivers.KeepRequest{Handle: h, Attempt: attempt, Stop: keep == protocol.KeepStopped}); err != nil {
			return nil, err
		}
		return protocol.Receipt{ProviderLeaseID: text(p.ProviderLeaseID), State: "stopped"}, nil
	}
	err = d.Release(ctx, drivers.ReleaseRequest{Handle: h, Attempt: attempt})
	if err != nil && !errors.Is(err, drivers.ErrGone) {
		return nil, err
	}
	return protocol.Receipt{ProviderLeaseID: text(p.ProviderLeaseID), State: "destroyed"}, nil
}

// keptBy is what a release is asked to keep.
func keptBy(t *protocol.TenureToken) string {
	if t == nil {
		return ""
	}
	return t.Keep
}

// realizeParams are those of environmentRealizeWorkspace.
type realizeParams struct {
	protocol.LeaseParams
	Lease     protocol.Lease  `json:"lease"`
	Workspace json.RawMessage `json:"workspace"`
}

// realizeResult is its result.
type realizeResult struct {
	Cwd string `json:"cwd"`
}

func (s *server) realize(ctx context.Context, p realizeParams) (any, error) {
	d, err := s.driver(p.DriverKey)
	if err != nil {
		return nil, err
	}
	p.ProviderLeaseID, p.LeaseMetadata = p.Lease.ProviderLeaseID, p.Lease.Metadata
	if r, ok := d.(Realizer); ok {
		cwd, err := r.Realize(ctx, handleOf(p.LeaseParams), p.Workspace)
		return realizeResult{cwd}, err
	}
	var said struct {
		RemoteCwd  string `json:"remoteCwd"`
		Workspace  string `json:"workspace"`
		RemotePath string `json:"remotePath"`
	}
	for _, raw := range []json.RawMessage{p.Lease.Metadata, p.Workspace} {
		if len(raw) > 0 {
			_ = json.Unmarshal(raw, &said) // fields of another kind are not ours
		}
	}
	for _, cwd := range []string{said.RemoteCwd, said.Workspace, said.RemotePath} {
		if cwd != "" {
			return realizeResult{cwd}, nil
		}
	}
	return realizeResult{"/"}, nil
}

func (s *server) list(ctx context.Context, p protocol.ListParams) (any, error) {
	d, err := s.driver(p.DriverKey)
	if err != nil {
		return nil, err
	}
	found, err := drivers.ListRuntimes(ctx, d, drivers.ListRequest{Installation: p.Installation, Config: object(p.Config)})
	if err != nil {
		return nil, err
	}
	result := protocol.ListResult{Runtimes: []protocol.ListedRuntime{}}
	for _, r := range found {
		result.Runtimes = append(result.Runtimes, protocol.ListedRuntime{
			RuntimeID: r.RuntimeID, ProviderLeaseID: r.ProviderLeaseID, LeaseID: r.LeaseID, Epoch: r.Epoch,
			CreatedAt: r.CreatedAt.UTC().Format(rfc3339Nano),
		})
	}
	return result, nil
}

const rfc3339Nano = "2006-01-02T15:04:05.999999999Z07:00"

// handleOf names the runtime that a call is about.
func handleOf(p protocol.LeaseParams) drivers.Handle {
	h := drivers.Handle{
		ProviderLeaseID: p.ProviderLeaseID, Metadata: object(p.LeaseMetadata), Config: object(p.Config), CompanyID: p.CompanyID,
		EnvironmentID: p.EnvironmentID, IssueID: text(p.IssueID),
	}
	if t := p.Tenure; t != nil {
		h.RuntimeID, h.Installation, h.LeaseID, h.Fence = t.RuntimeID, t.Installation, t.LeaseID, t.Fence
		return h
	}
	var said map[string]json.RawMessage
	if len(p.LeaseMetadata) > 0 && json.Unmarshal(p.LeaseMetadata, &said) == nil {
		_ = json.Unmarshal(said[runtimeIDField], &h.RuntimeID) // absent: the provider's own name must do
	}
	return h
}

// object is raw, or nothing where the host sent null.
func object(raw json.RawMessage) json.RawMessage {
	if string(raw) == "null" {
		return nil
	}
	return raw
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// invocationOf is the id that what a call says meanwhile goes by.
func invocationOf(req protocol.Request) string {
	if req.Invocation == nil {
		return ""
	}
	return req.Invocation.ID
}

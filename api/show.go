package api

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/admission"
	"github.com/tenure-dev/tenure/domain/company"
	"github.com/tenure-dev/tenure/domain/environment"
	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/key"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/secret"
	"github.com/tenure-dev/tenure/domain/secretread"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/projections"
	"github.com/tenure-dev/tenure/projections/companies"
	"github.com/tenure-dev/tenure/projections/environments"
	"github.com/tenure-dev/tenure/projections/executions"
	"github.com/tenure-dev/tenure/projections/keys"
	"github.com/tenure-dev/tenure/projections/secrets"
)

// What is in the log, as it is sent.

func showCompany(id uuid.UUID, now eventstore.Loaded[company.State]) wire.Company {
	return wire.Company{ID: id, Name: now.State.Name, CreatedAt: now.State.AddedAt.UTC(), DefaultEnvironmentID: idOrNull(now.State.DefaultEnvironment.UUID), Version: now.Version}
}

func showKey(id uuid.UUID, now eventstore.Loaded[key.State]) wire.Key {
	k := now.State
	return wire.Key{
		ID: id, CompanyID: idOrNull(k.Key.Company.UUID), Role: k.Key.Role.String(), Name: k.Key.Name,
		PrincipalID: k.Key.Principal.UUID, Status: k.Status.String(), CreatedAt: k.AddedAt.UTC(), RevokedAt: timeOrNull(k.RevokedAt), Version: now.Version,
	}
}

func showEnvironment(id uuid.UUID, now eventstore.Loaded[environment.State]) wire.Environment {
	e := now.State
	return wire.Environment{
		ID: id, CompanyID: e.Company.UUID, Name: e.Name, Description: e.Description, Driver: e.Driver,
		Config: shownObject(e.Config), EnvVars: showVars(e.EnvVars), MaxLeases: e.MaxLeases, Metadata: shownObject(e.Metadata),
		MaxQueued: admission.QueueLimit(e.MaxQueued), MaxTTL: shownDuration(e.MaxTTLMs),
		Status: e.Status.String(), CreatedAt: e.CreatedAt.UTC(), UpdatedAt: e.UpdatedAt.UTC(), Version: now.Version,
	}
}

// showVars shows references to secrets, as wantedVars reads them.
func showVars(vars map[string]domain.EnvValue) map[string]wire.EnvValue {
	out := make(map[string]wire.EnvValue, len(vars))
	for name, v := range vars {
		out[name] = wire.EnvValue{Plain: v.Plain}
		if !v.Ref.IsZero() {
			out[name] = wire.EnvValue{SecretRef: &wire.SecretRef{SecretID: v.Ref.Secret.UUID, Version: v.Ref.Version}}
		}
	}
	return out
}

func wantedVars(vars map[string]wire.EnvValue) map[string]domain.EnvValue {
	if vars == nil {
		return nil
	}
	out := make(map[string]domain.EnvValue, len(vars))
	for name, v := range vars {
		out[name] = domain.EnvValue{Plain: v.Plain}
		if ref := v.SecretRef; ref != nil {
			out[name] = domain.EnvValue{Ref: domain.SecretRef{Secret: domain.SecretID{UUID: ref.SecretID}, Version: ref.Version}}
		}
	}
	return out
}

func showSecret(id uuid.UUID, now eventstore.Loaded[secret.State]) wire.Secret {
	x := now.State
	versions := make([]wire.SecretVersion, len(x.Versions))
	for i, v := range x.Versions {
		versions[i] = wire.SecretVersion{Version: v.Number, Status: v.Status.String(), CreatedAt: v.AddedAt.UTC(), ChangedAt: v.ChangedAt.UTC()}
	}
	return wire.Secret{
		ID: id, CompanyID: x.Company.UUID, Name: x.Name, Description: x.Description, Status: x.Status.String(),
		LatestVersion: x.Latest(), Versions: versions, CreatedAt: x.AddedAt.UTC(), UpdatedAt: x.UpdatedAt.UTC(), Version: now.Version,
	}
}

func showSecretRead(r eventstore.Recorded, read secretread.Read) wire.SecretRead {
	return wire.SecretRead{
		Version: read.Version, Purpose: read.Purpose.String(), ReadAt: r.RecordedAt.UTC(), LeaseID: idOrNull(read.Lease.UUID),
		ExecID: idOrNull(read.Exec.UUID), EnvironmentID: idOrNull(read.Environment.UUID), WorkerID: idOrNull(read.Worker.UUID),
		ActorID: idOrNull(r.By.Actor.UUID), Position: r.Position,
	}
}

func orObject(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return json.RawMessage(`{}`)
	}
	return raw
}

// shownObject is an object as it is in the log, where null stands for one that was not given.
func shownObject(raw json.RawMessage) json.RawMessage {
	if string(raw) == "null" {
		raw = nil
	}
	return orObject(raw)
}

func showLease(id uuid.UUID, now leaseNow) wire.Lease {
	l := now.State
	metadata := map[string]any{"driver": l.Driver, "executionWorkspaceMode": nil}
	if len(l.Metadata) > 0 {
		var said map[string]json.RawMessage
		if err := json.Unmarshal(l.Metadata, &said); err == nil { // the domain lets nothing else in
			for name, value := range said {
				if _, ours := metadata[name]; !ours {
					metadata[name] = value
				}
			}
		}
	}
	if mode := l.Context.WorkspaceMode; mode != "" {
		metadata["executionWorkspaceMode"] = mode
	}
	return wire.Lease{
		ID: id, CompanyID: l.Company.UUID, EnvironmentID: l.Environment.UUID, HeartbeatRunID: l.Run,
		IssueID: textOrNull(l.Context.Issue), AgentID: textOrNull(l.Context.Agent), Status: showStatus(l.Status()),
		LeasePolicy: string(l.Policy), Provider: l.Provider, ProviderLeaseID: l.ProviderLeaseID, CreatedAt: l.RequestedAt.UTC(),
		AcquiredAt: timeOrNull(l.AcquiredAt), LastUsedAt: timeOrNull(l.LastUsedAt), ExpiresAt: timeOrNull(l.ExpiresAt), ReleasedAt: timeOrNull(l.EndedAt),
		HardExpiresAt: timeOrNull(l.HardExpiresAt), TTLMs: l.TTL.Milliseconds(), IdleTimeoutMs: l.IdleTimeout.Milliseconds(),
		FailureReason: showFailure(l.FailureCode, l.FailureMessage), CleanupStatus: textOrNull(string(l.CleanupStatus())), CleanupError: showCleanupError(l),
		Cleanup: showCleanup(l), Acquisition: showAcquisition(l), RetainedUntil: showRetention(l), Metadata: metadata, Selection: showSelection(l),
		Priority: l.Standing().Class.String(), FairnessKey: l.Standing().Key, Weight: l.Standing().Weight,
		Fence: l.Fence, Version: now.Version,
	}
}

// statuses are the words of the API for where a lease stands: who waits is queued, and who has a slot is being provisioned.
var statuses = map[string][]lease.Status{
	wire.LeaseQueued:         {lease.StatusRequested},
	wire.LeaseProvisioning:   {lease.StatusGranted, lease.StatusProvisioning},
	wire.LeaseActive:         {lease.StatusActive},
	wire.LeaseReleasing:      {lease.StatusReleasing},
	wire.LeasePendingCleanup: {lease.StatusPendingCleanup},
	wire.LeaseReleased:       {lease.StatusReleased},
	wire.LeaseExpired:        {lease.StatusExpired},
	wire.LeaseFailed:         {lease.StatusFailed},
	wire.LeaseRetained:       {lease.StatusRetained},
	wire.LeaseCanceled:       {lease.StatusCanceled},
}

func showStatus(s lease.Status) string {
	switch s {
	case lease.StatusRequested:
		return wire.LeaseQueued
	case lease.StatusGranted, lease.StatusProvisioning:
		return wire.LeaseProvisioning
	case lease.StatusNone, lease.StatusActive, lease.StatusReleasing, lease.StatusPendingCleanup, lease.StatusReleased,
		lease.StatusExpired, lease.StatusFailed, lease.StatusRetained, lease.StatusCanceled:
	}
	return s.String()
}

func showAcquisition(l lease.State) *wire.Acquisition {
	if l.AcquiredAt.IsZero() {
		return nil
	}
	a := &wire.Acquisition{Outcome: string(l.Acquisition), Reason: textOrNull(l.AcquisitionReason)}
	if l.Acquisition != lease.AcquisitionCreated {
		a.FromLeaseID = idOrNull(l.From.UUID)
	}
	return a
}

func showRetention(l lease.State) *time.Time {
	if !l.Kept {
		return nil
	}
	return timeOrNull(l.KeptUntil)
}

// showFailure is a code and a message; many a driver's message has the code in it.
func showFailure(code, message string) *string {
	switch {
	case code == "" || message == "":
		return textOrNull(code + message)
	case strings.Contains(message, code+": "):
		return &message
	}
	return textOrNull(code + ": " + message)
}

// showCleanupError is why the last try to remove the runtime failed, as long as it is not removed.
func showCleanupError(l lease.State) *string {
	if l.Cleaned {
		return nil
	}
	return showFailure(l.TeardownCode, l.TeardownMessage)
}

func showSelection(l lease.State) *wire.Selection {
	if l.Selection == nil {
		return nil
	}
	return &wire.Selection{EnvironmentID: l.Environment.UUID, Level: l.Selection.Level.String(), Reason: l.Selection.Reason}
}

func showContext(l lease.State) wire.LeaseContext {
	return wire.LeaseContext{ExecutionWorkspaceID: textOrNull(l.Context.Workspace), ExecutionWorkspaceMode: textOrNull(l.Context.WorkspaceMode)}
}

func showExec(id uuid.UUID, now eventstore.Loaded[execution.State]) wire.Exec {
	x := now.State
	names := make([]string, len(x.Request.Env))
	for i, e := range x.Request.Env {
		names[i] = e.Name
	}
	out := wire.Exec{
		ID: id, CompanyID: x.Request.Company.UUID, LeaseID: x.Request.Lease.UUID, Status: x.Status.String(), Argv: x.Request.Argv,
		Cwd: x.Request.Cwd, EnvNames: names, StdinBytes: x.Request.StdinBytes, TimeoutMs: x.Request.TimeoutMs, CreatedAt: x.RequestedAt.UTC(),
		StartedAt: timeOrNull(x.StartedAt), EndedAt: timeOrNull(x.EndedAt), KillRequested: x.Killing, Version: now.Version,
	}
	if x.Process.PID != 0 {
		out.PID = &x.Process.PID
	}
	if x.Status == execution.StatusEnded {
		out.Result, out.Output = showResult(x.Ended), showSeal(x.Seal)
	}
	return out
}

func showResult(e execution.Ended) *wire.ExecResult {
	return &wire.ExecResult{
		End: e.End.String(), ExitCode: e.ExitCode, Signal: textOrNull(e.Signal), Why: textOrNull(e.Why),
		Stage: textOrNull(e.Stage), Code: textOrNull(e.Code), Message: textOrNull(e.Message), Leftovers: e.Leftovers,
	}
}

func showSeal(s execution.OutputSealed) *wire.Sealed {
	return &wire.Sealed{
		State: s.State.String(), Dropped: s.Dropped,
		Stdout: wire.StreamDigest{Bytes: s.Stdout.Bytes, SHA256: s.Stdout.SHA256},
		Stderr: wire.StreamDigest{Bytes: s.Stderr.Bytes, SHA256: s.Stderr.SHA256},
	}
}

func showEvent(r eventstore.Recorded) wire.Event {
	return wire.Event{
		Position: r.Position, Stream: string(r.Stream), Version: r.Version, Name: r.Name, Revision: r.Revision,
		CompanyID: idOrNull(r.Company.UUID), CompanyPosition: r.CompanyPosition, RecordedAt: r.RecordedAt.UTC(),
		ActorID: idOrNull(r.By.Actor.UUID), KeyID: idOrNull(r.By.Key.UUID), RequestID: idOrNull(r.By.Request), Data: r.Payload,
	}
}

// What is in a read model is shown as what is in the log.

func showCompanyRow(r companies.Row) wire.Company {
	return showCompany(r.Data.ID.UUID, loaded(r.Head, r.Data.State))
}

func showKeyRow(r keys.Row) wire.Key {
	return showKey(r.Data.ID.UUID, loaded(r.Head, r.Data.State))
}

func showEnvironmentRow(r environments.Row) wire.Environment {
	return showEnvironment(r.Data.ID.UUID, loaded(r.Head, r.Data.State))
}

func showSecretRow(r secrets.Row) wire.Secret {
	return showSecret(r.Data.ID.UUID, loaded(r.Head, r.Data.State))
}

func showExecRow(r executions.Row) wire.Exec {
	return showExec(r.Data.ID.UUID, loaded(r.Head, r.Data.State))
}

func loaded[S any](head projections.Head, state S) eventstore.Loaded[S] {
	return eventstore.Loaded[S]{State: state, Version: head.Version, Position: head.Position}
}

// showPage sends a page of a read model.
func showPage[R, W any](page projections.Page[R], show func(projections.Row[R]) W) wire.List[W] {
	out := wire.List[W]{Items: make([]W, 0, len(page.Items)), Next: textOrNull(page.Next), Position: page.Position}
	for _, row := range page.Items {
		out.Items = append(out.Items, show(row))
	}
	return out
}

func textOrNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func idOrNull(id uuid.UUID) *uuid.UUID {
	if id == uuid.Nil {
		return nil
	}
	return &id
}

func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

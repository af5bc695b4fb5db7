package api

import (
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/projections"
	"github.com/tenure-dev/tenure/projections/companies"
	"github.com/tenure-dev/tenure/projections/environments"
	"github.com/tenure-dev/tenure/projections/executions"
	"github.com/tenure-dev/tenure/projections/keys"
	"github.com/tenure-dev/tenure/projections/leases"
)

// What is in the log, as it is sent.

func showCompany(r companies.Row) wire.Company {
	return wire.Company{ID: r.Data.ID.UUID, Name: r.Data.Name, CreatedAt: r.Data.AddedAt.UTC(), Version: r.Version}
}

func showKey(r keys.Row) wire.Key {
	k := r.Data
	return wire.Key{
		ID: k.ID.UUID, CompanyID: idOrNull(k.Key.Company.UUID), Role: k.Key.Role.String(), Name: k.Key.Name,
		PrincipalID: k.Key.Principal.UUID, Status: k.Status.String(), CreatedAt: k.AddedAt.UTC(), RevokedAt: timeOrNull(k.RevokedAt), Version: r.Version,
	}
}

func showEnvironment(r environments.Row) wire.Environment {
	e := r.Data
	vars := e.EnvVars
	if vars == nil {
		vars = map[string]string{}
	}
	return wire.Environment{
		ID: e.ID.UUID, CompanyID: e.Company.UUID, Name: e.Name, Description: e.Description, Driver: e.Driver,
		Config: orObject(e.Config), EnvVars: vars, MaxLeases: e.MaxLeases, Metadata: orObject(e.Metadata),
		Status: e.Status.String(), CreatedAt: e.CreatedAt.UTC(), UpdatedAt: e.UpdatedAt.UTC(), Version: r.Version,
	}
}

func orObject(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return json.RawMessage(`{}`)
	}
	return raw
}

func showLease(r leases.Row) wire.Lease {
	l := r.Data
	metadata := map[string]any{"driver": l.Driver, "executionWorkspaceMode": nil}
	for name, value := range l.Metadata {
		metadata[name] = value
	}
	if mode := l.Context.WorkspaceMode; mode != "" {
		metadata["executionWorkspaceMode"] = mode
	}
	return wire.Lease{
		ID: l.ID.UUID, CompanyID: l.Company.UUID, EnvironmentID: l.Environment.UUID, HeartbeatRunID: l.Run,
		IssueID: textOrNull(l.Context.Issue), AgentID: textOrNull(l.Context.Agent), Status: showStatus(l.Status()),
		LeasePolicy: string(l.Policy), Provider: l.Provider, ProviderLeaseID: l.ProviderLeaseID, CreatedAt: l.RequestedAt.UTC(),
		AcquiredAt: timeOrNull(l.AcquiredAt), LastUsedAt: timeOrNull(l.LastUsedAt), ExpiresAt: timeOrNull(l.ExpiresAt), ReleasedAt: timeOrNull(l.EndedAt),
		FailureReason: showFailure(l.State), CleanupStatus: textOrNull(string(l.CleanupStatus())), Metadata: metadata, Fence: l.Fence, Version: r.Version,
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
	wire.LeaseCanceled:       {lease.StatusCanceled},
}

func showStatus(s lease.Status) string {
	switch s {
	case lease.StatusRequested:
		return wire.LeaseQueued
	case lease.StatusGranted, lease.StatusProvisioning:
		return wire.LeaseProvisioning
	case lease.StatusNone, lease.StatusActive, lease.StatusReleasing, lease.StatusPendingCleanup, lease.StatusReleased,
		lease.StatusExpired, lease.StatusFailed, lease.StatusCanceled:
	}
	return s.String()
}

func showFailure(l lease.State) *string {
	switch {
	case l.FailureCode == "":
		return textOrNull(l.FailureMessage)
	case l.FailureMessage == "":
		return &l.FailureCode
	}
	reason := l.FailureCode + ": " + l.FailureMessage
	return &reason
}

func showContext(l lease.State) wire.LeaseContext {
	return wire.LeaseContext{ExecutionWorkspaceID: textOrNull(l.Context.Workspace), ExecutionWorkspaceMode: textOrNull(l.Context.WorkspaceMode)}
}

func showExec(r executions.Row) wire.Exec {
	x := r.Data
	names := make([]string, len(x.Request.Env))
	for i, e := range x.Request.Env {
		names[i] = e.Name
	}
	out := wire.Exec{
		ID: x.ID.UUID, CompanyID: x.Request.Company.UUID, LeaseID: x.Request.Lease.UUID, Status: x.Status.String(), Argv: x.Request.Argv,
		Cwd: x.Request.Cwd, EnvNames: names, StdinBytes: x.Request.StdinBytes, TimeoutMs: x.Request.TimeoutMs, CreatedAt: x.RequestedAt.UTC(),
		StartedAt: timeOrNull(x.StartedAt), EndedAt: timeOrNull(x.EndedAt), KillRequested: x.Killing, Version: r.Version,
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

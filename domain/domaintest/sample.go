package domaintest

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/access"
	"github.com/tenure-dev/tenure/domain/admission"
	"github.com/tenure-dev/tenure/domain/company"
	"github.com/tenure-dev/tenure/domain/environment"
	"github.com/tenure-dev/tenure/domain/epoch"
	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/install"
	"github.com/tenure-dev/tenure/domain/key"
	"github.com/tenure-dev/tenure/domain/leak"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/node"
	"github.com/tenure-dev/tenure/domain/outage"
	"github.com/tenure-dev/tenure/domain/plugin"
	"github.com/tenure-dev/tenure/domain/probe"
	"github.com/tenure-dev/tenure/domain/readmodel"
	"github.com/tenure-dev/tenure/domain/runtime"
	"github.com/tenure-dev/tenure/domain/secret"
	"github.com/tenure-dev/tenure/domain/secretread"
)

// The ids that the samples use.
var (
	Company     = ID[domain.CompanyID](1)
	Environment = ID[domain.EnvironmentID](2)
	Lease       = ID[domain.LeaseID](3)
	Runtime     = ID[domain.RuntimeID](4)
	Worker      = ID[domain.WorkerID](5)
	Principal   = ID[domain.PrincipalID](6)
	Node        = ID[domain.NodeID](7)
	Key         = ID[domain.KeyID](8)
	Secret      = ID[domain.SecretID](9)
	Exec        = ID[domain.ExecID](10)
)

// Noon is a time of no meaning.
var Noon = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// Hash is the SHA-256 of nothing in particular.
var Hash = strings.Repeat("0123456789abcdef", 4)

// LeaseRequested is a request that a lease accepts.
func LeaseRequested() lease.Requested {
	return lease.Requested{
		Company: Company, Environment: Environment, EnvironmentVersion: 3,
		Driver: "local", Provider: "local", Config: json.RawMessage(`{"root":"/srv"}`),
		Run: "run-1",
		Context: lease.Context{
			Issue: "issue-1", Agent: "agent-1", Workspace: "workspace-1", WorkspaceMode: "shared", Adapter: "process",
		},
		Policy: lease.PolicyEphemeral, TTLMs: 86_400_000, IdleTimeoutMs: 3_600_000, MaxTTLMs: 172_800_000,
		Env: []domain.EnvName{{Name: "TOKEN", Hash: Hash}}, RetainForMs: 3_600_000,
	}
}

// ExecRequested is a request that an execution accepts.
func ExecRequested() execution.Requested {
	return execution.Requested{
		Company: Company, Lease: Lease, Argv: []string{"sh", "-c", "echo hi"}, Cwd: "src",
		Env:        []domain.EnvName{{Name: "A-B", Hash: Hash}},
		StdinBytes: 5, StdinHash: Hash, TimeoutMs: 60_000,
	}
}

// EnvironmentRegistered is a registration that an environment accepts.
func EnvironmentRegistered() environment.Registered {
	return environment.Registered{
		Company: Company, Name: "local", Description: "this machine", Driver: "local",
		Config: json.RawMessage(`{"root":"/srv"}`), EnvVars: map[string]domain.EnvValue{"LANG": {Plain: "C.UTF-8"}},
		MaxLeases: 4, Metadata: json.RawMessage(`{"owner":"platform"}`), MaxTTLMs: 172_800_000,
	}
}

// KeyAdded is an addition that a key accepts.
func KeyAdded() key.Added {
	return key.Added{Company: Company, Role: access.RoleClient, Name: "ci", Hash: Hash, Principal: Principal}
}

// PluginInstalled is a version that a plugin accepts.
func PluginInstalled() plugin.Installed {
	return plugin.Installed{
		Key: "acme.boxes", Version: "1.2.0", Digest: Hash, Manifest: json.RawMessage(`{"id":"acme.boxes"}`), Source: "/opt/plugins/acme", Node: Node,
	}
}

// ProbeRequested is a question that a probe accepts.
func ProbeRequested() probe.Requested {
	return probe.Requested{
		Company: Company, Environment: Environment, Driver: "ssh", Provider: "ssh", Config: json.RawMessage(`{"host":"h"}`), Kept: []string{"/privateKey"},
	}
}

// SecretAdded is an addition that a secret accepts.
func SecretAdded() secret.Added {
	return secret.Added{Company: Company, Name: "deploy key", Description: "for the build hosts"}
}

// Samples has one event of each name, with every field set.
func Samples() []domain.Event {
	provider, code := "provider-lease-1", 3
	installation, former := ID[domain.NodeID](11).UUID, ID[domain.NodeID](12).UUID
	retry, hard := Noon.Add(time.Minute), Noon.Add(2*time.Hour)
	r := EnvironmentRegistered()
	return []domain.Event{
		company.Added{Name: "Acme"},
		company.DefaultEnvironmentSet{Environment: Environment},
		readmodel.Skipped{Name: "leases", Stream: "lease-00000000-0000-0000-0000-000000000001", Position: 7, Reason: "cannot be folded"},

		r,
		environment.Reconfigured{
			Name: r.Name, Description: r.Description, Driver: r.Driver, Config: r.Config,
			EnvVars: r.EnvVars, MaxLeases: r.MaxLeases, Metadata: r.Metadata, MaxTTLMs: r.MaxTTLMs,
		},
		environment.RetirementRequested{Delete: true},
		environment.Archived{},
		environment.Deleted{},

		admission.Opened{Capacity: 4, MaxQueued: &code},
		admission.CapacityChanged{Capacity: 8, MaxQueued: &code},
		admission.Closed{},
		admission.Waiting{Lease: Lease, Standing: admission.Standing{Class: admission.ClassHigh, Key: "agent-1", Weight: 3}},
		admission.Admitted{Lease: Lease, Slot: 2, Rule: admission.RuleFairness},
		admission.Left{Lease: Lease},
		admission.Freed{Lease: Lease, Slot: 2},
		admission.Idled{Lease: Lease, Scope: "provider=\"local\""},
		admission.Evicted{Lease: Lease},
		admission.Stalled{Lease: Lease},
		admission.HandedBack{Lease: Lease, To: Lease, Slot: 2, Scope: "provider=\"local\""},

		LeaseRequested(),
		lease.Granted{Slot: 2, From: Lease, Rule: admission.RuleFairness},
		lease.Canceled{Reason: "not needed"},
		lease.ProvisioningStarted{
			Attempt: 2, Runtime: Runtime, Worker: Worker, Deadline: Noon, Fingerprint: Hash, Resumes: Lease, ProviderLeaseID: &provider,
			Metadata: json.RawMessage(`{"driver":"local"}`), Replaces: "lease_fingerprint_mismatch",
		},
		lease.ProvisioningFailed{
			Attempt: 2, Kind: lease.FailureRetryable, Code: "disk_full", Step: "make_workspace", Message: "no space", RetryAt: &retry,
			Gone: lease.GoneAbsent,
		},
		lease.ProvisioningAbandoned{Attempt: 2, Code: "worker_gone", Gone: lease.GoneMismatch},
		lease.Provisioned{
			Attempt: 2, Runtime: Runtime, ProviderLeaseID: &provider, Metadata: json.RawMessage(`{"driver":"local"}`),
			Acquisition: lease.AcquisitionReplacement, AcquisitionReason: "runtime_gone", HardExpiresAt: Noon.Add(24 * time.Hour), ExpiresAt: Noon.Add(time.Hour),
		},
		lease.Renewed{ExpiresAt: Noon.Add(time.Hour), HardExpiresAt: &hard},
		lease.ExpiryWarned{ExpiresAt: Noon.Add(time.Hour)},
		lease.ReleaseRequested{Reason: lease.ReasonFailed, Message: "tests failed", Disposition: lease.DispositionStopAndRetain},
		lease.ReleaseStarted{Attempt: 2, Worker: Worker, Deadline: Noon},
		lease.ReleaseFailed{Attempt: 2, Code: "busy", Message: "still in use", RetryAt: retry},
		lease.Released{},
		lease.Expired{},
		lease.Failed{Code: "disk_full", Message: "no space", CleanupPending: true, KeptUntil: &retry},
		lease.CleanupCompleted{},
		lease.Retained{Disposition: lease.DispositionKeepRunning, KeptUntil: retry},
		lease.RetentionEnded{Reason: lease.RetentionEvicted},
		lease.RuntimePassed{To: Lease},
		lease.Disowned{},
		lease.Quarantined{Attempts: 12, Code: "busy"},
		lease.CleanupRetryRequested{},
		lease.CleanupForced{Reason: "the provider is gone for good"},
		lease.NodeLost{Node: Node},
		lease.NodeForgotten{Node: Node},

		node.Forgotten{Reason: "the machine was scrapped", Hostname: "build-7"},
		node.Returned{Worker: Worker},

		leak.Found{
			Company: Company, Environment: Environment, Lease: Lease, Runtime: Runtime, Driver: "docker", Provider: "docker",
			ProviderLeaseID: &provider, Node: Node, Why: leak.WhyLate, Place: Hash[:24], FirstSeen: Noon,
		},
		leak.DestroyIntended{Worker: Worker},
		leak.DestroyFailed{Code: "busy", Message: "still in use"},
		leak.Cleared{Proof: leak.ProofPerson, Reason: "removed by hand"},

		runtime.Intended{
			Company: Company, Environment: Environment, Lease: Lease, Driver: "local", Provider: "local", Node: Node,
		},
		runtime.Made{ProviderLeaseID: &provider},
		runtime.Held{Lease: Lease},
		runtime.Freed{Lease: Lease},
		runtime.Lost{Reason: "identity_mismatch"},
		runtime.DestroyIntended{Reason: "released"},
		runtime.Destroyed{Proof: runtime.ProofReleased},
		runtime.Disowned{},

		ExecRequested(),
		execution.Claimed{Worker: Worker},
		execution.Started{PID: 4711, StartTime: 123456, BootID: "b1d1f1c1-0000-4000-8000-000000000001"},
		execution.KillRequested{By: Principal, Why: "took too long"},
		execution.Ended{
			End: execution.EndExited, ExitCode: &code, Signal: "SIGTERM", Why: "why", Stage: "cwd", Code: "not_found",
			Message: "no such directory", Leftovers: 1,
		},
		execution.OutputSealed{
			State:   execution.SealTruncated,
			Stdout:  execution.Stream{Bytes: 12, SHA256: Hash},
			Stderr:  execution.Stream{Bytes: 3, SHA256: Hash},
			Dropped: 4,
		},

		KeyAdded(),
		key.Revoked{},

		PluginInstalled(),
		plugin.Enabled{},
		plugin.Disabled{Reason: "broken"},

		install.Requested{Source: "/opt/plugins/acme", Node: Node},
		install.Completed{Plugin: plugin.IDOf("acme.boxes"), Version: "1.2.0"},
		install.Failed{Code: "manifest_invalid", Message: "no version", Remediation: "give it one"},

		ProbeRequested(),
		probe.Claimed{Worker: Worker, Deadline: Noon},
		probe.Completed{
			OK: true, Phase: "auth", Summary: "failed at auth", DriverMs: 12,
			Diagnostics: []probe.Diagnostic{{Severity: "error", Code: "auth_failed", Message: "no key fits", Remediation: "add the key"}},
		},

		SecretAdded(),
		secret.VersionAdded{Version: 2},
		secret.VersionDisabled{Version: 2},
		secret.VersionEnabled{Version: 2},
		secret.VersionDestroyed{Version: 2},
		secret.Destroyed{},
		secretread.Read{
			Version: 2, Purpose: secretread.PurposeExec, Lease: Lease, Exec: Exec, Environment: Environment, Worker: Worker,
		},

		outage.RenewalsInterrupted{From: Noon, To: Noon.Add(5 * time.Minute), ShiftMs: 300_000, CapMs: 3_600_000},
		outage.ClockConfirmed{Reason: "the clock of the host was set"},
		epoch.Forked{
			Findings: []epoch.Finding{epoch.FindingLost, epoch.FindingTimeline}, FromEpoch: 1, Head: 100,
			Remembered: &epoch.Mark{Epoch: 1, Position: 105, Hash: Hash}, Kept: 100,
			Was:  epoch.Place{System: "7713254024809075596", Timeline: "00000001", Database: "5", Birth: "2026-07-01 12:00:00", Port: "5432", Address: "10.0.0.1"},
			Is:   epoch.Place{System: "7713254024809075596", Timeline: "00000002", Database: "5", Birth: "2026-07-02 12:00:00", Port: "5432", Address: "10.0.0.2"},
			Node: Node,
		},
		epoch.Adopted{Reason: "failover of the database", LostAtMost: 5, Installation: &installation, Former: &former},
	}
}

// Of picks the samples of one part.
func Of[E domain.Event]() []E {
	var own []E
	for _, e := range Samples() {
		if e, ok := e.(E); ok {
			own = append(own, e)
		}
	}
	return own
}

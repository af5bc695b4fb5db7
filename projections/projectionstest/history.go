// Package projectionstest holds the laws that every read model keeps, and random histories to try them on.
package projectionstest

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/company"
	"github.com/tenure-dev/tenure/domain/domaintest"
	"github.com/tenure-dev/tenure/domain/environment"
	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/install"
	"github.com/tenure-dev/tenure/domain/key"
	"github.com/tenure-dev/tenure/domain/leak"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/plugin"
	"github.com/tenure-dev/tenure/domain/probe"
	"github.com/tenure-dev/tenure/domain/runtime"
	"github.com/tenure-dev/tenure/domain/secret"
	"github.com/tenure-dev/tenure/eventstore"
)

// History is a log in the making: facts come only from deciders, so it is one that could have happened.
type History struct {
	t      require.TestingT
	Events []eventstore.Recorded

	versions map[eventstore.Stream]int64
	now      time.Time
	leases   map[uuid.UUID]lease.State
	execs    map[uuid.UUID]execution.State
	runtimes map[uuid.UUID]runtime.State
	envs     map[uuid.UUID]environment.State
	keys     map[uuid.UUID]key.State
	plugins  map[uuid.UUID]plugin.State
	installs map[uuid.UUID]install.State
	probes   map[uuid.UUID]probe.State
	secrets  map[uuid.UUID]secret.State
	leaks    map[uuid.UUID]leak.State
}

// NewHistory makes an empty history.
func NewHistory(t require.TestingT) *History {
	return &History{
		t: t, versions: map[eventstore.Stream]int64{}, now: domaintest.Noon,
		leases: map[uuid.UUID]lease.State{}, execs: map[uuid.UUID]execution.State{}, runtimes: map[uuid.UUID]runtime.State{},
		envs: map[uuid.UUID]environment.State{}, keys: map[uuid.UUID]key.State{}, plugins: map[uuid.UUID]plugin.State{},
		installs: map[uuid.UUID]install.State{}, probes: map[uuid.UUID]probe.State{}, secrets: map[uuid.UUID]secret.State{},
		leaks: map[uuid.UUID]leak.State{},
	}
}

// Now is the time of the next fact.
func (h *History) Now() time.Time { return h.now }

// Pass lets time pass.
func (h *History) Pass(d time.Duration) { h.now = h.now.Add(d) }

// Lease asks a lease; a refusal changes nothing.
func (h *History) Lease(id uuid.UUID, c lease.Command) {
	h.leases[id] = act(h, lease.Category, id, lease.Decider, lease.Codec, h.leases[id], c)
}

// Exec asks a command.
func (h *History) Exec(id uuid.UUID, c execution.Command) {
	h.execs[id] = act(h, execution.Category, id, execution.Decider, execution.Codec, h.execs[id], c)
}

// Runtime asks a runtime.
func (h *History) Runtime(id uuid.UUID, c runtime.Command) {
	h.runtimes[id] = act(h, runtime.Category, id, runtime.Decider, runtime.Codec, h.runtimes[id], c)
}

// Environment asks an environment.
func (h *History) Environment(id uuid.UUID, c environment.Command) {
	h.envs[id] = act(h, environment.Category, id, environment.Decider, environment.Codec, h.envs[id], c)
}

// Key asks a key.
func (h *History) Key(id uuid.UUID, c key.Command) {
	h.keys[id] = act(h, key.Category, id, key.Decider, key.Codec, h.keys[id], c)
}

// Plugin asks a plugin.
func (h *History) Plugin(id uuid.UUID, c plugin.Command) {
	h.plugins[id] = act(h, plugin.Category, id, plugin.Decider, plugin.Codec, h.plugins[id], c)
}

// Install asks a wish to install.
func (h *History) Install(id uuid.UUID, c install.Command) {
	h.installs[id] = act(h, install.Category, id, install.Decider, install.Codec, h.installs[id], c)
}

// Probe asks a probe.
func (h *History) Probe(id uuid.UUID, c probe.Command) {
	h.probes[id] = act(h, probe.Category, id, probe.Decider, probe.Codec, h.probes[id], c)
}

// Secret asks a secret.
func (h *History) Secret(id uuid.UUID, c secret.Command) {
	h.secrets[id] = act(h, secret.Category, id, secret.Decider, secret.Codec, h.secrets[id], c)
}

// Leak asks a leak.
func (h *History) Leak(id uuid.UUID, c leak.Command) {
	h.leaks[id] = act(h, leak.Category, id, leak.Decider, leak.Codec, h.leaks[id], c)
}

// Company adds a company.
func (h *History) Company(id uuid.UUID, name string) {
	act(h, company.Category, id, company.Decider, company.Codec, company.State{}, company.Command(company.Add{Name: name}))
}

func act[S, C any, E domain.Event](
	h *History, category string, id uuid.UUID, d domain.Decider[S, C, E], codec domain.Codec[E], s S, c C,
) S {
	events, err := d.Decide(s, c)
	if err != nil {
		return s
	}
	stream := eventstore.StreamOf(category, id)
	for _, e := range events {
		name, revision, payload, err := codec.Encode(e)
		require.NoError(h.t, err)
		h.versions[stream]++
		r := eventstore.Recorded{
			Position: int64(len(h.Events)) + 1, Epoch: 1, Stream: stream, Version: h.versions[stream], Name: name, Revision: revision,
			Company: domaintest.Company, RecordedAt: h.now, Payload: payload,
		}
		h.Events = append(h.Events, r)
		s = d.Evolve(s, e, r.Meta())
	}
	return s
}

// few are the ids that random histories use, so that things meet.
func few[I ~struct{ uuid.UUID }](t *rapid.T, label string, from byte) uuid.UUID {
	return struct{ uuid.UUID }(domaintest.ID[I](from + rapid.Byte().Draw(t, label)%4)).UUID
}

// Random draws a history.
func Random(t *rapid.T) []eventstore.Recorded {
	h := NewHistory(t)
	h.Company(domaintest.Company.UUID, "Acme")
	for range rapid.IntRange(1, 80).Draw(t, "steps") {
		h.Pass(time.Duration(rapid.IntRange(0, 5_000_000).Draw(t, "µs")) * time.Microsecond)
		switch rapid.IntRange(0, 14).Draw(t, "what") {
		case 0:
			h.Environment(few[domain.EnvironmentID](t, "env", 20), drawEnvironment(t))
		case 1:
			h.Key(few[domain.KeyID](t, "key", 30), drawKey(t))
		case 2, 3:
			h.Runtime(few[domain.RuntimeID](t, "runtime", 40), drawRuntime(t))
		case 4, 5:
			id := few[domain.ExecID](t, "exec", 50)
			h.Exec(id, drawExec(t, h.execs[id]))
		case 6:
			h.Plugin(few[domain.PluginID](t, "plugin", 70), drawPlugin(t))
		case 7:
			h.Install(few[domain.InstallID](t, "install", 80), drawInstall(t))
		case 8:
			h.Probe(few[domain.ProbeID](t, "probe", 90), h.drawProbe(t))
		case 9:
			h.Secret(few[domain.SecretID](t, "secret", 100), drawSecret(t))
		case 10:
			h.Leak(few[domain.LeakID](t, "leak", 110), drawLeak(t))
		default:
			id := few[domain.LeaseID](t, "lease", 60)
			h.Lease(id, h.drawLease(t, id))
		}
	}
	return h.Events
}

func drawEnvironment(t *rapid.T) environment.Command {
	r := domaintest.EnvironmentRegistered()
	r.MaxLeases = rapid.IntRange(0, 3).Draw(t, "max")
	if rapid.Bool().Draw(t, "bare") {
		r.Metadata, r.EnvVars = nil, nil
	} else if rapid.Bool().Draw(t, "secret") {
		r.EnvVars = map[string]domain.EnvValue{"LANG": {Plain: "C.UTF-8"}, "TOKEN": {Ref: domain.SecretRef{Secret: domaintest.Secret, Version: 2}}}
	}
	return rapid.SampledFrom([]environment.Command{
		environment.Register{Registered: r},
		environment.Reconfigure{Reconfigured: environment.Reconfigured{
			Name: "other", Driver: "local", Config: json.RawMessage(`{ "a": "<b>" }`), MaxLeases: r.MaxLeases,
		}},
		environment.Archive{}, environment.Delete{}, environment.Retire{}, environment.Retire{Delete: true},
	}).Draw(t, "command")
}

func drawSecret(t *rapid.T) secret.Command {
	version := rapid.IntRange(1, 3).Draw(t, "version")
	return rapid.SampledFrom([]secret.Command{
		secret.Add{Added: domaintest.SecretAdded()},
		secret.Add{Added: domaintest.SecretAdded()},
		secret.AddVersion{},
		secret.Disable{Version: version},
		secret.Enable{Version: version},
		secret.DestroyVersion{Version: version},
		secret.Destroy{},
	}).Draw(t, "command")
}

func drawLeak(t *rapid.T) leak.Command {
	provider := "provider-lease-1"
	found := leak.Found{Company: domaintest.Company, Driver: "docker", Provider: "docker", Why: leak.WhyUnknown, FirstSeen: domaintest.Noon}
	if rapid.Bool().Draw(t, "known") {
		found.Lease, found.Runtime, found.ProviderLeaseID, found.Why = domaintest.Lease, domaintest.Runtime, &provider, leak.WhyLate
	}
	return rapid.SampledFrom([]leak.Command{
		leak.Find{Found: found}, leak.Find{Found: found}, leak.IntendDestroy{Worker: domaintest.Worker},
		leak.FailDestroy{Code: "busy", Message: "in use"}, leak.Clear{Proof: leak.ProofDestroyed}, leak.Clear{Proof: leak.ProofPerson, Reason: "<why>"},
	}).Draw(t, "command")
}

func drawKey(t *rapid.T) key.Command {
	return rapid.SampledFrom([]key.Command{key.Add{Added: domaintest.KeyAdded()}, key.Revoke{}}).Draw(t, "command")
}

func drawPlugin(t *rapid.T) plugin.Command {
	one := domaintest.PluginInstalled()
	two := one
	two.Version, two.Manifest = "2.0.0", json.RawMessage(`{ "id": "acme.boxes", "b": 1, "a": 2 }`)
	return rapid.SampledFrom([]plugin.Command{
		plugin.Install{Installed: one}, plugin.Install{Installed: two}, plugin.Enable{}, plugin.Disable{Reason: "<why>"},
	}).Draw(t, "command")
}

func drawInstall(t *rapid.T) install.Command {
	return rapid.SampledFrom([]install.Command{
		install.Request{Requested: install.Requested{Source: "/opt/acme", Node: domaintest.Node}},
		install.Complete{Completed: install.Completed{Plugin: plugin.IDOf("acme.boxes"), Version: "1"}},
		install.Fail{Failed: install.Failed{Code: "manifest_invalid", Message: "no"}},
	}).Draw(t, "command")
}

func (h *History) drawProbe(t *rapid.T) probe.Command {
	asked := domaintest.ProbeRequested()
	if rapid.Bool().Draw(t, "bare") {
		asked.Config, asked.Kept, asked.Environment = nil, nil, domain.EnvironmentID{}
	}
	return rapid.SampledFrom([]probe.Command{
		probe.Request{Requested: asked},
		probe.Claim{Worker: domaintest.Worker, Now: h.now, Deadline: h.now.Add(time.Second)},
		probe.Complete{Completed: probe.Completed{Summary: "fine", OK: true}},
	}).Draw(t, "command")
}

func drawRuntime(t *rapid.T) runtime.Command {
	provider := "provider-lease-1"
	return rapid.SampledFrom([]runtime.Command{
		runtime.Intend{Intended: runtime.Intended{Company: domaintest.Company, Lease: domaintest.Lease, Driver: "local", Provider: "local"}},
		runtime.Hold{Lease: domaintest.Lease, ProviderLeaseID: &provider},
		runtime.Hold{Lease: domaintest.Lease},
		runtime.Destroy{Lease: domaintest.Lease, Reason: "released"},
		runtime.ConfirmDestroyed{Proof: runtime.ProofReleased},
		runtime.ConfirmDestroyed{Proof: runtime.ProofNeverMade},
	}).Draw(t, "command")
}

func drawExec(t *rapid.T, s execution.State) execution.Command {
	code := rapid.IntRange(0, 255).Draw(t, "code")
	seal := execution.OutputSealed{State: execution.SealComplete, Stdout: execution.Stream{Bytes: 3, SHA256: domaintest.Hash}}
	return rapid.SampledFrom([]execution.Command{
		execution.Request{Requested: domaintest.ExecRequested()},
		execution.Request{Requested: domaintest.ExecRequested()},
		execution.Claim{Worker: domaintest.Worker},
		execution.Start{Worker: s.Worker, Started: execution.Started{PID: 7, StartTime: 8, BootID: "b"}},
		execution.Finish{Worker: s.Worker, Ended: execution.Ended{End: execution.EndExited, ExitCode: &code}, OutputSealed: &seal},
		execution.RequestKill{By: domaintest.Principal, Why: "<why>"},
		execution.Abandon{Why: "worker gone"},
		execution.Refuse{Stage: "lease", Code: "lease_ended", Message: "it ended"},
	}).Draw(t, "command")
}

// drawLease draws a command with the numbers that the lease would take, so that histories get far.
func (h *History) drawLease(t *rapid.T, id uuid.UUID) lease.Command {
	s := h.leases[id]
	deadline := h.now.Add(time.Duration(rapid.IntRange(0, 10).Draw(t, "deadline")) * time.Second)
	retry := h.now.Add(time.Second)
	request := domaintest.LeaseRequested()
	if rapid.Bool().Draw(t, "bare") {
		request.Config, request.Env, request.Context = nil, nil, lease.Context{}
	}
	reason := rapid.SampledFrom([]lease.Reason{lease.ReasonReleased, lease.ReasonExpired, lease.ReasonFailed}).Draw(t, "reason")
	kind := rapid.SampledFrom([]lease.FailureKind{lease.FailureRetryable, lease.FailureDefinite, lease.FailureAmbiguous}).Draw(t, "kind")
	all := []lease.Command{
		lease.Cancel{Reason: "not needed"},
		lease.Provision{Attempt: s.Attempt, Worker: s.Worker, Metadata: json.RawMessage(`{"driver":"local"}`), Acquisition: lease.AcquisitionCreated, Now: h.now},
		lease.FailProvisioning{Attempt: s.Attempt, Worker: s.Worker, Kind: kind, Code: "disk_full", Message: "no space", RetryAt: &retry},
		lease.Renew{Now: h.now.Add(2 * time.Minute)},
		lease.Expire{Now: s.ExpiresAt.Add(-time.Minute)},
		lease.Release{Reason: reason, Message: "why"},
		lease.Expire{Now: h.now.Add(48 * time.Hour), Renewable: h.now.Add(48 * time.Hour)},
		lease.FailRelease{Attempt: s.Teardown, Worker: s.Worker, Code: "busy", Message: "in use", RetryAt: retry},
		lease.FailRelease{Attempt: s.Teardown, Worker: s.Worker, Code: "busy", Message: "in use", RetryAt: retry, Limit: 1},
		lease.RetryCleanup{}, lease.ForceCleanup{Reason: "stuck"}, lease.ConfirmCleanup{},
	}
	likely := []lease.Command{
		lease.Request{Requested: request},
		lease.Grant{Slot: 1},
		lease.StartProvisioning{Runtime: domaintest.Runtime, Worker: domaintest.Worker, Now: h.now, Deadline: deadline, WorkerDead: true},
		lease.StartRelease{Worker: domaintest.Worker, Now: h.now, Deadline: deadline, WorkerDead: true},
		lease.FinishRelease{Attempt: s.Teardown, Worker: s.Worker},
	}
	return rapid.SampledFrom(append(append(append(all, likely...), likely...), likely[:3]...)).Draw(t, "command")
}

// Append puts a history into a real store; positions and times become the store's own.
func Append(t testing.TB, store eventstore.Store, events []eventstore.Recorded) (last int64) {
	t.Helper()
	for len(events) > 0 {
		n := min(len(events), eventstore.MaxAppendEvents)
		a := eventstore.Append{ID: uuid.New()}
		named := map[eventstore.Stream]bool{}
		for _, e := range events[:n] {
			a.Events = append(a.Events, eventstore.NewEvent{
				Stream: e.Stream, Name: e.Name, Revision: e.Revision, Company: e.Company, Payload: e.Payload,
			})
			if !named[e.Stream] {
				named[e.Stream] = true
				a.Expect = append(a.Expect, eventstore.Expectation{Stream: e.Stream, Expect: eventstore.Any})
			}
		}
		result, err := store.Submit(a).Wait(t.Context())
		require.NoError(t, err)
		last, events = result.Last, events[n:]
	}
	return last
}

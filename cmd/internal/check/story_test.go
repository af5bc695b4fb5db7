package check_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/cmd/internal/check"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/admission"
	"github.com/tenure-dev/tenure/domain/catalog"
	"github.com/tenure-dev/tenure/domain/company"
	"github.com/tenure-dev/tenure/domain/environment"
	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/runtime"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/projections"
	readmodels "github.com/tenure-dev/tenure/projections/catalog"
)

// story is a history in the making: events by hand, not by the deciders, with what the provider wrote and the clients were told
// beside them.
type story struct {
	check.History
	t       testing.TB
	now     time.Time
	epoch   int64
	ids     uint64
	company domain.CompanyID
	env     domain.EnvironmentID
	worker  domain.WorkerID
	// fences are of the leases that were granted, states how those ended that did, holder who holds each runtime.
	fences       map[domain.LeaseID]int64
	states       map[domain.LeaseID]string
	holder       map[domain.RuntimeID]domain.LeaseID
	count        *count
	installation string
}

const provider = "fake"

func newStory(t testing.TB) *story {
	t.Helper()
	s := &story{t: t, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), epoch: 1, installation: "here", count: newCount()}
	s.fences, s.states, s.holder = map[domain.LeaseID]int64{}, map[domain.LeaseID]string{}, map[domain.RuntimeID]domain.LeaseID{}
	s.company, s.env, s.worker = domain.CompanyID{UUID: s.id()}, domain.EnvironmentID{UUID: s.id()}, domain.WorkerID{UUID: s.id()}
	s.Ledgers = []check.Ledger{{Provider: provider, Class: check.ClassIdempotent, Installation: s.installation}}
	s.Limits = check.Limits{Settled: true, Sweep: time.Second, Slack: 5 * time.Second, Skew: 50 * time.Millisecond, Reaper: time.Minute}
	s.append(uuid.Nil, on("company", s.company.UUID, company.Added{Name: "Acme"}))
	s.append(uuid.Nil,
		on("environment", s.env.UUID, environment.Registered{Company: s.company, Name: "e", Driver: "fake", Config: []byte(`{}`), MaxLeases: 2}),
		on("admission", s.env.UUID, admission.Opened{Capacity: 2}))
	return s
}

// id is a new id, the same in every run.
func (s *story) id() uuid.UUID {
	s.ids++
	var u uuid.UUID
	for i := range 8 {
		u[15-i] = byte(s.ids >> (8 * i))
	}
	u[0], u[6], u[8] = 0xc0, 0x40, 0x80
	return u
}

// fact is an event of a stream.
type fact struct {
	stream eventstore.Stream
	event  domain.Event
}

func on(category string, id uuid.UUID, e domain.Event) fact {
	return fact{eventstore.StreamOf(category, id), e}
}

// append puts events on the log as one append, by a request or by the engine.
func (s *story) append(request uuid.UUID, facts ...fact) {
	s.t.Helper()
	id := s.id()
	for i, f := range facts {
		name, revision, payload, err := catalog.Encode(f.event)
		require.NoError(s.t, err)
		s.Log = append(s.Log, eventstore.Recorded{
			Epoch: s.epoch, Stream: f.stream, Name: name, Revision: revision, Company: s.company, RecordedAt: s.now, AppendID: id, AppendIndex: i,
			By: eventstore.Attribution{Request: request}, Payload: payload,
		})
	}
	fresh := s.Log[len(s.Log)-len(facts):]
	s.count.number(fresh)
	for i, f := range facts {
		s.remember(fresh[i], f)
	}
}

// remember notes what later steps need to know.
func (s *story) remember(r eventstore.Recorded, f fact) {
	id, err := f.stream.ID()
	require.NoError(s.t, err)
	switch e := f.event.(type) {
	case lease.Granted:
		s.fences[domain.LeaseID{UUID: id}] = r.Epoch<<40 + r.Position
	case lease.Released, lease.Expired, lease.Failed, lease.Canceled, lease.Retained:
		s.states[domain.LeaseID{UUID: id}] = strings.ToLower(strings.TrimPrefix(r.Name, "Lease"))
	case runtime.Held:
		s.holder[domain.RuntimeID{UUID: id}] = e.Lease
	case runtime.Freed:
		delete(s.holder, domain.RuntimeID{UUID: id})
	}
}

// count is where a log has got to.
type count struct {
	position  int64
	versions  map[eventstore.Stream]int64
	companies map[domain.CompanyID]int64
}

func newCount() *count {
	return &count{versions: map[eventstore.Stream]int64{}, companies: map[domain.CompanyID]int64{}}
}

// number gives positions and versions to what comes next.
func (c *count) number(records []eventstore.Recorded) {
	for i := range records {
		r := &records[i]
		c.position++
		c.versions[r.Stream]++
		c.companies[r.Company]++
		r.Position, r.Version, r.CompanyPosition = c.position, c.versions[r.Stream], c.companies[r.Company]
	}
}

// cutTo takes away all that comes after the first events.
func (s *story) cutTo(n int) {
	s.Log = s.Log[:n:n]
	s.count = newCount()
	s.count.number(s.Log)
}

func (s *story) pass(d time.Duration) { s.now = s.now.Add(d) }

// head is the position of the last event.
func (s *story) head() int64 { return int64(len(s.Log)) }

// held is a lease of a story.
type held struct {
	id       domain.LeaseID
	runtime  domain.RuntimeID
	thing    string
	slot     int
	attempts int
	key      string
}

func (s *story) fence(h *held) int64 { return s.fences[h.id] }

const (
	ttl    = time.Hour
	idle   = 10 * time.Minute
	retain = 20 * time.Minute
)

// call notes a call that was answered at once.
func (s *story) call(c check.Call) *check.Call {
	if c.Request == uuid.Nil {
		c.Request = s.id()
	}
	c.Client, c.Scope, c.Sent, c.Answered = "client", s.company.String()+" "+string(c.Verb), s.now, s.now.Add(time.Millisecond)
	s.Calls = append(s.Calls, c)
	return &s.Calls[len(s.Calls)-1]
}

// ask requests a lease: granted if there is a slot, else in the queue.
func (s *story) ask(policy lease.Policy, slot int, from *held) *held {
	h := &held{id: domain.LeaseID{UUID: s.id()}, slot: slot, key: s.id().String()}
	request := s.id()
	requested := lease.Requested{
		Company: s.company, Environment: s.env, EnvironmentVersion: 1, Driver: "fake", Provider: provider, Config: []byte(`{}`), Run: "run",
		Policy: policy, TTLMs: ttl.Milliseconds(), IdleTimeoutMs: idle.Milliseconds(), MaxTTLMs: (24 * time.Hour).Milliseconds(),
	}
	if policy != lease.PolicyEphemeral {
		requested.RetainForMs = retain.Milliseconds()
	}
	facts := []fact{on("lease", h.id.UUID, requested)}
	switch {
	case slot == 0:
		facts = append(facts, on("admission", s.env.UUID, admission.Waiting{Lease: h.id}))
	case from == nil:
		facts = append(facts, s.grants(h)...)
	default:
		facts = append(facts, on("admission", s.env.UUID, admission.Admitted{Lease: h.id, Slot: slot, From: from.id}),
			on("lease", h.id.UUID, lease.Granted{Slot: slot, From: from.id}))
	}
	s.append(request, facts...)
	s.call(check.Call{
		Verb: check.VerbAcquire, Request: request, Key: h.key, Status: 202,
		Answer: check.Answer{Lease: h.id.UUID, Fence: s.fence(h), State: "queued", Position: s.head()},
	})
	return h
}

func (s *story) grants(h *held) []fact {
	return []fact{
		on("admission", s.env.UUID, admission.Admitted{Lease: h.id, Slot: h.slot}), on("lease", h.id.UUID, lease.Granted{Slot: h.slot}),
	}
}

func (s *story) ledger(e check.Entry) {
	e.At = s.now
	s.Ledgers[0].Entries = append(s.Ledgers[0].Entries, e)
}

// claim starts an attempt; resumes is the lease whose runtime it resumes.
func (s *story) claim(h *held, resumes *held) {
	h.attempts++
	started := lease.ProvisioningStarted{Attempt: h.attempts, Worker: s.worker, Deadline: s.now.Add(time.Minute)}
	if resumes != nil {
		h.runtime, h.thing = resumes.runtime, resumes.thing
		started.Runtime, started.Resumes, started.ProviderLeaseID = h.runtime, resumes.id, &h.thing
		s.append(uuid.Nil, on("lease", h.id.UUID, started), on("runtime", h.runtime.UUID, runtime.Held{Lease: h.id}),
			on("lease", resumes.id.UUID, lease.RuntimePassed{To: h.id}))
		return
	}
	fresh := h.runtime.IsZero()
	if fresh {
		h.runtime = domain.RuntimeID{UUID: s.id()}
		h.thing = "thing-" + h.runtime.String()[30:]
	}
	started.Runtime = h.runtime
	facts := []fact{on("lease", h.id.UUID, started)}
	if fresh {
		facts = append(facts, on("runtime", h.runtime.UUID, runtime.Intended{Company: s.company, Environment: s.env, Lease: h.id, Driver: "fake", Provider: provider}))
	}
	s.append(uuid.Nil, facts...)
}

// provide is the good end of an attempt.
func (s *story) provide(h *held, resumes *held) {
	s.pass(time.Second)
	op, acquisition := check.OpCreate, lease.AcquisitionCreated
	if resumes != nil {
		op, acquisition = check.OpHold, lease.AcquisitionResumed
	}
	s.ledger(check.Entry{Op: op, Thing: h.thing, Runtime: h.runtime.UUID, Installation: s.installation, Lease: h.id.UUID, Fence: s.fence(h)})
	s.pass(time.Second)
	facts := []fact{on("lease", h.id.UUID, lease.Provisioned{
		Attempt: h.attempts, Runtime: h.runtime, ProviderLeaseID: &h.thing, Acquisition: acquisition,
		HardExpiresAt: s.now.Add(ttl), ExpiresAt: s.now.Add(idle),
	})}
	if resumes == nil {
		facts = append(facts, on("runtime", h.runtime.UUID, runtime.Made{ProviderLeaseID: &h.thing}), on("runtime", h.runtime.UUID, runtime.Held{Lease: h.id}))
	}
	s.append(uuid.Nil, facts...)
	s.call(check.Call{
		Verb: check.VerbShowLease, Lease: h.id.UUID, Status: 200,
		Answer: check.Answer{Lease: h.id.UUID, State: "active", Fence: s.fence(h), ProviderLeaseID: &h.thing, Position: s.head()},
	})
}

// acquire is a whole acquire.
func (s *story) acquire(policy lease.Policy, slot int) *held {
	h := s.ask(policy, slot, nil)
	s.claim(h, nil)
	s.provide(h, nil)
	return h
}

func (s *story) renew(h *held) *check.Call {
	s.pass(2 * time.Minute)
	request := s.id()
	s.append(request, on("lease", h.id.UUID, lease.Renewed{ExpiresAt: s.now.Add(idle)}))
	return s.call(check.Call{
		Verb: check.VerbRenew, Request: request, Key: s.id().String(), Lease: h.id.UUID, Fence: s.fence(h), Status: 200,
		Answer: check.Answer{Lease: h.id.UUID, State: "active", Fence: s.fence(h), ExpiresAt: s.now.Add(idle), Position: s.head()},
	})
}

// exec runs a command to its end.
func (s *story) exec(h *held, code int) domain.ExecID {
	id, request := domain.ExecID{UUID: s.id()}, s.id()
	s.append(request, on(execution.Category, id.UUID, execution.Requested{Company: s.company, Lease: h.id, Argv: []string{"exit"}}))
	s.call(check.Call{
		Verb: check.VerbExec, Request: request, Key: s.id().String(), Lease: h.id.UUID, Fence: s.fence(h), Status: 201,
		Answer: check.Answer{Exec: id.UUID, Position: s.head()},
	})
	s.append(uuid.Nil, on(execution.Category, id.UUID, execution.Claimed{Worker: s.worker}))
	s.pass(time.Second)
	s.ledger(check.Entry{Op: check.OpExec, Thing: h.thing, Runtime: h.runtime.UUID, Lease: h.id.UUID, Fence: s.fence(h), Exec: id.UUID})
	s.append(uuid.Nil, on(execution.Category, id.UUID, execution.Started{PID: 7}))
	s.pass(time.Second)
	s.append(uuid.Nil, on(execution.Category, id.UUID, execution.Ended{End: execution.EndExited, ExitCode: &code}), on(execution.Category, id.UUID, execution.NoOutput))
	s.call(check.Call{
		Verb: check.VerbShowExec, Exec: id.UUID, Status: 200, Answer: check.Answer{Exec: id.UUID, End: "exited", ExitCode: &code, Position: s.head()},
	})
	return id
}

// release is a client's wish to end a lease.
func (s *story) release(h *held, disposition lease.Disposition) {
	s.pass(time.Second)
	request := s.id()
	s.append(request, on("lease", h.id.UUID, lease.ReleaseRequested{Reason: lease.ReasonReleased, Disposition: disposition}))
	s.call(check.Call{
		Verb: check.VerbRelease, Request: request, Key: s.id().String(), Lease: h.id.UUID, Fence: s.fence(h), Status: 202,
		Answer: check.Answer{Lease: h.id.UUID, State: "releasing", Fence: s.fence(h), Position: s.head()},
	})
}

// expire is the engine's own wish to end a lease.
func (s *story) expire(h *held) {
	s.append(uuid.Nil, on("lease", h.id.UUID, lease.ReleaseRequested{Reason: lease.ReasonExpired}))
}

// startTeardown claims the teardown of a lease: its attempt, from 1.
func (s *story) startTeardown(h *held, attempt int) {
	facts := []fact{on("lease", h.id.UUID, lease.ReleaseStarted{Attempt: attempt, Worker: s.worker, Deadline: s.now.Add(time.Minute)})}
	if attempt == 1 {
		if s.holds(h) {
			facts = append(facts, on("runtime", h.runtime.UUID, runtime.Freed{Lease: h.id}))
		}
		facts = append(facts, on("runtime", h.runtime.UUID, runtime.DestroyIntended{Reason: "released"}))
	}
	s.append(uuid.Nil, facts...)
}

// holds reports whether the lease holds its runtime.
func (s *story) holds(h *held) bool { return s.holder[h.runtime] == h.id }

// destroy ends a lease's teardown: the thing goes, the lease ends, and its slot is free for whoever is next.
func (s *story) destroy(h *held, end lease.Event, next *held) {
	s.pass(time.Second)
	s.ledger(check.Entry{Op: check.OpDestroy, Thing: h.thing, Runtime: h.runtime.UUID, Lease: h.id.UUID, Fence: s.fence(h)})
	s.pass(time.Second)
	facts := []fact{
		on("lease", h.id.UUID, end), on("admission", s.env.UUID, admission.Freed{Lease: h.id, Slot: h.slot}),
	}
	if next != nil {
		next.slot = h.slot
		facts = append(facts, s.grants(next)...)
	}
	facts = append(facts, on("runtime", h.runtime.UUID, runtime.Destroyed{Proof: runtime.ProofReleased}))
	s.append(uuid.Nil, facts...)
	s.told(h)
}

// told shows the lease to a client.
func (s *story) told(h *held) {
	s.call(check.Call{
		Verb: check.VerbShowLease, Lease: h.id.UUID, Status: 200,
		Answer: check.Answer{Lease: h.id.UUID, State: s.states[h.id], Fence: s.fence(h), Position: s.head()},
	})
}

// keep ends a lease whose runtime is kept.
func (s *story) keep(h *held) {
	s.append(uuid.Nil, on("lease", h.id.UUID, lease.ReleaseStarted{Attempt: 1, Worker: s.worker, Deadline: s.now.Add(time.Minute)}))
	s.pass(time.Second)
	s.ledger(check.Entry{Op: check.OpKeep, Thing: h.thing, Runtime: h.runtime.UUID, Lease: h.id.UUID, Fence: s.fence(h)})
	s.pass(time.Second)
	s.append(uuid.Nil,
		on("lease", h.id.UUID, lease.Retained{Disposition: lease.DispositionKeepRunning, KeptUntil: s.now.Add(retain)}),
		on("runtime", h.runtime.UUID, runtime.Freed{Lease: h.id}),
		on("admission", s.env.UUID, admission.Idled{Lease: h.id, Scope: "scope"}))
	s.told(h)
}

// end closes the story: the read models are what they should be, and hashes are there.
func (s *story) end() check.History {
	s.t.Helper()
	s.Limits.End = s.now
	s.ReadModels = readModels(s.t, s.Log)
	seal(s.Log)
	return s.History
}

// seal chains a log.
func seal(log []eventstore.Recorded) {
	last := map[eventstore.Stream][]byte{}
	for i := range log {
		r := &log[i]
		r.Salt = []byte("salt")
		r.Commitment = eventstore.Commit(r.Salt, r.Payload)
		if r.PrevHash = last[r.Stream]; r.PrevHash == nil {
			r.PrevHash = eventstore.NoHash()
		}
		r.Hash = eventstore.Hash(*r)
		last[r.Stream] = r.Hash
	}
}

// readModels are the tables as they should be.
func readModels(t testing.TB, log []eventstore.Recorded) (tables []check.ReadModel) {
	t.Helper()
	for _, m := range readmodels.All() {
		rows := map[eventstore.Stream]projections.Stored{}
		for _, r := range log {
			if !m.Follows(r.Stream) {
				continue
			}
			row, err := m.Fold(rows[r.Stream], projections.NewEvent(r.Fact()))
			require.NoError(t, err)
			if row == nil {
				delete(rows, r.Stream)
			} else {
				rows[r.Stream] = row
			}
		}
		table := check.ReadModel{Name: m.Key().Name, Revision: m.Key().Revision, Position: int64(len(log))}
		for _, row := range rows {
			values, err := m.Encode(row)
			require.NoError(t, err)
			at := row.Place()
			table.Rows = append(table.Rows, check.Row{
				Stream: at.Stream, Created: at.Created, Version: at.Version, Position: at.Position, Data: values[4].(json.RawMessage),
			})
		}
		slices.SortFunc(table.Rows, func(a, b check.Row) int { return int(a.Created - b.Created) })
		tables = append(tables, table)
	}
	return tables
}

// again numbers and chains a log whose events were moved about, and folds it anew.
func again(t testing.TB, h *check.History) {
	t.Helper()
	newCount().number(h.Log)
	h.ReadModels = readModels(t, h.Log)
	seal(h.Log)
}

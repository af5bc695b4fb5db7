package check_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/cmd/internal/check"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/admission"
	"github.com/tenure-dev/tenure/domain/catalog"
	"github.com/tenure-dev/tenure/domain/epoch"
	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/leak"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/outage"
	"github.com/tenure-dev/tenure/eventstore"
)

// whole is a history in which everything happens once and nothing is wrong. What a plant breaks is found in it by these.
type whole struct {
	check.History
	t testing.TB
	// released was released by its holder and torn down at the second try; kept kept its runtime, resumed took that over and was
	// destroyed; expired waited, was made at the second attempt and ran out; canceled was given up before anything was made.
	// timedOut waited for a slot as long as it was to; living and keeping are active and keep a runtime at the end.
	released, kept, resumed, expired, canceled, timedOut, living, keeping *held
	// lost is a lease that a fork took away.
	lost *held
	// exec ran in released.
	exec domain.ExecID
	// leaked is a thing that nobody knew.
	leaked string
	// refused is the request of an acquire that was refused.
	refused uuid.UUID
}

func newWhole(t testing.TB) *whole {
	t.Helper()
	s := newStory(t)
	w := &whole{t: t}

	w.released = s.acquire(lease.PolicyEphemeral, 1)
	w.exec = s.exec(w.released, 3)
	s.renew(w.released)
	w.kept = s.acquire(lease.PolicyReuseByEnvironment, 2)
	w.expired = s.ask(lease.PolicyEphemeral, 0, nil)
	w.timedOut = s.queued(3 * time.Second)
	s.release(w.released, "")
	s.startTeardown(w.released, 1)
	s.pass(2 * time.Second)
	s.append(uuid.Nil, on("lease", w.released.id.UUID, lease.ReleaseFailed{Attempt: 1, Code: "busy", RetryAt: s.now.Add(time.Second)}))
	s.append(uuid.Nil, on("lease", w.timedOut.id.UUID, lease.Failed{Code: lease.CodeQueueTimeout}), on("admission", s.env.UUID, admission.Left{Lease: w.timedOut.id}))
	s.pass(2 * time.Second)
	s.startTeardown(w.released, 2)
	s.destroy(w.released, lease.Released{}, w.expired)

	s.claim(w.expired, nil)
	s.pass(time.Second)
	retry := s.now.Add(time.Second)
	s.append(uuid.Nil, on("lease", w.expired.id.UUID, lease.ProvisioningFailed{Attempt: 1, Kind: lease.FailureRetryable, Code: "away", RetryAt: &retry}))
	s.pass(2 * time.Second)
	s.claim(w.expired, nil)
	s.provide(w.expired, nil)
	made := s.now

	s.release(w.kept, lease.DispositionKeepRunning)
	s.keep(w.kept)
	w.resumed = s.ask(lease.PolicyReuseByEnvironment, 2, w.kept)
	s.claim(w.resumed, w.kept)
	s.provide(w.resumed, w.kept)
	s.exec(w.resumed, 0)
	for range 4 {
		s.renew(w.resumed)
	}
	s.pass(made.Add(idle).Sub(s.now))
	s.append(uuid.Nil, on("lease", w.expired.id.UUID, lease.ExpiryWarned{ExpiresAt: s.now}))
	s.pass(time.Second)
	s.expire(w.expired)
	s.startTeardown(w.expired, 1)
	s.destroy(w.expired, lease.Expired{}, nil)

	// Nobody can renew for five minutes; then the idle lease is as far from its end as before.
	gap := outage.RenewalsInterrupted{From: s.now, ShiftMs: (5 * time.Minute).Milliseconds(), CapMs: time.Hour.Milliseconds()}
	s.pass(5 * time.Minute)
	gap.To = s.now
	s.append(uuid.Nil, on(outage.Category, outage.ID, gap))
	s.pass(5 * time.Minute)
	s.renew(w.resumed)

	w.canceled = s.ask(lease.PolicyEphemeral, 1, nil)
	request := s.id()
	s.append(request, on("lease", w.canceled.id.UUID, lease.Canceled{Reason: "no more"}), on("admission", s.env.UUID, admission.Freed{Lease: w.canceled.id, Slot: 1}))
	s.call(check.Call{
		Verb: check.VerbCancel, Request: request, Key: s.id().String(), Lease: w.canceled.id.UUID, Status: 200,
		Answer: check.Answer{Lease: w.canceled.id.UUID, State: "canceled", Fence: s.fence(w.canceled)},
	})

	// A command without an answer is repeated, another one is refused.
	w.living = s.ask(lease.PolicyEphemeral, 1, nil)
	first := &s.Calls[len(s.Calls)-1]
	told, key := first.Answer, first.Key
	first.Status, first.Answered, first.Answer = 0, time.Time{}, check.Answer{}
	s.call(check.Call{Verb: check.VerbAcquire, Key: key, Status: 202, Replayed: true, Answer: told})
	s.claim(w.living, nil)
	s.provide(w.living, nil)
	w.refused = s.id()
	s.call(check.Call{Verb: check.VerbAcquire, Request: w.refused, Key: s.id().String(), Status: 429, Code: "no_capacity_now"})

	w.leaked = s.leak()
	w.fork(s)

	s.release(w.resumed, "")
	s.startTeardown(w.resumed, 1)
	s.destroy(w.resumed, lease.Released{}, nil)
	w.keeping = s.acquire(lease.PolicyReuseByEnvironment, 2)
	s.release(w.keeping, lease.DispositionKeepRunning)
	s.keep(w.keeping)
	s.renew(w.living)
	w.History = s.end()
	return w
}

// queued is a request that waits for a slot for a while at most.
func (s *story) queued(timeout time.Duration) *held {
	h := s.ask(lease.PolicyEphemeral, 0, nil)
	r := &s.Log[len(s.Log)-2]
	e, err := catalog.Decode(r.Name, r.Revision, r.Payload)
	require.NoError(s.t, err)
	requested := e.(lease.Requested)
	requested.Queue.TimeoutMs = timeout.Milliseconds()
	rewrite(s.t, r, requested)
	return h
}

// leak is a thing that somebody made under a name of ours: it is found and destroyed.
func (s *story) leak() string {
	unknown, id := domain.RuntimeID{UUID: s.id()}, "thing-unknown"
	s.ledger(check.Entry{Op: check.OpAppear, Thing: id, Runtime: unknown.UUID, Installation: s.installation})
	s.pass(time.Minute)
	of := leak.OfRuntime(unknown).UUID
	s.append(uuid.Nil, on(leak.Category, of, leak.Found{
		Runtime: unknown, Driver: "fake", Provider: provider, ProviderLeaseID: &id, Why: leak.WhyUnknown, Place: "here", FirstSeen: s.now,
	}))
	s.append(uuid.Nil, on(leak.Category, of, leak.DestroyIntended{Worker: s.worker}))
	s.ledger(check.Entry{Op: check.OpDestroy, Thing: id, Runtime: unknown.UUID})
	s.append(uuid.Nil, on(leak.Category, of, leak.Cleared{Proof: leak.ProofDestroyed}))
	return id
}

// fork loses a lease that was asked for, acknowledged, made and used, and adopts what is left.
func (w *whole) fork(s *story) {
	s.pass(time.Second)
	kept := len(s.Log)
	w.lost = s.ask(lease.PolicyEphemeral, 3, nil)
	s.claim(w.lost, nil)
	s.provide(w.lost, nil)
	s.Lost = slices.Clone(s.Log[kept:])
	s.cutTo(kept)
	s.epoch++
	s.pass(time.Second)
	s.append(uuid.Nil, on(epoch.Category, epoch.ID, epoch.Forked{Findings: []epoch.Finding{epoch.FindingLost}, FromEpoch: 1, Head: int64(kept)}))
	copied := slices.Clone(s.Log)
	s.pass(time.Minute)
	s.append(uuid.Nil, on(epoch.Category, epoch.ID, epoch.Adopted{Reason: "it is all there is"}))
	// What the lost lease had is found and destroyed.
	s.pass(10 * time.Second)
	of := leak.OfRuntime(w.lost.runtime).UUID
	s.append(uuid.Nil, on(leak.Category, of, leak.Found{Runtime: w.lost.runtime, Driver: "fake", Provider: provider, ProviderLeaseID: &w.lost.thing, Why: leak.WhyUnknown, FirstSeen: s.now}))
	s.append(uuid.Nil, on(leak.Category, of, leak.DestroyIntended{Worker: s.worker}))
	s.ledger(check.Entry{Op: check.OpDestroy, Thing: w.lost.thing, Runtime: w.lost.runtime.UUID})
	s.append(uuid.Nil, on(leak.Category, of, leak.Cleared{Proof: leak.ProofDestroyed}))
	s.Clones = []check.Clone{{Name: "copy", Log: copied}}
}

// Below: how a plant finds its place and changes it.

// find is the place of the n-th event (from 0) of a name in a stream.
func (w *whole) find(stream eventstore.Stream, name string, n int) int {
	w.t.Helper()
	for i, r := range w.Log {
		if r.Stream == stream && r.Name == name {
			if n == 0 {
				return i
			}
			n--
		}
	}
	w.t.Fatalf("there is no %s in %s", name, stream)
	return -1
}

func (w *whole) lease(h *held, name string) int {
	w.t.Helper()
	return w.find(eventstore.StreamOf("lease", h.id.UUID), name, 0)
}

func (w *whole) runtime(h *held, name string) int {
	w.t.Helper()
	return w.find(eventstore.StreamOf("runtime", h.runtime.UUID), name, 0)
}

func (w *whole) execution(name string) int {
	w.t.Helper()
	return w.find(eventstore.StreamOf(execution.Category, w.exec.UUID), name, 0)
}

// insert puts an append of its own behind a place of the log.
func (w *whole) insert(after int, request uuid.UUID, facts ...fact) {
	w.t.Helper()
	var more []eventstore.Recorded
	at := w.Log[after]
	for after+1 < len(w.Log) && w.Log[after+1].AppendID == at.AppendID {
		after++ // an append stands together
	}
	id := uuid.NewSHA1(at.AppendID, []byte(facts[0].event.EventName()))
	for i, f := range facts {
		name, revision, payload, err := catalog.Encode(f.event)
		require.NoError(w.t, err)
		more = append(more, eventstore.Recorded{
			Epoch: at.Epoch, Stream: f.stream, Name: name, Revision: revision, Company: at.Company, RecordedAt: at.RecordedAt, AppendID: id,
			AppendIndex: i, By: eventstore.Attribution{Request: request}, Payload: payload,
		})
	}
	w.Log = slices.Insert(w.Log, after+1, more...)
	again(w.t, &w.History)
}

// drop takes events out of the log, and their appends close the ranks.
func (w *whole) drop(places ...int) {
	w.t.Helper()
	slices.Sort(places)
	for _, i := range slices.Backward(places) {
		w.Log = slices.Delete(w.Log, i, i+1)
	}
	for i := range w.Log {
		if w.Log[i].AppendIndex = 0; i > 0 && w.Log[i-1].AppendID == w.Log[i].AppendID {
			w.Log[i].AppendIndex = w.Log[i-1].AppendIndex + 1
		}
	}
	again(w.t, &w.History)
}

// edit changes what an event says.
func edit[E domain.Event](w *whole, place int, change func(*E)) {
	w.t.Helper()
	r := &w.Log[place]
	decoded, err := catalog.Decode(r.Name, r.Revision, r.Payload)
	require.NoError(w.t, err)
	e := decoded.(E)
	change(&e)
	rewrite(w.t, r, e)
	again(w.t, &w.History)
}

func rewrite(t testing.TB, r *eventstore.Recorded, e domain.Event) {
	t.Helper()
	name, revision, payload, err := catalog.Encode(e)
	require.NoError(t, err)
	r.Name, r.Revision, r.Payload = name, revision, payload
}

// call is the first call that matches.
func (w *whole) call(match func(check.Call) bool) *check.Call {
	w.t.Helper()
	i := slices.IndexFunc(w.Calls, match)
	require.GreaterOrEqual(w.t, i, 0, "no such call")
	return &w.Calls[i]
}

// entry is the place of the first line of the ledger that matches.
func (w *whole) entry(op check.Op, thing string) int {
	w.t.Helper()
	i := slices.IndexFunc(w.Ledgers[0].Entries, func(e check.Entry) bool { return e.Op == op && e.Thing == thing })
	require.GreaterOrEqual(w.t, i, 0, "no such line")
	return i
}

// line puts a line into the ledger behind another one.
func (w *whole) line(after int, e check.Entry) {
	l := &w.Ledgers[0]
	if e.At.IsZero() {
		e.At = l.Entries[after].At
	}
	l.Entries = slices.Insert(l.Entries, after+1, e)
}

func (w *whole) table(name string) *check.ReadModel {
	w.t.Helper()
	i := slices.IndexFunc(w.ReadModels, func(m check.ReadModel) bool { return m.Name == name })
	require.GreaterOrEqual(w.t, i, 0, "no such read model")
	return &w.ReadModels[i]
}

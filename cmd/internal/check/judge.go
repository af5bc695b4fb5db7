package check

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/catalog"
	"github.com/tenure-dev/tenure/domain/epoch"
	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/outage"
	"github.com/tenure-dev/tenure/domain/runtime"
	"github.com/tenure-dev/tenure/eventstore"
)

// record is an event of the log, read once.
type record struct {
	*eventstore.Recorded
	// category and id are those of the stream; id is nil where it is no UUID.
	category string
	id       uuid.UUID
	// event is what it says; nil where it cannot be read, or was erased.
	event domain.Event
	// seq is its place in History.Log.
	seq int
}

// judge is a history on its way through the rules.
type judge struct {
	History
	records []record
	streams map[eventstore.Stream][]*record
	// requests are the events that each call led to, keys the requests of all calls with the same key.
	requests map[uuid.UUID][]*record
	keys     map[command][]uuid.UUID
	leases   map[uuid.UUID]*leaseStory
	runtimes map[uuid.UUID]*runtimeStory
	execs    map[uuid.UUID]*execStory
	lost     lost
	// gaps are RenewalsInterrupted, rests the times without drivers or without anybody who acts.
	gaps  []gapAt
	rests []Interval
	forks []fork

	rule       Rule
	violations []Violation
	looked     map[Rule]int
	finished   int
}

// lost is what forks took away.
type lost struct {
	requests map[uuid.UUID]*record
	streams  map[eventstore.Stream]bool
	records  []record
}

// leaseStory is what the log says of a lease, event by event.
type leaseStory struct {
	id        uuid.UUID
	records   []*record
	requested *record
	granted   *record
	// active is Provisioned; releasing is the first ReleaseRequested, ends are the events that end it.
	active, releasing *record
	ends              []*record
	forced, disowned  bool
	// kept is since it keeps a runtime; nil when it does not (any more).
	kept *record
}

// ended is the event that ended it; nil for none.
func (l *leaseStory) ended() *record {
	if len(l.ends) == 0 {
		return nil
	}
	return l.ends[0]
}

// over is when work in it ended: with the wish to release it or its end.
func (l *leaseStory) over() *record {
	end := l.ended()
	if l.releasing != nil && (end == nil || l.releasing.seq < end.seq) {
		return l.releasing
	}
	return end
}

// runtimeStory is what the log says of a runtime.
type runtimeStory struct {
	id      uuid.UUID
	records []*record
	origin  runtime.Intended
	// holder is who holds it at the end, last who did last or was to.
	holder, last uuid.UUID
	intended     *record
	// destroyed is the event; lost and disowned say that they happened.
	destroyed      *record
	lost, disowned bool
}

// execStory is what the log says of a command.
type execStory struct {
	id                 uuid.UUID
	records            []*record
	lease              uuid.UUID
	requested, claimed *record
	started, ended     *record
	end                execution.Ended
}

type gapAt struct {
	outage.RenewalsInterrupted
	seq int
}

// fork is a time in which nothing is driven.
type fork struct {
	forked, adopted *record
}

func newJudge(h History) *judge {
	j := &judge{
		History: h, looked: map[Rule]int{}, streams: map[eventstore.Stream][]*record{}, requests: map[uuid.UUID][]*record{},
		keys:   requestsOfKeys(h.Calls),
		leases: map[uuid.UUID]*leaseStory{}, runtimes: map[uuid.UUID]*runtimeStory{}, execs: map[uuid.UUID]*execStory{},
		lost: lost{requests: map[uuid.UUID]*record{}, streams: map[eventstore.Stream]bool{}},
	}
	j.records = read(h.Log)
	for i := range j.records {
		r := &j.records[i]
		j.streams[r.Stream] = append(j.streams[r.Stream], r)
		if r.By.Request != uuid.Nil {
			j.requests[r.By.Request] = append(j.requests[r.By.Request], r)
		}
		j.tell(r)
	}
	j.lost.records = read(h.Lost)
	for i := range j.lost.records {
		r := &j.lost.records[i]
		j.lost.streams[r.Stream] = true
		if r.By.Request != uuid.Nil {
			j.lost.requests[r.By.Request] = r
		}
	}
	if j.Limits.End.IsZero() && len(h.Log) > 0 {
		j.Limits.End = h.Log[len(h.Log)-1].RecordedAt
	}
	j.rests = slices.Clone(h.Away)
	for _, f := range j.forks {
		rest := Interval{From: f.forked.RecordedAt, To: j.Limits.End}
		if f.adopted != nil {
			rest.To = f.adopted.RecordedAt
		}
		j.rests = append(j.rests, rest)
	}
	for _, l := range j.leases {
		if l.ended() != nil {
			j.finished++
		}
	}
	return j
}

func read(log []eventstore.Recorded) []record {
	records := make([]record, len(log))
	for i := range log {
		r := record{Recorded: &log[i], category: log[i].Stream.Category(), seq: i}
		if id, err := log[i].Stream.ID(); err == nil {
			r.id = id
		}
		if log[i].Payload != nil {
			if e, err := catalog.Decode(log[i].Name, log[i].Revision, log[i].Payload); err == nil {
				r.event = e
			}
		}
		records[i] = r
	}
	return records
}

// tell adds an event to the story of its thing.
func (j *judge) tell(r *record) {
	switch r.category {
	case lease.Category:
		j.tellLease(r)
	case runtime.Category:
		j.tellRuntime(r)
	case execution.Category:
		j.tellExec(r)
	}
	switch e := r.event.(type) {
	case outage.RenewalsInterrupted:
		j.gaps = append(j.gaps, gapAt{e, r.seq})
	case epoch.Forked:
		if n := len(j.forks); n == 0 || j.forks[n-1].adopted != nil {
			j.forks = append(j.forks, fork{forked: r})
		}
	case epoch.Adopted:
		if n := len(j.forks); n > 0 && j.forks[n-1].adopted == nil {
			j.forks[n-1].adopted = r
		}
	}
}

func (j *judge) tellLease(r *record) {
	l := j.leases[r.id]
	if l == nil {
		l = &leaseStory{id: r.id}
		j.leases[r.id] = l
	}
	l.records = append(l.records, r)
	switch e := r.event.(type) {
	case lease.Requested:
		l.requested = first(l.requested, r)
	case lease.Granted:
		l.granted = first(l.granted, r)
	case lease.Provisioned:
		l.active = first(l.active, r)
	case lease.ReleaseRequested:
		l.releasing = first(l.releasing, r)
	case lease.Failed:
		l.ends = append(l.ends, r)
		if e.KeptUntil != nil {
			l.kept = r
		}
	case lease.Released, lease.Expired, lease.Canceled:
		l.ends = append(l.ends, r)
	case lease.Retained:
		l.ends, l.kept = append(l.ends, r), r
	case lease.RetentionEnded, lease.RuntimePassed:
		l.kept = nil
	case lease.CleanupForced:
		l.forced = true
	case lease.Disowned:
		l.disowned, l.kept = true, nil
	}
}

func (j *judge) tellRuntime(r *record) {
	rt := j.runtimes[r.id]
	if rt == nil {
		rt = &runtimeStory{id: r.id}
		j.runtimes[r.id] = rt
	}
	rt.records = append(rt.records, r)
	switch e := r.event.(type) {
	case runtime.Intended:
		rt.intended = first(rt.intended, r)
		rt.origin, rt.last = e, e.Lease.UUID
	case runtime.Held:
		rt.holder, rt.last = e.Lease.UUID, e.Lease.UUID
	case runtime.Freed:
		rt.holder = uuid.Nil
	case runtime.Lost:
		rt.lost = true
	case runtime.Destroyed:
		rt.destroyed = first(rt.destroyed, r)
	case runtime.Disowned:
		rt.disowned, rt.holder = true, uuid.Nil
	}
}

func (j *judge) tellExec(r *record) {
	x := j.execs[r.id]
	if x == nil {
		x = &execStory{id: r.id}
		j.execs[r.id] = x
	}
	x.records = append(x.records, r)
	switch e := r.event.(type) {
	case execution.Requested:
		x.requested, x.lease = first(x.requested, r), e.Lease.UUID
	case execution.Claimed:
		x.claimed = first(x.claimed, r)
	case execution.Started:
		x.started = first(x.started, r)
	case execution.Ended:
		x.ended, x.end = first(x.ended, r), e
	}
}

func first(have, r *record) *record {
	if have != nil {
		return have
	}
	return r
}

// fence is that of a lease, as DESIGN section 4 has it; 0 before its grant.
func (l *leaseStory) fence() int64 {
	if l.granted == nil {
		return 0
	}
	return l.granted.Epoch<<40 + l.granted.Position
}

// lostStream reports whether a fork took away events of a thing.
func (j *judge) lostStream(category string, id uuid.UUID) bool {
	return j.lost.streams[eventstore.StreamOf(category, id)]
}

// see counts what a rule looked at.
func (j *judge) see(n int) { j.looked[j.rule] += n }

// broken notes a violation. The records it is about are named at the end of the detail.
func (j *judge) broken(subject, detail string, about ...*record) {
	v := Violation{Rule: j.rule, Subject: subject, Detail: detail}
	about = slices.DeleteFunc(slices.Clone(about), func(r *record) bool { return r == nil })
	slices.SortFunc(about, func(a, b *record) int { return cmp.Compare(a.Position, b.Position) })
	about = slices.CompactFunc(about, func(a, b *record) bool { return a.Position == b.Position && a.Epoch == b.Epoch })
	var words []string
	for _, r := range about {
		v.Positions = append(v.Positions, r.Position)
		words = append(words, fmt.Sprintf("#%d %s %s (%s)", r.Position, r.Name, r.Stream, r.RecordedAt.UTC().Format(clockFormat)))
	}
	if len(words) > 0 {
		v.Detail += ": " + strings.Join(words, ", ")
	}
	j.violations = append(j.violations, v)
}

const clockFormat = "15:04:05.000"

func at(t time.Time) string { return t.UTC().Format(clockFormat) }

func leaseName(id uuid.UUID) string   { return lease.Category + "-" + id.String() }
func runtimeName(id uuid.UUID) string { return runtime.Category + "-" + id.String() }
func execName(id uuid.UUID) string    { return execution.Category + "-" + id.String() }

// sorted are the values of a map in the order of the first event, so that two checks of one history say the same.
func sorted[V any](m map[uuid.UUID]V, place func(V) int) []V {
	all := make([]V, 0, len(m))
	for _, v := range m {
		all = append(all, v)
	}
	slices.SortFunc(all, func(a, b V) int { return cmp.Compare(place(a), place(b)) })
	return all
}

func (j *judge) allLeases() []*leaseStory {
	return sorted(j.leases, func(l *leaseStory) int { return l.records[0].seq })
}

func (j *judge) allRuntimes() []*runtimeStory {
	return sorted(j.runtimes, func(r *runtimeStory) int { return r.records[0].seq })
}

func (j *judge) allExecs() []*execStory {
	return sorted(j.execs, func(x *execStory) int { return x.records[0].seq })
}

// appends are the records of the log, those of one append together.
func (j *judge) appends(yield func([]record) bool) {
	for begin := 0; begin < len(j.records); {
		end := begin + 1
		for end < len(j.records) && j.records[end].AppendID == j.records[begin].AppendID {
			end++
		}
		if !yield(j.records[begin:end]) {
			return
		}
		begin = end
	}
}

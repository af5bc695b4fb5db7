package api

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/admission"
	"github.com/tenure-dev/tenure/domain/environment"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
)

// What an answer about a queue lists at most.
const (
	mostAhead   = 50
	mostHolders = 100
	mostQueued  = 500
	someQueued  = 100
)

// busyError is a refusal for want of room, with when to come again.
type busyError struct {
	refusal    *domain.Refusal
	retryAfter time.Duration
}

func (e *busyError) Error() string { return e.refusal.Error() }

// When to come again if nothing is known, and at least and at most.
const (
	unknownRetry = 5 * time.Second
	leastRetry   = time.Second
	mostRetry    = time.Hour
)

// busy adds to a refusal for want of room when there may be some, by the log's own history.
func (s *Server) busy(c *call, err error) error {
	busy, ok := errors.AsType[*commands.BusyError](err)
	if !ok {
		return err
	}
	view, viewErr := s.deps.Commands.ViewQueue(c.ctx(), busy.Environment, 1, domain.LeaseID{})
	if viewErr != nil {
		return viewErr
	}
	wait := view.Room // a place in the queue is free after the next grant
	if busy.Refusal.Code == "no_capacity_now" {
		wait = view.Free
	}
	after := unknownRetry
	if wait.Known {
		after = min(max(wait.For, leastRetry), mostRetry)
	}
	return &busyError{refusal: busy.Refusal, retryAfter: after}
}

// queueing is how a request waits for its slot.
func queueing(in wire.AcquireLease) (lease.Queueing, error) {
	q := lease.Queueing{Standing: admission.Standing{Class: admission.Class(in.Priority), Key: in.FairnessKey}}
	if in.Weight != nil {
		if q.Weight = *in.Weight; q.Weight == 0 {
			return q, invalid("invalid_weight", "weight", "0 is not between 1 and %d", admission.MaxWeight).
				Mend("give a whole number from 1 to %d, or leave it out for 1", admission.MaxWeight)
		}
	}
	if in.QueueTimeout == "" {
		return q, nil
	}
	if in.NoWait {
		return q, invalid("conflicting_fields", "queueTimeout", "says how long to wait, and noWait not to").Mend("leave one of the two out")
	}
	d, err := time.ParseDuration(in.QueueTimeout)
	switch {
	case err != nil:
		return q, invalid("invalid_duration", "queueTimeout", "%q is not a duration", clip(in.QueueTimeout)).
			Mend("give a duration such as 30s or 10m, or leave it out to wait without limit")
	case d < time.Millisecond || d > environment.DefaultMaxTTL:
		return q, invalid("invalid_duration", "queueTimeout", "is not between 1ms and %s", briefly(environment.DefaultMaxTTL)).
			Mend("give a duration such as 30s or 10m, set noWait not to wait at all, or leave both out to wait without limit")
	}
	q.TimeoutMs = d.Milliseconds()
	return q, nil
}

// limitWarnings are what of a change of limits may not be meant. They are said, not refused.
func (s *Server) limitWarnings(c *call, before, after environment.Reconfigured) ([]string, error) {
	var say []string
	if after.MaxLeases == 0 && before.MaxLeases > 0 {
		say = append(say, "maxLeases 0 is no limit: whoever waited has been granted; to take no new leases, archive the environment")
	}
	if admission.QueueLimit(after.MaxQueued) == 0 && admission.QueueLimit(before.MaxQueued) > 0 {
		say = append(say, "maxQueued 0 lets nobody wait: a request without a free slot is refused")
	}
	if after.MaxLeases == 0 || after.MaxLeases >= before.MaxLeases && before.MaxLeases > 0 {
		return say, nil
	}
	view, err := s.deps.Commands.ViewQueue(c.ctx(), domain.EnvironmentID{UUID: c.id}, 1, domain.LeaseID{})
	if err == nil && view.Held > view.Capacity && view.Capacity > 0 {
		say = append(say, fmt.Sprintf("%d leases hold a slot of %d: none is taken away, and nobody is granted until there is room", view.Held, view.Capacity))
	}
	return say, err
}

func (s *Server) listQueue(c *call) error {
	if err := c.only("limit"); err != nil {
		return err
	}
	limit, err := c.limit(mostQueued)
	if err != nil {
		return err
	}
	view, err := s.deps.Commands.ViewQueue(c.ctx(), domain.EnvironmentID{UUID: c.id}, orDefault(limit, someQueued), domain.LeaseID{})
	if err != nil {
		return err
	}
	out := wire.Queue{
		EnvironmentID: c.id, Capacity: view.Capacity, Held: view.Held, MaxQueued: view.MaxQueued, Queued: view.Queued,
		MostOvertaken: view.Bound, Items: []wire.QueueEntry{}, Position: view.Position,
	}
	for i := range view.Places {
		entry, err := s.queueEntry(c, view, i)
		if err != nil {
			return err
		}
		out.Items = append(out.Items, entry)
	}
	return c.answer(http.StatusOK, out)
}

func (s *Server) queueEntry(c *call, view commands.QueueView, i int) (wire.QueueEntry, error) {
	p := view.Places[i]
	l, err := s.deps.Commands.KnownLease(c.ctx(), p.Lease)
	out := wire.QueueEntry{
		Place: i + 1, LeaseID: p.Lease.UUID, HeartbeatRunID: l.Run, AgentID: textOrNull(l.Context.Agent), Priority: p.Class.String(),
		FairnessKey: p.Key, Weight: p.Weight, Rule: p.Rule.String(), Overtaken: p.Overtaken, WaitingSince: l.RequestedAt.UTC(),
		Deadline: timeOrNull(l.QueueDeadline()),
	}
	if wait := view.Waits[i]; wait.Known {
		ms := wait.For.Milliseconds()
		out.ExpectedWaitMs = &ms
	}
	return out, err
}

func (s *Server) explainLease(c *call) error {
	if err := c.only(); err != nil {
		return err
	}
	now, err := look(c, commands.Leases, c.id, false)
	if err != nil {
		return err
	}
	l := now.State
	out := wire.Explanation{
		LeaseID: c.id, EnvironmentID: l.Environment.UUID, Status: showStatus(l.Status()), Grant: showGrant(l), Work: showWork(l),
		Constraints: []wire.Constraint{}, Position: now.Position,
	}
	if l.Status() == lease.StatusRequested {
		if err := s.explainWaiting(c, l, &out); err != nil {
			return err
		}
	}
	out.Constraints = append(out.Constraints, s.policyConstraint(c, l)...)
	out.Summary = summary(l, out)
	return c.answer(http.StatusOK, out)
}

// explainWaiting adds the lease's place in the queue; there is none if it was granted or gave up a moment ago.
func (s *Server) explainWaiting(c *call, l lease.State, out *wire.Explanation) error {
	view, err := s.deps.Commands.ViewQueue(c.ctx(), l.Environment, 1, domain.LeaseID{UUID: c.id})
	if err != nil {
		return err
	}
	out.Position = max(out.Position, view.Position)
	me := len(view.Places) - 1
	if me < 0 || view.Places[me].Lease.UUID != c.id {
		return nil
	}
	entry, err := s.queueEntry(c, view, me)
	if err != nil {
		return err
	}
	w := &wire.Waiting{
		Entry: entry, Of: view.Queued, MostOvertaken: view.Bound, Samples: view.Waits[me].Samples,
		WaitedMs: max(s.deps.Commands.Ledger().Now().Sub(l.RequestedAt), 0).Milliseconds(),
		Ahead:    []wire.QueueEntry{}, Capacity: view.Capacity, Held: view.Held, Holders: []wire.SlotHolder{},
	}
	for i := range min(me, mostAhead) {
		ahead, err := s.queueEntry(c, view, i)
		if err != nil {
			return err
		}
		ahead.Rule = admission.AheadBy(view.Places[i], view.Places[me]).String()
		w.Ahead = append(w.Ahead, ahead)
	}
	for _, h := range view.Holders[:min(len(view.Holders), mostHolders)] {
		held, err := s.deps.Commands.KnownLease(c.ctx(), h.Lease)
		if err != nil {
			return err
		}
		w.Holders = append(w.Holders, wire.SlotHolder{
			LeaseID: h.Lease.UUID, HeartbeatRunID: held.Run, AgentID: textOrNull(held.Context.Agent), Slot: h.Slot,
			Status: showStatus(held.Status()), Since: timeOrNull(held.GrantedAt), ExpiresAt: timeOrNull(held.ExpiresAt),
		})
	}
	env, err := eventstore.Recall(c.ctx(), s.deps.Commands.Ledger(), commands.Environments, l.Environment.UUID)
	if err != nil {
		return err
	}
	out.Waiting, out.Constraints = w, s.constraints(c, env.State, view)
	return nil
}

// constraints are all of a lease that waits. An environment that takes no new ones still serves who waits.
func (s *Server) constraints(c *call, env environment.State, view commands.QueueView) []wire.Constraint {
	lasting := commands.Lasting(env, s.provider(env.Driver, env.Config), s.deps.Checker.Unavailable(c.ctx(), env.Driver, env.Config))
	return showConstraints(append(lasting, view.Passing...))
}

// policyConstraint is what the policy of a lease needs of the provider, until the runtime is there.
func (s *Server) policyConstraint(c *call, l lease.State) []wire.Constraint {
	if !l.Policy.MayKeep() || decided(l) {
		return nil
	}
	return showConstraints([]domain.Constraint{admission.PolicyConstraint(admission.Facts{
		Provider: l.Provider, Policy: string(l.Policy), Keeping: s.deps.Checker.Keeping(c.ctx(), l.Driver, l.Config),
	})})
}

func showConstraints(cs []domain.Constraint) []wire.Constraint {
	var out []wire.Constraint
	for _, c := range cs {
		out = append(out, wire.Constraint{Constraint: c.Name, OK: c.OK, Detail: c.Detail, Remediation: c.Remediation, MayPass: c.Waiting, Unknown: c.Unknown})
	}
	return out
}

func showGrant(l lease.State) *wire.GrantDecision {
	if !l.Granted {
		return nil
	}
	return &wire.GrantDecision{
		Slot: l.Slot, Rule: l.GrantRule.String(), Reason: reasonOf(l.GrantRule), GrantedAt: l.GrantedAt.UTC(),
		WaitedMs: max(l.GrantedAt.Sub(l.RequestedAt), 0).Milliseconds(),
	}
}

// reasonOf says a rule in words.
func reasonOf(r admission.Rule) string {
	switch r {
	case admission.RuleFree:
		return "a slot was free and nobody waited"
	case admission.RuleKept:
		return "a runtime was kept for it, and nobody waited"
	case admission.RuleOnly:
		return "nobody else waited"
	case admission.RuleClass:
		return "it was of a higher priority than the next in line"
	case admission.RuleFairness:
		return "its fairness key had got the least for its weight of those that waited with its priority"
	case admission.RuleAge:
		return "it waited longest of those with its priority and with as little got for their weight"
	case admission.RuleBound:
		return "it waited longest of all, and had been overtaken as often as anybody may be"
	}
	return "the log does not say"
}

// showWork is what a worker does for the lease, or will do.
func showWork(l lease.State) *wire.LeaseWork {
	switch status := l.Status(); {
	case l.NeedsTeardown() && l.Attempting:
		w := provisioning(l)
		return &w
	case l.NeedsTeardown():
		w := wire.LeaseWork{Step: "release", Attempt: l.Teardown, Running: l.TearingDown, LastError: showFailure(l.TeardownCode, l.TeardownMessage)}
		if l.TearingDown {
			w.Deadline, w.WorkerID = timeOrNull(l.Deadline), idOrNull(l.Worker.UUID)
		} else {
			w.NextTry = timeOrNull(l.TeardownRetryAt)
		}
		return &w
	case status == lease.StatusGranted || status == lease.StatusProvisioning:
		w := provisioning(l)
		return &w
	}
	return nil
}

func provisioning(l lease.State) wire.LeaseWork {
	w := wire.LeaseWork{Step: "provision", Attempt: l.Attempt, Running: l.Attempting, LastError: showFailure(l.FailureCode, l.FailureMessage)}
	if l.Attempting {
		w.Deadline, w.WorkerID = timeOrNull(l.Deadline), idOrNull(l.Worker.UUID)
	} else {
		w.NextTry = timeOrNull(l.RetryAt)
	}
	return w
}

// summary is what a person wants to know first.
func summary(l lease.State, x wire.Explanation) string {
	var say []string
	add := func(format string, args ...any) { say = append(say, fmt.Sprintf(format, args...)) }
	switch w, work := x.Waiting, x.Work; {
	case w != nil:
		add("it is number %d of %d who wait for one of %d slots, all of which are taken", w.Entry.Place, w.Of, w.Capacity)
		if w.Entry.ExpectedWaitMs == nil {
			add("how long it may take is unknown: no slot was freed yet while somebody waited")
		} else {
			add("it may take %s more, by the last %d slots that were freed", ofMs(*w.Entry.ExpectedWaitMs), w.Samples)
		}
		if w.Entry.Deadline != nil {
			add("it gives up at %s", w.Entry.Deadline.Format(time.RFC3339))
		}
	case l.Status() == lease.StatusRequested:
		add("it was granted or gave up while this was looked at; ask again")
	case work != nil && work.Running:
		add("attempt %d to %s its runtime is under way", work.Attempt, verbOf(work.Step))
	case work != nil && work.Attempt == 0:
		add("the first attempt to %s its runtime is about to begin", verbOf(work.Step))
	case work != nil && work.NextTry != nil:
		add("attempt %d to %s its runtime failed, and the next one is at %s", work.Attempt, verbOf(work.Step), work.NextTry.Format(time.RFC3339))
	case work != nil:
		add("the next attempt to %s its runtime is about to begin", verbOf(work.Step))
	default:
		add("it is %s", x.Status)
	}
	if work := x.Work; work != nil && work.LastError != nil {
		add("the last error: %s", *work.LastError)
	} else if reason := showFailure(l.FailureCode, l.FailureMessage); reason != nil && l.Status() == lease.StatusFailed {
		add("it failed: %s", *reason)
	}
	for _, c := range x.Constraints {
		if c.Unknown {
			add("%s", c.Detail)
		}
	}
	if g := x.Grant; g != nil {
		add("it got slot %d after %s because %s", g.Slot, ofMs(g.WaitedMs), g.Reason)
	}
	return strings.Join(say, "; ")
}

func verbOf(step string) string {
	if step == "release" {
		return "remove"
	}
	return "make"
}

func ofMs(ms int64) string {
	d := time.Duration(ms) * time.Millisecond
	if d >= 10*time.Second {
		d = d.Round(time.Second)
	}
	return d.String()
}

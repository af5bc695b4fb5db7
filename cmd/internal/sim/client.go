package sim

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/api"
	"github.com/tenure-dev/tenure/cmd/internal/check"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/admission"
	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
)

// client is somebody who leases: it asks for a lease, works in it, and gives it back, or forgets to. It keeps a record of
// what it asked and was told.
type client struct {
	w      *world
	name   string
	chance *rand.Rand
	keys   int
	done   atomic.Bool
	// former are leases that it had, with their fences.
	former []held
}

type held struct {
	id    uuid.UUID
	fence int64
}

// live is the client's life.
func (c *client) live() {
	defer func() { c.done.Store(true) }()
	for range c.w.plan.acts {
		c.rest(4 * time.Second)
		c.act()
	}
}

// rest lets time pass.
func (c *client) rest(limit time.Duration) { <-time.After(time.Millisecond + rand64(c.chance, limit)) }

func (c *client) odds(n int) bool { return c.chance.IntN(n) == 0 }

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// act is one lease, from beginning to end.
func (c *client) act() {
	id, ok := c.acquire()
	if !ok {
		return
	}
	l, ok := c.await(id)
	if !ok {
		return
	}
	if l.Status() != lease.StatusActive {
		if !l.Status().Ended() && c.odds(2) {
			c.end(id)
		}
		return
	}
	c.former = append(c.former, held{id.UUID, l.Fence})
	for range c.chance.IntN(4) {
		c.rest(5 * time.Second)
		switch c.chance.IntN(8) {
		case 0, 1:
			c.renew(id, l.Fence)
		case 2:
			c.show(id)
		case 3:
			c.rest(20 * time.Second)
		default:
			c.exec(id, l.Fence)
		}
	}
	if c.odds(6) {
		return // it forgets, and the lease ends by its time
	}
	c.end(id)
	if c.odds(5) {
		c.exec(id, l.Fence)
	}
	if c.odds(5) {
		c.end(id)
	}
}

// acquire asks for a lease until somebody says yes or no.
func (c *client) acquire() (domain.LeaseID, bool) {
	r, place := c.chance, pick(c.chance, c.w.places...)
	a := commands.Acquire{
		Company: c.w.company, Environment: place, Run: fmt.Sprintf("run-%s-%d", c.name, c.keys), Provider: providerOf,
		Context: lease.Context{Agent: pick(r, "ann", "bob"), Workspace: pick(r, "", "w1", "w2"), Adapter: "sim"},
		Policy:  pick(r, lease.PolicyEphemeral, lease.PolicyReuseByEnvironment, lease.PolicyReuseByWorkspace, lease.PolicyRetainOnFailure),
		TTL:     time.Duration(20+r.IntN(60)) * time.Second, IdleTimeout: time.Duration(8+r.IntN(40)) * time.Second,
		Queue: lease.Queueing{Standing: admission.Standing{Class: pick(r, admission.ClassHigh, admission.ClassNormal, admission.ClassNormal)}},
	}
	if a.Policy != lease.PolicyEphemeral {
		a.RetainFor = time.Duration(5+r.IntN(40)) * time.Second
	}
	if c.odds(3) {
		a.Queue.TimeoutMs = int64(1000 + r.IntN(20000))
	}
	a.NoWait = c.odds(8)
	told := c.insist(check.Call{Verb: check.VerbAcquire}, "leases", sum(a), func(ctx context.Context, e *engine, by commands.Caller) (eventstore.Outcome, error) {
		a := a
		a.Lease = domain.LeaseID{UUID: by.Command.Resource}
		return e.c.AcquireLease(ctx, by, a)
	}, func(o eventstore.Outcome, made uuid.UUID) check.Answer {
		if o.Replayed {
			made = o.Resource
		}
		return check.Answer{Lease: made, Position: o.Position}
	})
	return domain.LeaseID{UUID: told.Lease}, told.Lease != uuid.Nil
}

// await looks at a lease until it is active or will not be.
func (c *client) await(id domain.LeaseID) (lease.State, bool) {
	for range 6 + c.chance.IntN(30) {
		l, ok := c.show(id)
		if ok && (l.Status() == lease.StatusActive || l.Status().Ended() || l.ReleaseReason != "") {
			return l, true
		}
		c.rest(4 * time.Second)
	}
	return c.show(id)
}

func (c *client) show(id domain.LeaseID) (l lease.State, ok bool) {
	told := c.once(check.Call{Verb: check.VerbShowLease, Lease: id.UUID}, func(ctx context.Context, e *engine, _ commands.Caller) (_ check.Answer, _ bool, err error) {
		l, err = e.c.Lease(ctx, id)
		return check.Answer{Lease: id.UUID, Fence: l.Fence, State: l.Status().String(), ProviderLeaseID: l.ProviderLeaseID}, false, err
	}, commands.Caller{})
	return l, told.Status == 200
}

func (c *client) renew(id domain.LeaseID, fence int64) {
	fence = c.mistake(fence)
	r := commands.Renewal{}
	if c.odds(2) {
		ttl := time.Duration(10+c.chance.IntN(60)) * time.Second
		r.TTL = &ttl
	}
	c.insist(check.Call{Verb: check.VerbRenew, Lease: id.UUID, Fence: fence}, "renew", sum(id, fence, r.TTL != nil), func(ctx context.Context, e *engine, by commands.Caller) (eventstore.Outcome, error) {
		by.Command.Resource = id.UUID
		if err := match(ctx, e, id, fence); err != nil {
			return eventstore.Outcome{}, err
		}
		return e.c.RenewLease(ctx, by, id, r)
	}, about(id))
}

// mistake is a fence, or now and then that of another lease.
func (c *client) mistake(fence int64) int64 {
	if len(c.former) > 1 && c.odds(5) {
		return c.former[c.chance.IntN(len(c.former))].fence
	}
	return fence
}

// match looks at a fence before a command, as the API does.
func match(ctx context.Context, e *engine, id domain.LeaseID, fence int64) error {
	now, err := e.c.Lease(ctx, id)
	if err != nil {
		return err
	}
	return now.CheckFence(fence)
}

// exec runs a command and may wait for its end, or end it. Now and then it has the fence of another lease.
func (c *client) exec(id domain.LeaseID, fence int64) {
	fence = c.mistake(fence)
	takes := rand64(c.chance, 8*time.Second)
	if c.odds(5) {
		takes *= 6
	}
	x := commands.StartExec{Lease: id, Fence: fence, Argv: []string{"work", takes.String()}}
	if c.odds(4) {
		x.TimeoutMs = 3000
	}
	told := c.insist(check.Call{Verb: check.VerbExec, Lease: id.UUID, Fence: fence}, "execs", sum(x), func(ctx context.Context, e *engine, by commands.Caller) (eventstore.Outcome, error) {
		x := x
		x.Exec = domain.ExecID{UUID: by.Command.Resource}
		return e.c.RequestExec(ctx, by, x)
	}, func(o eventstore.Outcome, made uuid.UUID) check.Answer {
		if o.Replayed {
			made = o.Resource
		}
		return check.Answer{Lease: id.UUID, Exec: made, Position: o.Position}
	})
	if told.Exec == uuid.Nil {
		return
	}
	exec := domain.ExecID{UUID: told.Exec}
	for range c.chance.IntN(8) {
		c.rest(3 * time.Second)
		if c.odds(8) {
			c.insist(check.Call{Verb: check.VerbKill, Lease: id.UUID, Exec: exec.UUID}, "kill", sum(exec), func(ctx context.Context, e *engine, by commands.Caller) (eventstore.Outcome, error) {
				by.Command.Resource = exec.UUID
				return e.c.KillExec(ctx, by, exec, execution.RequestKill{Why: "asked"})
			}, about(id))
		}
		over := false
		c.once(check.Call{Verb: check.VerbShowExec, Lease: id.UUID, Exec: exec.UUID}, func(ctx context.Context, e *engine, _ commands.Caller) (check.Answer, bool, error) {
			x, err := e.c.Exec(ctx, exec)
			over = x.Status == execution.StatusEnded
			return check.Answer{Exec: exec.UUID, End: string(x.Ended.End), ExitCode: x.Ended.ExitCode}, false, err
		}, commands.Caller{})
		if over {
			return
		}
	}
}

// end gives a lease back.
func (c *client) end(id domain.LeaseID) {
	r := lease.Release{Reason: pick(c.chance, lease.ReasonReleased, lease.ReasonReleased, lease.ReasonFailed)}
	if c.odds(4) {
		r.Disposition = pick(c.chance, lease.DispositionDestroy, lease.DispositionKeepRunning, lease.DispositionStopAndRetain)
	}
	verb, cancels := check.VerbRelease, c.odds(8)
	if cancels {
		verb = check.VerbCancel
	}
	c.insist(check.Call{Verb: verb, Lease: id.UUID}, string(verb), sum(id, r, cancels), func(ctx context.Context, e *engine, by commands.Caller) (eventstore.Outcome, error) {
		by.Command.Resource = id.UUID
		if cancels {
			return e.c.CancelLease(ctx, by, id, "not wanted")
		}
		return e.c.ReleaseLease(ctx, by, id, r)
	}, about(id))
}

func about(id domain.LeaseID) func(eventstore.Outcome, uuid.UUID) check.Answer {
	return func(o eventstore.Outcome, _ uuid.UUID) check.Answer {
		return check.Answer{Lease: id.UUID, Position: o.Position}
	}
}

// sum is the hash of a request.
func sum(parts ...any) [32]byte { return sha256.Sum256(fmt.Appendf(nil, "%v", parts)) }

// insist gives a command with a key, and again with the same key until it is told what came of it or has had enough.
func (c *client) insist(
	call check.Call, route string, hash [32]byte,
	give func(context.Context, *engine, commands.Caller) (eventstore.Outcome, error), tell func(eventstore.Outcome, uuid.UUID) check.Answer,
) check.Answer {
	c.keys++
	call.Scope, call.Key = route, fmt.Sprintf("%s-%d", c.name, c.keys)
	for range 1 + c.chance.IntN(8) {
		made := uuid.New() // each call offers a name of its own for what it makes
		by := commands.Caller{Command: &eventstore.Command{Company: c.w.company, Route: route, Key: call.Key, RequestHash: hash, Resource: made}}
		told := c.once(call, func(ctx context.Context, e *engine, by commands.Caller) (check.Answer, bool, error) {
			o, err := give(ctx, e, by)
			if err != nil {
				return check.Answer{}, false, err
			}
			return tell(o, made), o.Replayed, nil
		}, by)
		switch {
		case told.Status >= 200 && told.Status < 300:
			if c.odds(10) {
				c.rest(10 * time.Second)
				continue // it did not get it, and asks again
			}
			return told.Answer
		case told.Status >= 400 && told.Status < 500 && told.Status != 429:
			return check.Answer{}
		}
		c.rest(3 * time.Second)
	}
	return check.Answer{}
}

// once is one call to some engine; f gives the answer, and says whether it is to a command that had been accepted before.
func (c *client) once(call check.Call, f func(context.Context, *engine, commands.Caller) (check.Answer, bool, error), by commands.Caller) check.Call {
	call.Client, call.Request, call.Sent = c.name, uuid.New(), time.Now()
	by.By.Request = call.Request
	defer func() { c.w.calls = append(c.w.calls, call) }()
	alive := c.w.alive()
	if len(alive) == 0 {
		call.Status, call.Answered = 503, time.Now()
		return call
	}
	e := alive[c.chance.IntN(len(alive))]
	patience := time.Duration(2+c.chance.IntN(28)) * time.Second
	deaf := c.w.plan.losing > 0 && !c.w.healed && c.chance.Float64() < c.w.plan.losing
	type result struct {
		answer   check.Answer
		replayed bool
		err      error
	}
	results := make(chan result, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		answer, replayed, err := f(ctx, e, by)
		results <- result{answer, replayed, err}
	}()
	var r result
	select {
	case r = <-results:
	case <-e.actor.died:
		return call
	case <-time.After(patience):
		return call
	}
	if deaf || e.actor.dead {
		return call
	}
	call.Answered, call.Answer, call.Replayed = time.Now(), r.answer, r.replayed
	call.Status = http.StatusOK
	if r.err != nil {
		p := api.ProblemOf(r.err)
		call.Status, call.Code = p.Status, p.Code
	}
	return call
}

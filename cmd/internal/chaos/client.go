package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/check"
)

// actor is a client: it asks for leases, uses them and gives them back, or forgets them, one after the other, until ctx ends.
type actor struct {
	run    *run
	name   string
	random *rand.Rand
}

// A client waits for an answer, beyond what it asked the server to wait, for as long as its patience lasts, which is mostly short: the
// server may still be at the call when it comes again.
const (
	littlePatience = 2 * time.Second
	muchPatience   = 6 * time.Second
	mostPatience   = 25 * time.Second
)

// mostThinking is how long a client rests at most between two leases.
const mostThinking = 1500 * time.Millisecond

// tries is how often a client sends a command that gets no answer.
const tries = 8

// told is what a transport saw of an answer.
type told struct {
	method, path string
	status       int
	replayed     bool
}

type toldKey struct{}

// witness writes down what the client package does not tell.
type witness struct{ *http.Transport }

// RoundTrip implements [http.RoundTripper].
func (w witness) RoundTrip(q *http.Request) (*http.Response, error) {
	resp, err := w.Transport.RoundTrip(q)
	if t, ok := q.Context().Value(toldKey{}).(*told); ok {
		t.method, t.path = q.Method, q.URL.Path
		if err == nil {
			t.status, t.replayed = resp.StatusCode, resp.Header.Get(wire.HeaderReplayed) == "true"
		}
	}
	return resp, err
}

// asked makes one call.
type asked func(ctx context.Context, c *client.Client, opts ...client.CallOption) (check.Answer, error)

// ask sends one call to an API server by chance, which is to wait for a time, and writes down what became of it.
func (a *actor) ask(ctx context.Context, k check.Call, wait time.Duration, f asked) (check.Call, error) {
	c := a.run.anyAPI(a.random)
	k.Client, k.Request = a.name, uuid.New()
	opts := []client.CallOption{client.RequestID(k.Request)}
	if k.Key != "" {
		opts = append(opts, client.IdempotencyKey(k.Key))
	}
	most := muchPatience
	if a.chance(10) {
		most = mostPatience
	}
	ctx, cancel := context.WithTimeout(ctx, wait+a.between(littlePatience, most))
	defer cancel()
	t := &told{}
	k.Sent = time.Now().UTC()
	answer, err := f(context.WithValue(ctx, toldKey{}, t), c, opts...)
	k.Scope = t.method + " " + t.path
	problem, refused := errors.AsType[*client.Problem](err)
	if err == nil || refused {
		k.Answered, k.Status, k.Replayed, k.Answer = time.Now().UTC(), t.status, t.replayed, answer
	}
	if refused {
		k.Code = problem.Code
		if problem.Lease != nil {
			k.Answer = leaseAnswer(*problem.Lease)
		}
	}
	a.run.calls.add(k)
	return k, err
}

// command sends a command until it is answered, with one key, to one API server after the other.
func (a *actor) command(ctx context.Context, k check.Call, wait time.Duration, f asked) (check.Call, error) {
	k.Key = uuid.NewString()
	for try := 1; ; try++ {
		got, err := a.ask(ctx, k, wait, f)
		settled := got.Status != 0 && got.Status < http.StatusInternalServerError
		if settled || try == tries || ctx.Err() != nil {
			if settled && a.chance(2) { // repeated although it was answered: the answer is the same
				_, _ = a.ask(ctx, k, wait, f)
			}
			return got, err
		}
		if err := pause(ctx, time.Duration(50+a.random.IntN(400*try))*time.Millisecond); err != nil {
			return got, err
		}
	}
}

// chance is true in so many of a hundred.
func (a *actor) chance(percent int) bool { return a.random.IntN(100) < percent }

// between is a time by chance.
func (a *actor) between(least, most time.Duration) time.Duration {
	return least + time.Duration(a.random.Int64N(int64(most-least)))
}

// pick is one of some, by chance.
func pick[T any](a *actor, from ...T) T { return from[a.random.IntN(len(from))] }

func leaseAnswer(l wire.Lease) check.Answer {
	answer := check.Answer{Lease: l.ID, Fence: l.Fence, State: l.Status, ProviderLeaseID: l.ProviderLeaseID, Position: l.Position}
	if l.ExpiresAt != nil {
		answer.ExpiresAt = *l.ExpiresAt
	}
	return answer
}

func execAnswer(x wire.Exec) check.Answer {
	answer := check.Answer{Lease: x.LeaseID, Exec: x.ID, Position: x.Position}
	if x.Result != nil {
		answer.End, answer.ExitCode = x.Result.End, x.Result.ExitCode
	}
	return answer
}

// act is the client's work.
func (a *actor) act(ctx context.Context) {
	for ctx.Err() == nil {
		a.life(ctx)
		_ = pause(ctx, a.between(0, mostThinking))
	}
}

// life is one lease, from its request to its end or to where the client forgets it.
func (a *actor) life(ctx context.Context) {
	place := a.run.places[a.random.IntN(len(a.run.places))]
	wanted := a.wish(place)
	wait := pick(a, 0, 0, time.Second, 3*time.Second, 8*time.Second)
	got, _ := a.command(ctx, check.Call{Verb: check.VerbAcquire}, wait,
		func(ctx context.Context, c *client.Client, opts ...client.CallOption) (check.Answer, error) {
			if wait > 0 {
				opts = append(opts, client.Wait(wait))
			}
			acquired, _, err := c.AcquireLease(ctx, place.company, wanted, opts...)
			answer := leaseAnswer(acquired.Lease)
			answer.Position = acquired.Position
			return answer, err
		})
	id := got.Answer.Lease
	switch {
	case id == uuid.Nil:
		if got.Status == http.StatusTooManyRequests {
			_ = pause(ctx, a.between(0, 2*time.Second))
		}
		return
	case a.chance(4):
		return // it crashes, and never comes back
	}
	if a.chance(5) {
		a.explain(ctx, id)
	}
	now := a.becomes(ctx, id, got.Answer)
	switch now.State {
	case wire.LeaseQueued, wire.LeaseProvisioning, "":
		a.giveUp(ctx, id)
	case wire.LeaseActive:
		a.use(ctx, id, now.Fence)
		if !a.chance(15) {
			a.giveBack(ctx, place, wanted, id, now.Fence)
		}
	}
}

// wish is what is asked for.
func (a *actor) wish(p place) wire.AcquireLease {
	in := wire.AcquireLease{
		EnvironmentID: p.environment, HeartbeatRunID: uuid.NewString(), AgentID: fmt.Sprintf("agent-%d", a.random.IntN(5)),
		TTL: a.between(a.run.lease/4, a.run.lease*2).String(), IdleTimeout: a.between(a.run.lease/6, a.run.lease).String(),
		Priority: pick(a, "", "", "high", "normal", "low"), NoWait: a.chance(5),
		LeasePolicy: pick(a, "", "ephemeral", "reuse_by_environment", "reuse_by_execution_workspace", "retain_on_failure"),
	}
	if a.chance(50) {
		in.IssueID = fmt.Sprintf("issue-%d", a.random.IntN(3))
	}
	if in.LeasePolicy == "reuse_by_execution_workspace" || a.chance(20) {
		in.ExecutionWorkspaceID = fmt.Sprintf("workspace-%d", a.random.IntN(4))
	}
	if in.LeasePolicy != "" && in.LeasePolicy != "ephemeral" {
		in.RetainFor = a.between(a.run.lease/6, a.run.lease).String()
	}
	if !in.NoWait && a.chance(40) {
		in.QueueTimeout = a.between(a.run.lease/12, a.run.lease).String()
	}
	return in
}

// becomes waits a while for a lease that is asked for.
func (a *actor) becomes(ctx context.Context, id uuid.UUID, now check.Answer) check.Answer {
	const wait = 5 * time.Second
	for range 3 {
		if now.State != wire.LeaseQueued && now.State != wire.LeaseProvisioning || ctx.Err() != nil {
			return now
		}
		got, err := a.ask(ctx, check.Call{Verb: check.VerbShowLease, Lease: id}, wait,
			func(ctx context.Context, c *client.Client, opts ...client.CallOption) (check.Answer, error) {
				l, err := c.Lease(ctx, id, append(opts, client.Wait(wait))...)
				return leaseAnswer(l), err
			})
		if err == nil {
			now = got.Answer
		} else {
			_ = pause(ctx, a.between(0, time.Second))
		}
	}
	return now
}

func (a *actor) explain(ctx context.Context, id uuid.UUID) {
	_, _ = a.ask(ctx, check.Call{Verb: check.VerbOther, Lease: id}, 0,
		func(ctx context.Context, c *client.Client, _ ...client.CallOption) (check.Answer, error) {
			_, err := c.ExplainLease(ctx, id)
			return check.Answer{}, err
		})
}

// giveUp cancels a lease that did not become active, or releases it, or leaves it alone.
func (a *actor) giveUp(ctx context.Context, id uuid.UUID) {
	if a.chance(20) {
		return
	}
	got, _ := a.command(ctx, check.Call{Verb: check.VerbCancel, Lease: id}, 0,
		func(ctx context.Context, c *client.Client, opts ...client.CallOption) (check.Answer, error) {
			l, err := c.CancelLease(ctx, id, wire.Cancel{Reason: "it took too long"}, opts...)
			return leaseAnswer(l), err
		})
	if got.Status >= http.StatusBadRequest && got.Status < http.StatusInternalServerError {
		a.release(ctx, id, 0, wire.Release{}, 0) // it is active meanwhile
	}
}

// use runs commands in a lease and renews it.
func (a *actor) use(ctx context.Context, id uuid.UUID, fence int64) {
	for range a.random.IntN(4) {
		switch {
		case a.chance(60):
			a.exec(ctx, id, fence)
		case a.chance(70):
			a.renew(ctx, id, fence)
		default:
			_ = pause(ctx, a.between(0, time.Second))
		}
	}
}

func (a *actor) exec(ctx context.Context, id uuid.UUID, fence int64) {
	in := wire.StartExec{Argv: pick(a, []string{"true"}, []string{"echo", "hello"}, []string{"sleep", "0.1"}, []string{"sleep", "1"}, []string{"exit", "3"})}
	if a.chance(50) {
		chosen := uuid.New()
		in.ID = &chosen
	}
	if a.chance(10) {
		in.Argv, in.TimeoutMs = []string{"sleep", "30"}, 300
	}
	got, err := a.command(ctx, check.Call{Verb: check.VerbExec, Lease: id, Fence: fence}, 0,
		func(ctx context.Context, c *client.Client, opts ...client.CallOption) (check.Answer, error) {
			x, err := c.StartExec(ctx, id, fence, in, opts...)
			return execAnswer(x), err
		})
	if err != nil || a.chance(30) {
		return
	}
	exec := got.Answer.Exec
	if a.chance(10) {
		_, _ = a.command(ctx, check.Call{Verb: check.VerbKill, Lease: id, Exec: exec}, 0,
			func(ctx context.Context, c *client.Client, opts ...client.CallOption) (check.Answer, error) {
				x, err := c.KillExec(ctx, exec, wire.KillExec{Why: "no patience"}, opts...)
				return execAnswer(x), err
			})
	}
	for range 3 {
		const wait = 2 * time.Second
		got, err := a.ask(ctx, check.Call{Verb: check.VerbShowExec, Lease: id, Exec: exec}, wait,
			func(ctx context.Context, c *client.Client, opts ...client.CallOption) (check.Answer, error) {
				x, err := c.Exec(ctx, exec, append(opts, client.Wait(wait))...)
				return execAnswer(x), err
			})
		if err == nil && got.Answer.End != "" || ctx.Err() != nil {
			return
		}
	}
}

func (a *actor) renew(ctx context.Context, id uuid.UUID, fence int64) {
	in := wire.Renew{}
	if a.chance(40) {
		ttl := a.between(a.run.lease/6, a.run.lease*2).String()
		in.TTL = &ttl
	}
	_, _ = a.command(ctx, check.Call{Verb: check.VerbRenew, Lease: id, Fence: fence}, 0,
		func(ctx context.Context, c *client.Client, opts ...client.CallOption) (check.Answer, error) {
			l, err := c.RenewLeaseFor(ctx, id, fence, in, opts...)
			return leaseAnswer(l), err
		})
}

// giveBack releases the lease, by itself or with its run, once or twice.
func (a *actor) giveBack(ctx context.Context, p place, wanted wire.AcquireLease, id uuid.UUID, fence int64) {
	if a.chance(10) {
		a.releaseRun(ctx, p, wanted.HeartbeatRunID)
		return
	}
	in := wire.Release{Status: pick(a, "", "", "", "released", "failed")}
	if a.chance(10) {
		in.Disposition = pick(a, "destroy", "keep_running", "stop_and_retain")
	}
	if a.chance(70) {
		fence = 0
	}
	wait := pick(a, 0, time.Second, 5*time.Second)
	a.release(ctx, id, fence, in, wait)
	if a.chance(10) {
		a.release(ctx, id, fence, in, 0)
	}
}

func (a *actor) release(ctx context.Context, id uuid.UUID, fence int64, in wire.Release, wait time.Duration) {
	_, _ = a.command(ctx, check.Call{Verb: check.VerbRelease, Lease: id, Fence: fence}, wait,
		func(ctx context.Context, c *client.Client, opts ...client.CallOption) (check.Answer, error) {
			if fence != 0 {
				opts = append(opts, client.Fence(fence))
			}
			if wait > 0 {
				opts = append(opts, client.Wait(wait))
			}
			l, err := c.ReleaseLease(ctx, id, in, opts...)
			return leaseAnswer(l), err
		})
}

func (a *actor) releaseRun(ctx context.Context, p place, run string) {
	const wait = 3 * time.Second
	_, _ = a.command(ctx, check.Call{Verb: check.VerbReleaseRun}, wait,
		func(ctx context.Context, c *client.Client, opts ...client.CallOption) (check.Answer, error) {
			released, err := c.ReleaseRun(ctx, p.company, run, wire.Release{}, append(opts, client.Wait(wait))...)
			answer := check.Answer{Position: released.Position}
			if len(released.Released) == 1 {
				answer = leaseAnswer(released.Released[0].Lease)
				answer.Position = released.Position
			}
			return answer, err
		})
}

package apitest_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
)

// renewedTimes is how many renewals of a lease are in the log.
func (s *server) renewedTimes(id uuid.UUID) (n int) {
	s.t.Helper()
	events, err := s.store.ReadStream(s.t.Context(), commands.Leases.Stream(id), 0, 0)
	require.NoError(s.t, err)
	for _, e := range events {
		if e.Name == "LeaseRenewed" {
			n++
		}
	}
	return n
}

// activeFor is an active lease with these times.
func (s *server) activeFor(tn tenant, ttl, idle string) wire.Lease {
	s.t.Helper()
	ask := tn.ask("run-" + uuid.NewString())
	ask.TTL, ask.IdleTimeout = ttl, idle
	got, ready, err := tn.client.AcquireLease(s.t.Context(), tn.company, ask, client.Wait(time.Minute))
	require.NoError(s.t, err)
	require.True(s.t, ready)
	return got.Lease
}

func ttlOf(d string) wire.Renew { return wire.Renew{TTL: &d} }

func TestManyRenewalsAreOneEventAndTheAnswerIsWhatTheLogSays(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	l := s.activeFor(tn, "", "")
	for range 50 {
		renewed, err := tn.client.RenewLease(t.Context(), l.ID, l.Fence)
		require.NoError(t, err)
		now, err := tn.client.Lease(t.Context(), l.ID)
		require.NoError(t, err)
		require.Equal(t, *now.ExpiresAt, *renewed.ExpiresAt)
		require.InDelta(t, time.Hour.Milliseconds(), *renewed.RemainingMs, 60_000)
		require.Equal(t, *l.ExpiresAt, *renewed.ExpiresAt, "within a minute of its last use")
	}
	require.Zero(t, s.renewedTimes(l.ID))

	// The window is a tenth of the idle timeout, two seconds here: one event each.
	short := s.activeFor(tn, "", "20s")
	for n := range 3 {
		s.pass(2100 * time.Millisecond)
		for range 10 {
			began := time.Now()
			renewed, err := tn.client.RenewLease(t.Context(), short.ID, short.Fence)
			require.NoError(t, err)
			require.LessOrEqual(t, *renewed.RemainingMs, int64(20_000))
			require.GreaterOrEqual(t, *renewed.RemainingMs, 18_000-time.Since(began).Milliseconds()-1)
		}
		require.LessOrEqual(t, s.renewedTimes(short.ID), 2*(n+1), "one a window, of which a slow machine sees more")
	}
	require.GreaterOrEqual(t, s.renewedTimes(short.ID), 3)
}

// pass lets time pass by the database's clock.
func (s *server) pass(d time.Duration) {
	s.t.Helper()
	_, err := s.pool.Exec(s.t.Context(), `SELECT pg_sleep($1)`, d.Seconds())
	require.NoError(s.t, err)
}

func TestOnlyALeaseThatLivesIsRenewed(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	l := s.lease(tn, "run")
	_, err := tn.client.ReleaseLease(t.Context(), l.ID, wire.Release{}, client.Wait(time.Minute))
	require.NoError(t, err)
	s.isGone(tn, l)

	// Nobody has taken this one down yet; its time is over all the same.
	over := s.activeFor(tn, "1500ms", "")
	s.pass(2 * time.Second)
	s.isGone(tn, over)
	_, err = tn.client.StartExec(t.Context(), over.ID, over.Fence, wire.StartExec{Argv: []string{"true"}})
	require.True(t, client.IsCode(err, "lease_ended"), "%v", err)
}

func (s *server) isGone(tn tenant, l wire.Lease) {
	s.t.Helper()
	for _, in := range []wire.Renew{{}, ttlOf("2h")} {
		_, err := tn.client.RenewLeaseFor(s.t.Context(), l.ID, l.Fence, in)
		var p *client.Problem
		require.ErrorAs(s.t, err, &p)
		require.Equal(s.t, 410, p.Status)
		require.Equal(s.t, "lease_ended", p.Code)
	}
}

func TestARenewalMovesTheHardEndUpToWhatTheEnvironmentAllowedThen(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	env, err := tn.operator.PatchEnvironment(t.Context(), tn.env.ID, map[string]any{"maxTtl": "48h"})
	require.NoError(t, err)
	require.Equal(t, "48h", *env.MaxTTL)
	l := s.activeFor(tn, "100h", "3h")
	require.Equal(t, (48 * time.Hour).Milliseconds(), l.TTLMs, "cut, and the answer says so")
	require.Equal(t, (3 * time.Hour).Milliseconds(), l.IdleTimeoutMs)
	require.WithinDuration(t, l.AcquiredAt.Add(48*time.Hour), *l.HardExpiresAt, time.Second)

	// What the environment says later changes nothing for a lease that it has.
	env, err = tn.operator.PatchEnvironment(t.Context(), tn.env.ID, map[string]any{"maxTtl": nil})
	require.NoError(t, err)
	require.Nil(t, env.MaxTTL)
	renewed, err := tn.client.RenewLeaseFor(t.Context(), l.ID, l.Fence, ttlOf("2h"))
	require.NoError(t, err)
	require.InDelta(t, (2 * time.Hour).Milliseconds(), *renewed.RemainingMs, 10_000)
	require.Equal(t, *renewed.HardExpiresAt, *renewed.ExpiresAt)
	renewed, err = tn.client.RenewLeaseFor(t.Context(), l.ID, l.Fence, ttlOf("1000h"))
	require.NoError(t, err)
	require.Equal(t, l.AcquiredAt.Add(48*time.Hour), *renewed.HardExpiresAt)
	require.Equal(t, 2, s.renewedTimes(l.ID))
	require.Equal(t, (720 * time.Hour).Milliseconds(), s.activeFor(tn, "8000h", "").TTLMs, "without a limit of the environment's, the server's")
}

func TestABadDurationIsRefusedWhereverItIsGiven(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	l := s.lease(tn, "run")
	head := s.head()
	for _, bad := range []string{`"0s"`, `"-1h"`, `"8785h"`, `"99999999h"`, `"soon"`, `"1"`, `"1ns"`, `"1 h"`, `"2h\u0000"`} {
		for path, body := range map[string]string{
			"/api/v1/companies/" + tn.company.String() + "/leases": `{"environmentId":"` + tn.env.ID.String() + `","heartbeatRunId":"r","ttl":` + bad + `}`,
			"/api/v1/leases/" + l.ID.String() + "/renew":           `{"ttl":` + bad + `}`,
		} {
			p := s.problem(tn.key, "POST", path, body)
			require.Equal(t, 400, p.Status, body)
			require.Equal(t, "ttl", p.Field, body)
			require.Equal(t, "invalid_duration", p.Code, body)
			require.NotEmpty(t, p.Remediation, body)
		}
		p := s.problem(s.adminKey, "POST", "/api/v1/companies/"+tn.company.String()+"/environments", `{"name":"x","driver":"local","maxTtl":`+bad+`}`)
		require.Equal(t, "maxTtl", p.Field, bad)
		require.Equal(t, "invalid_duration", p.Code, bad)
		p = s.problem(s.adminKey, "PATCH", "/api/v1/environments/"+tn.env.ID.String(), `{"maxTtl":`+bad+`}`)
		require.Equal(t, "maxTtl", p.Field, bad)
		p = s.problem(tn.key, "POST", "/api/v1/companies/"+tn.company.String()+"/leases",
			`{"environmentId":"`+tn.env.ID.String()+`","heartbeatRunId":"r","idleTimeout":`+bad+`}`)
		require.Equal(t, "idleTimeout", p.Field, bad)
	}
	require.Equal(t, "wrong_type", s.problem(tn.key, "POST", "/api/v1/leases/"+l.ID.String()+"/renew", `{"ttl":7}`).Code)
	require.Equal(t, "invalid_duration", s.problem(tn.key, "POST", "/api/v1/leases/"+l.ID.String()+"/renew", `{"ttl":""}`).Code, "absent is not empty")
	require.Equal(t, head, s.head(), "nothing half-done")
}

func TestTheClockCanBeSeenAndConfirmed(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	clock, err := s.admin.Clock(t.Context())
	require.NoError(t, err)
	require.True(t, clock.Sure)
	require.Zero(t, clock.JumpMs)
	_, err = tn.client.ConfirmClock(t.Context(), wire.ConfirmClock{})
	require.True(t, client.IsCode(err, "forbidden"), "%v", err)

	// A reading that is an hour off, as after the database's clock was set. The next true one takes that back within a second.
	held := s.activeFor(tn, "30m", "30m")
	require.Eventually(t, func() bool {
		s.store.Clock().Observe(time.Now().Add(time.Hour))
		clock, err = s.admin.Clock(t.Context())
		return err == nil && !clock.Sure
	}, 30*time.Second, 10*time.Millisecond)
	require.InDelta(t, time.Hour.Milliseconds(), clock.JumpMs, 10_000)
	confirmed, err := s.admin.ConfirmClock(t.Context(), wire.ConfirmClock{Reason: "it was set"}, client.IdempotencyKey("k"))
	require.NoError(t, err)
	require.True(t, confirmed.Sure)
	require.Positive(t, confirmed.Position)
	_, err = s.admin.ConfirmClock(t.Context(), wire.ConfirmClock{Reason: "it was set"}, client.IdempotencyKey("k"))
	require.NoError(t, err)
	_, err = tn.client.RenewLease(t.Context(), held.ID, held.Fence)
	require.NoError(t, err)
}

// Each process may see a jump that no other sees: what is said of the clock is said for all that live.
func TestTheClockIsDoubtedAsLongAsAnyLivingProcessDoubtsIt(t *testing.T) {
	t.Parallel()
	s := start(t)
	processes := s.store.Processes()
	row := func(role eventstore.Role) eventstore.Process {
		p := eventstore.Process{ID: domain.WorkerID{UUID: uuid.New()}, Node: domain.NodeID{UUID: uuid.New()}, Hostname: "h", Role: role}
		require.NoError(t, processes.Register(t.Context(), p, time.Minute))
		return p
	}
	worker, other, dead := row(eventstore.RoleWorker), row(eventstore.RoleWorker), row(eventstore.RoleWorker)
	beat := func(p eventstore.Process, ttl, jump time.Duration) {
		p.Doubts, p.ClockJump = jump != 0, jump
		require.NoError(t, processes.Beat(t.Context(), p, ttl))
	}
	of := func(c wire.Clock) map[uuid.UUID]int64 {
		all := map[uuid.UUID]int64{}
		for _, p := range c.Processes {
			require.Equal(t, p.JumpMs == 0, p.Sure)
			all[p.ID] = p.JumpMs
		}
		return all
	}
	beat(dead, time.Microsecond, time.Hour)
	clock, err := s.admin.Clock(t.Context())
	require.NoError(t, err)
	require.True(t, clock.Sure, "a dead one ends nothing")
	require.Equal(t, map[uuid.UUID]int64{worker.ID.UUID: 0, other.ID.UUID: 0}, of(clock))

	beat(worker, time.Minute, 90*time.Second)
	beat(other, time.Minute, -2*time.Hour)
	clock, err = s.admin.Clock(t.Context())
	require.NoError(t, err)
	require.False(t, clock.Sure)
	require.EqualValues(t, -7_200_000, clock.JumpMs)
	require.Equal(t, map[uuid.UUID]int64{worker.ID.UUID: 90_000, other.ID.UUID: -7_200_000}, of(clock))

	// The answer to a confirmation waits until all have heard of it; but not for ever.
	beat(worker, time.Minute, 0)
	clock, err = s.admin.ConfirmClock(t.Context(), wire.ConfirmClock{})
	require.NoError(t, err)
	require.False(t, clock.Sure, "one has not heard of it")
	answered := make(chan wire.Clock, 1)
	go func() {
		clock, err := s.admin.ConfirmClock(t.Context(), wire.ConfirmClock{})
		if err != nil {
			t.Error(err)
		}
		answered <- clock
	}()
	beat(other, time.Minute, 0)
	require.True(t, (<-answered).Sure)
}

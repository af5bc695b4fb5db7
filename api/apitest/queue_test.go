package apitest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/eventstore/commands"
)

// limited is a tenant whose environment has one slot and so many places to wait.
func (s *server) limited(maxQueued int) tenant {
	s.t.Helper()
	tn := s.tenant("acme")
	env, err := s.admin.AddEnvironment(s.t.Context(), tn.company, wire.AddEnvironment{Name: "one", Driver: "local", MaxLeases: 1, MaxQueued: &maxQueued})
	require.NoError(s.t, err)
	require.Equal(s.t, maxQueued, env.MaxQueued)
	tn.env = env
	return tn
}

// queued asks for a lease that is to wait.
func (s *server) queued(tn tenant, run string, change func(*wire.AcquireLease)) wire.Lease {
	s.t.Helper()
	in := tn.ask(run)
	if change != nil {
		change(&in)
	}
	got, _, err := tn.client.AcquireLease(s.t.Context(), tn.company, in)
	require.NoError(s.t, err)
	require.Equal(s.t, wire.LeaseQueued, got.Lease.Status)
	return got.Lease
}

func (s *server) explain(tn tenant, id uuid.UUID) wire.Explanation {
	s.t.Helper()
	x, err := tn.client.ExplainLease(s.t.Context(), id)
	require.NoError(s.t, err)
	require.NotEmpty(s.t, x.Summary)
	return x
}

func (s *server) released(tn tenant, id uuid.UUID) {
	s.t.Helper()
	l, err := tn.client.ReleaseLease(s.t.Context(), id, wire.Release{}, client.Wait(time.Minute))
	require.NoError(s.t, err)
	require.Equal(s.t, wire.LeaseReleased, l.Status)
}

func TestWhyALeaseWaitsIsExplained(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.limited(10)
	holder := s.lease(tn, "holder")
	x := s.explain(tn, holder.ID)
	require.Nil(t, x.Waiting)
	require.Nil(t, x.Work)
	require.Equal(t, "free", x.Grant.Rule)
	require.Empty(t, x.Constraints)

	first := s.queued(tn, "a-1", func(in *wire.AcquireLease) { in.AgentID = "a" })
	second := s.queued(tn, "a-2", func(in *wire.AcquireLease) { in.AgentID = "a" })
	third := s.queued(tn, "b-1", func(in *wire.AcquireLease) { in.AgentID = "b" })
	urgent := s.queued(tn, "urgent", func(in *wire.AcquireLease) { in.Priority, in.QueueTimeout = "high", "1h" })
	order := func() (ids []uuid.UUID) {
		q, err := tn.client.Queue(t.Context(), tn.env.ID)
		require.NoError(t, err)
		require.Equal(t, 1, q.Held)
		require.Equal(t, 32, q.MostOvertaken)
		for _, e := range q.Items {
			ids = append(ids, e.LeaseID)
		}
		return ids
	}
	require.Equal(t, []uuid.UUID{urgent.ID, first.ID, third.ID, second.ID}, order())

	x = s.explain(tn, second.ID)
	require.Equal(t, "queued", x.Status)
	w := x.Waiting
	require.Equal(t, 4, w.Entry.Place)
	require.Equal(t, 4, w.Of)
	require.Nil(t, w.Entry.ExpectedWaitMs, "nothing was freed yet while somebody waited")
	require.Contains(t, x.Summary, "unknown")
	require.Equal(t, []string{"class", "age", "fairness"}, []string{w.Ahead[0].Rule, w.Ahead[1].Rule, w.Ahead[2].Rule})
	require.Equal(t, []string{"urgent", "a-1", "b-1"}, []string{w.Ahead[0].HeartbeatRunID, w.Ahead[1].HeartbeatRunID, w.Ahead[2].HeartbeatRunID})
	require.Len(t, w.Holders, 1)
	require.Equal(t, holder.ID, w.Holders[0].LeaseID)
	require.Equal(t, "holder", w.Holders[0].HeartbeatRunID)
	require.NotNil(t, w.Holders[0].Since)
	require.Equal(t, 1, w.Capacity)
	state := map[string]bool{}
	for _, c := range x.Constraints {
		state[c.Constraint] = c.OK
		require.Equal(t, !c.OK, c.Remediation != "", "%+v", c)
	}
	require.Equal(t, map[string]bool{"environment_active": true, "provider_available": true, "slot_free": false, "queue_room": true}, state)
	require.NotNil(t, s.explain(tn, urgent.ID).Waiting.Entry.Deadline)

	s.released(tn, holder.ID)
	active, err := tn.client.Lease(t.Context(), urgent.ID, client.Wait(time.Minute))
	require.NoError(t, err)
	require.Equal(t, wire.LeaseActive, active.Status)
	x = s.explain(tn, urgent.ID)
	require.Equal(t, "class", x.Grant.Rule)
	require.Nil(t, x.Waiting)
	x = s.explain(tn, second.ID)
	require.Equal(t, 3, x.Waiting.Entry.Place)
	require.Equal(t, 1, x.Waiting.Entry.Overtaken)
	require.NotNil(t, x.Waiting.Entry.ExpectedWaitMs)
	require.Equal(t, 1, x.Waiting.Samples)
}

func TestALeaseShowsByWhatItIsPutInOrder(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.limited(10)
	type standing struct {
		priority, key string
		weight        int
	}
	of := func(l wire.Lease) standing { return standing{l.Priority, l.FairnessKey, l.Weight} }
	weight := 7
	for _, c := range []struct {
		ask  func(*wire.AcquireLease)
		want standing
	}{
		{func(*wire.AcquireLease) {}, standing{"normal", "", 1}},
		{func(in *wire.AcquireLease) { in.AgentID = "a" }, standing{"normal", "a", 1}},
		{func(in *wire.AcquireLease) {
			in.AgentID, in.Priority, in.FairnessKey, in.Weight = "a", "low", "team", &weight
		}, standing{"low", "team", 7}},
	} {
		in := tn.ask("r-" + c.want.priority + c.want.key)
		c.ask(&in)
		got, _, err := tn.client.AcquireLease(t.Context(), tn.company, in)
		require.NoError(t, err)
		require.Equal(t, c.want, of(got.Lease))
		l, err := tn.client.Lease(t.Context(), got.Lease.ID)
		require.NoError(t, err)
		require.Equal(t, c.want, of(l))
		list, err := tn.client.Leases(t.Context(), tn.company, client.LeaseFilter{HeartbeatRunID: in.HeartbeatRunID}, client.MinPosition(got.Position))
		require.NoError(t, err)
		require.Len(t, list.Items, 1)
		require.Equal(t, c.want, of(list.Items[0]))
	}
}

func TestALeaseThatIsBeingMadeOrRemovedSaysSo(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	slow, _, err := tn.client.AcquireLease(t.Context(), tn.company, tn.ask("slow"))
	require.NoError(t, err)
	require.Equal(t, "provision", s.explain(tn, slow.Lease.ID).Work.Step)
	sticky := s.lease(tn, "sticky")
	_, err = tn.client.ReleaseLease(t.Context(), sticky.ID, wire.Release{})
	require.NoError(t, err)
	require.Equal(t, "release", s.explain(tn, sticky.ID).Work.Step)
}

func TestAFullQueueSaysWhenToComeAgain(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.limited(1)
	holder := s.lease(tn, "holder")
	s.queued(tn, "first", nil)
	before := s.head()
	path := "/api/v1/companies/" + tn.company.String() + "/leases"
	busy := func(more, code string) int {
		resp, answer := s.raw(tn.key, http.MethodPost, path, `{"environmentId":"`+tn.env.ID.String()+`","heartbeatRunId":"r"`+more+`}`)
		var p wire.Problem
		require.NoError(t, json.Unmarshal(answer, &p))
		require.Equal(t, []any{http.StatusTooManyRequests, code, true}, []any{p.Status, p.Code, p.Retryable})
		require.NotEmpty(t, p.Remediation)
		after, err := strconv.Atoi(resp.Header.Get("Retry-After"))
		require.NoError(t, err)
		return after
	}
	require.Equal(t, 5, busy("", "queue_full"), "nothing is known yet")
	require.Equal(t, 5, busy(`,"noWait":true`, "no_capacity_now"))
	require.Equal(t, before, s.head(), "what was refused left nothing")

	s.released(tn, holder.ID)
	s.queued(tn, "second", nil)
	require.Positive(t, busy("", "queue_full"))
}

func TestWhoDoesNotWaitGetsAFreeSlot(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.limited(0)
	in := tn.ask("now")
	in.NoWait = true
	_, ready, err := tn.client.AcquireLease(t.Context(), tn.company, in, client.Wait(time.Minute))
	require.NoError(t, err)
	require.True(t, ready)
}

func TestALeaseGivesUpWaitingAndLeavesTheQueue(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.limited(1)
	s.lease(tn, "holder")
	l := s.queued(tn, "hasty", func(in *wire.AcquireLease) { in.QueueTimeout = "20ms" })
	// The supervisor's sweep does this.
	require.Eventually(t, func() bool {
		done, err := s.commands.TimeOutLease(t.Context(), commands.Caller{}, domain.LeaseID{UUID: l.ID})
		return err == nil && done.Changed
	}, time.Minute, 5*time.Millisecond)
	_, _, err := tn.client.AcquireLease(t.Context(), tn.company, tn.ask("next"))
	require.NoError(t, err, "its place is free again")
	got, err := tn.client.Lease(t.Context(), l.ID)
	require.NoError(t, err)
	require.Equal(t, wire.LeaseFailed, got.Status)
	require.Contains(t, *got.FailureReason, "queue_timeout")
	require.Contains(t, s.explain(tn, l.ID).Summary, "queue_timeout")
}

func TestWhatCanNeverBeMetIsRefusedAtOnceWithAllThatFails(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	env, err := s.admin.AddEnvironment(t.Context(), tn.company, wire.AddEnvironment{Name: "off", Driver: "local", Config: json.RawMessage(`{"path":"/unavailable"}`)})
	require.NoError(t, err)
	tn.env = env
	before := s.head()
	refused := func() *client.Problem {
		_, _, err := tn.client.AcquireLease(t.Context(), tn.company, tn.ask("r"))
		p, ok := errors.AsType[*client.Problem](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, []any{409, "unsatisfiable", "environmentId", false}, []any{p.Status, p.Code, p.Field, p.Retryable})
		return p
	}
	p := refused()
	require.Len(t, p.Constraints, 1)
	require.Equal(t, wire.Constraint{
		Constraint: "provider_available", Detail: "the plugin that makes them is disabled", Remediation: "enable it",
	}, p.Constraints[0])
	require.Equal(t, before, s.head())
	_, err = tn.operator.ArchiveEnvironment(t.Context(), env.ID, wire.RetireEnvironment{})
	require.NoError(t, err)
	p = refused()
	require.Len(t, p.Constraints, 2)
	require.Contains(t, p.Detail, "archived")
	require.Contains(t, p.Detail, "disabled")
}

func TestABadWayToWaitIsRefusedWithTheFieldAndMakesNothing(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.limited(10)
	before := s.head()
	path := "/api/v1/companies/" + tn.company.String() + "/leases"
	for body, want := range map[string][2]string{
		`"priority":"urgent"`:                   {"unknown_priority", "priority"},
		`"weight":0`:                            {"invalid_weight", "weight"},
		`"weight":-1`:                           {"invalid_weight", "weight"},
		`"weight":101`:                          {"invalid_weight", "weight"},
		`"weight":1e30`:                         {"wrong_type", "weight"},
		`"weight":"x"`:                          {"wrong_type", "weight"},
		`"queueTimeout":"0s"`:                   {"invalid_duration", "queueTimeout"},
		`"queueTimeout":"-5s"`:                  {"invalid_duration", "queueTimeout"},
		`"queueTimeout":"soon"`:                 {"invalid_duration", "queueTimeout"},
		`"queueTimeout":"999999h"`:              {"invalid_duration", "queueTimeout"},
		`"queueTimeout":"9999999999999h"`:       {"invalid_duration", "queueTimeout"},
		`"queueTimeout":"1s","noWait":true`:     {"conflicting_fields", "queueTimeout"},
		`"fairnessKey":"a\u0000"`:               {"invalid_text", "fairnessKey"},
		`"noWait":"yes"`:                        {"wrong_type", "noWait"},
		`"fairnessKey":"` + long(256) + `"`:     {"text_too_long", "fairnessKey"},
		`"queueTimeout":"` + long(10_000) + `"`: {"invalid_duration", "queueTimeout"},
	} {
		p := s.problem(tn.key, http.MethodPost, path, `{"environmentId":"`+tn.env.ID.String()+`","heartbeatRunId":"r",`+body+`}`)
		require.Equal(t, 400, p.Status, body)
		require.Equal(t, want, [2]string{p.Code, p.Field}, body)
	}
	operator := s.addKey("operator", tn.company)
	for _, body := range []string{`{"maxQueued":-1}`, `{"maxQueued":100001}`, `{"maxQueued":1e40}`, `{"maxQueued":"x"}`, `{"maxQueued":1.5}`} {
		p := s.problem(operator, http.MethodPatch, "/api/v1/environments/"+tn.env.ID.String(), body)
		require.Equal(t, []any{400, "maxQueued"}, []any{p.Status, p.Field}, body)
	}
	require.Equal(t, before+1, s.head(), "but for the key")
}

func long(n int) string { return fmt.Sprintf("%0*d", n, 0) }

func TestAChangeOfLimitsSaysWhatItMeans(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.limited(10)
	patch := func(change map[string]any) wire.Environment {
		t.Helper()
		env, err := tn.operator.PatchEnvironment(t.Context(), tn.env.ID, change)
		require.NoError(t, err)
		return env
	}
	require.Empty(t, patch(map[string]any{"maxLeases": 2}).Warnings)
	first, second := s.lease(tn, "1"), s.lease(tn, "2")
	waits := s.queued(tn, "3", nil)
	env := patch(map[string]any{"maxLeases": 1})
	require.Len(t, env.Warnings, 1)
	require.Contains(t, env.Warnings[0], "2 leases hold a slot of 1")
	s.released(tn, first.ID)
	require.NotNil(t, s.explain(tn, waits.ID).Waiting, "there is no room yet")
	s.released(tn, second.ID)
	active, err := tn.client.Lease(t.Context(), waits.ID, client.Wait(time.Minute))
	require.NoError(t, err)
	require.Equal(t, wire.LeaseActive, active.Status)

	other := s.queued(tn, "4", nil)
	env = patch(map[string]any{"maxLeases": 0})
	require.Contains(t, env.Warnings[0], "no limit")
	active, err = tn.client.Lease(t.Context(), other.ID, client.Wait(time.Minute))
	require.NoError(t, err)
	require.Equal(t, wire.LeaseActive, active.Status)
	require.Contains(t, patch(map[string]any{"maxQueued": 0}).Warnings[0], "nobody")
	require.Equal(t, 1000, patch(map[string]any{"maxQueued": nil}).MaxQueued)
	got, err := tn.client.Environment(t.Context(), tn.env.ID)
	require.NoError(t, err)
	require.Empty(t, got.Warnings)
}

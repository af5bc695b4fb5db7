package apitest_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api"
	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

// renewed counts renewals: each moves the hard end of its lease by more than what is coalesced.
var renewed atomic.Int64

// renew puts n events on a lease.
func (s *server) renew(id uuid.UUID, n int) {
	s.t.Helper()
	for range n {
		ttl := 24*time.Hour + 2*time.Minute*time.Duration(renewed.Add(1))
		_, err := s.commands.RenewLease(s.t.Context(), commands.Caller{}, domain.LeaseID{UUID: id}, commands.Renewal{TTL: &ttl})
		require.NoError(s.t, err)
	}
}

func positions(events []wire.Event) []int64 {
	out := make([]int64, len(events))
	for i, e := range events {
		out[i] = e.Position
	}
	return out
}

func TestReconnectedStreamHasExactlyTheMissingEvents(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	s := startOn(t, pool, "")
	tn := s.tenant("acme")
	l := s.lease(tn, "run")
	all, err := tn.client.LeaseEvents(t.Context(), l.ID)
	require.NoError(t, err)
	ctx, cut := context.WithCancel(t.Context())
	var last int64
	for e, err := range tn.client.FollowLeaseEvents(ctx, l.ID, 0) {
		require.NoError(t, err)
		if last = e.Position; last == all.Items[len(all.Items)-1].Position {
			break
		}
	}
	cut()
	s.renew(l.ID, 30)

	// Another process serves the reconnection: the ids are the log's.
	s = startOn(t, pool, s.adminKey)
	missing, err := s.client(tn.key).LeaseEvents(t.Context(), l.ID, client.Page(fmt.Sprint(last), 0))
	require.NoError(t, err)
	require.Len(t, missing.Items, 30)
	var got []wire.Event
	for e, err := range s.client(tn.key).FollowLeaseEvents(t.Context(), l.ID, last) {
		require.NoError(t, err)
		require.Equal(t, "LeaseRenewed", e.Name)
		if got = append(got, e); len(got) == 30 {
			s.renew(l.ID, 1) // and then live
		}
		if len(got) == 31 {
			break
		}
	}
	require.Equal(t, positions(missing.Items), positions(got[:30]))
	require.Equal(t, s.head(), got[30].Position)
}

func TestServerSentEventsLookAsTheStandardSays(t *testing.T) {
	t.Parallel()
	s := start(t, withLimits(api.Limits{Heartbeat: 20 * time.Millisecond}))
	tn := s.tenant("acme")
	l := s.lease(tn, "run")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/api/v1/leases/"+l.ID.String()+"/events", nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+tn.key)
	req.Header.Set("Accept", "text/event-stream")
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, "text/event-stream", resp.Header.Get("Content-Type"))
	scan := bufio.NewScanner(resp.Body)
	var first []string
	for scan.Scan() {
		if strings.HasPrefix(scan.Text(), ": ") {
			break // a heartbeat
		}
		if len(first) < 5 {
			first = append(first, scan.Text())
		}
	}
	var e wire.Event
	require.NoError(t, json.Unmarshal([]byte(strings.TrimPrefix(first[4], "data: ")), &e))
	require.Equal(t, []string{"retry: 1000", "", fmt.Sprintf("id: 1-%d", e.Position), "event: LeaseRequested"}, first[:4])
	require.Equal(t, "LeaseRequested", e.Name)
	require.NotNil(t, e.ActorID)
	require.NotNil(t, e.RequestID)
}

func TestStreamOfARevokedKeyEnds(t *testing.T) {
	t.Parallel()
	s := start(t, withLimits(api.Limits{Heartbeat: 20 * time.Millisecond}))
	tn := s.tenant("acme")
	l := s.lease(tn, "run")
	k, err := tn.admin.AddKey(t.Context(), tn.company, wire.AddKey{Name: "watcher", Role: "auditor"})
	require.NoError(t, err)
	revoked := false
	for _, err := range s.client(k.Key).FollowLeaseEvents(t.Context(), l.ID, 0) {
		require.NoError(t, err)
		if !revoked {
			_, err := tn.admin.RevokeKey(t.Context(), k.ID)
			require.NoError(t, err)
			revoked = true
		}
	}
	require.True(t, revoked, "and the loop above ended")
}

func TestGlobalFeedShowsACompanyItsOwnEvents(t *testing.T) {
	t.Parallel()
	s := start(t)
	one, two := s.tenant("one"), s.tenant("two")
	mine, theirs := s.lease(one, "run"), s.lease(two, "run")
	s.renew(theirs.ID, 2)
	s.renew(mine.ID, 1)

	var seen []wire.Event
	for after := ""; ; {
		page, err := one.auditor.Events(t.Context(), client.Page(after, 3))
		require.NoError(t, err)
		seen = append(seen, page.Items...)
		if page.Next == nil {
			break
		}
		after = *page.Next
	}
	for i, e := range seen {
		require.Equal(t, one.company, *e.CompanyID)
		require.EqualValues(t, i+1, e.CompanyPosition, "none is missing")
	}
	require.Equal(t, "LeaseRenewed", seen[len(seen)-1].Name)

	all, err := s.admin.Events(t.Context(), client.Page("", 1000))
	require.NoError(t, err)
	require.Len(t, all.Items, int(s.head()))
	_, err = one.client.Events(t.Context())
	require.True(t, client.IsCode(err, "forbidden"), "%v", err)

	var followed []int64
	for e, err := range one.auditor.FollowEvents(t.Context(), seen[2].Position) {
		require.NoError(t, err)
		if followed = append(followed, e.Position); len(followed) == len(seen)-3 {
			break
		}
	}
	require.Equal(t, positions(seen[3:]), followed)
}

func TestShutdownEndsStreamsInOrderAndAnswersWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	s := start(t)
	tn := s.tenant("acme")
	l := s.lease(tn, "run")
	x, err := tn.client.StartExec(t.Context(), l.ID, l.Fence, wire.StartExec{Argv: []string{"hang", "first"}})
	require.NoError(t, err)
	open := make(chan struct{}, 4)
	ended := make(chan error, 4)
	for range 3 {
		go func() {
			var failed error
			first := true
			for _, err := range tn.client.FollowLeaseEvents(t.Context(), l.ID, 0) {
				failed = err
				if first {
					open <- struct{}{}
				}
				first = false
			}
			ended <- failed
		}()
	}
	go func() {
		var failed error
		for _, err := range tn.client.ExecOutput(t.Context(), x.ID, client.OutputOptions{Follow: true}) {
			failed = err
			open <- struct{}{}
		}
		ended <- failed
	}()
	waited := make(chan error, 1)
	go func() {
		_, _, err := tn.client.AcquireLease(t.Context(), tn.company, tn.ask("slow"), client.Wait(2*time.Minute))
		waited <- err
	}()
	for range 4 {
		<-open
	}
	require.Eventually(t, func() bool {
		list, err := tn.auditor.Leases(t.Context(), tn.company, client.LeaseFilter{HeartbeatRunID: "slow"})
		return err == nil && len(list.Items) == 1
	}, time.Minute, 5*time.Millisecond)

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, s.api.Shutdown(ctx))

	for range 4 {
		require.NoError(t, <-ended, "a clean close")
	}
	require.NoError(t, <-waited, "what waited is answered as it is")
	p := s.problem(tn.key, "GET", "/api/v1/leases/"+l.ID.String(), "")
	require.Equal(t, 503, p.Status)
	require.Equal(t, "shutting_down", p.Code)
	require.NoError(t, s.api.Shutdown(ctx), "again is harmless")
}

func TestSlowUploadHoldsShutdownNoLongerThanItsLimit(t *testing.T) {
	t.Parallel()
	s := start(t, withLimits(api.Limits{BodyTimeout: 200 * time.Millisecond}))
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	require.NoError(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "POST /api/v1/companies HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", s.adminKey)
	require.NoError(t, err)
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer answer.Body.Close()
	require.Equal(t, 400, answer.StatusCode)
	require.NoError(t, s.api.Shutdown(t.Context()))
}

func TestReaderThatTakesNothingIsCutOff(t *testing.T) {
	t.Parallel()
	s := start(t, withLimits(api.Limits{WriteTimeout: 100 * time.Millisecond}))
	tn := s.tenant("acme")
	l := s.lease(tn, "run")
	x, err := tn.client.StartExec(t.Context(), l.ID, l.Fence, wire.StartExec{Argv: []string{"hang"}})
	require.NoError(t, err)
	out := s.worker.output(domain.ExecID{UUID: x.ID})
	piece := make([]byte, 256<<10)
	for range 128 { // more than any socket's buffers hold
		out.write("stdout", piece)
	}
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	require.NoError(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "GET /api/v1/execs/%s/output?follow=true&raw=true HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", x.ID, tn.key)
	require.NoError(t, err)
	_, err = io.ReadFull(conn, make([]byte, 100))
	require.NoError(t, err, "it has begun")
	require.Eventually(t, func() bool {
		_, metrics := s.raw(s.adminKey, "GET", "/metrics", "")
		return strings.Contains(string(metrics), "tenure_http_streams 0")
	}, time.Minute, 10*time.Millisecond)
	require.NoError(t, s.api.Shutdown(t.Context()))
}

func TestMoreStreamsThanTheLimitAreRefused(t *testing.T) {
	t.Parallel()
	s := start(t, withLimits(api.Limits{MaxStreams: 1}))
	tn := s.tenant("acme")
	l := s.lease(tn, "run")
	for _, err := range tn.client.FollowLeaseEvents(t.Context(), l.ID, 0) {
		require.NoError(t, err)
		p := s.problem(tn.key, "GET", "/api/v1/leases/"+l.ID.String()+"/events", "", "Accept", "text/event-stream")
		require.Equal(t, "too_many_streams", p.Code)
		break
	}
}

package apitest_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api"
	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/domaintest"
	"github.com/tenure-dev/tenure/domain/epoch"
	"github.com/tenure-dev/tenure/eventstore/commands"
)

// keeper plays the log's own life.
type keeper struct {
	mu      sync.Mutex
	now     api.LogDescription
	adopted []api.LogAdoption
}

func (k *keeper) Now() api.LogNow {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.now.LogNow
}

func (k *keeper) Describe(context.Context) (api.LogDescription, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.now, nil
}

func (k *keeper) Adopt(_ context.Context, _ commands.Caller, a api.LogAdoption) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.now.Forked {
		return domain.Refuse(domain.KindConflict, "log_not_forked", "the log has not forked").Mend("nothing is to be done")
	}
	k.adopted = append(k.adopted, a)
	k.now.Forked = false
	return nil
}

func TestALogThatHasForkedIsShownAndAdopted(t *testing.T) {
	t.Parallel()
	forked := domaintest.Of[epoch.Event]()[0].(epoch.Forked)
	k := &keeper{now: api.LogDescription{
		LogNow: api.LogNow{Installation: uuid.New(), Epoch: 2, Forked: true}, Position: 101, Standbys: 1,
		State: epoch.State{Forked: true, Forks: []epoch.Forked{forked}, LostAtMost: forked.LostAtMost()}, Place: forked.Is,
	}}
	s := start(t, func(d *api.Deps) { d.Log = k })
	h, err := s.admin.Health(t.Context())
	require.NoError(t, err)
	require.Equal(t, wire.LogForked, h.Log)
	l, err := s.admin.Log(t.Context())
	require.NoError(t, err)
	require.Equal(t, wire.LogForked, l.State)
	require.EqualValues(t, 5, l.LostAtMost)
	require.Equal(t, []string{"lost", "timeline"}, l.Forks[0].Findings)
	require.Equal(t, wire.LogMark{Epoch: 1, Position: 105, Hash: domaintest.Hash}, *l.Forks[0].Remembered)

	l, err = s.admin.AdoptLog(t.Context(), wire.AdoptLog{Reason: "failover", Epoch: 2})
	require.NoError(t, err)
	require.Equal(t, wire.LogInForce, l.State)
	require.Equal(t, []api.LogAdoption{{Reason: "failover", Epoch: 2}}, k.adopted)
	again := s.problem(s.adminKey, http.MethodPost, "/api/v1/log/adopt", "")
	require.Equal(t, http.StatusConflict, again.Status)
	require.Equal(t, "log_not_forked", again.Code)
	bad := s.problem(s.adminKey, http.MethodPost, "/api/v1/log/adopt", `{"epoch": -1}`)
	require.Equal(t, http.StatusBadRequest, bad.Status)
	require.Equal(t, "epoch", bad.Field)
}

// A position names another event once the log has forked before it, so a cursor names its epoch too.
func TestACursorOfAnEventThatWasLostIsReset(t *testing.T) {
	t.Parallel()
	s := start(t)
	for range 3 {
		_, err := s.admin.AddCompany(t.Context(), wire.AddCompany{Name: uuid.NewString()})
		require.NoError(t, err)
	}
	page, err := s.admin.Events(t.Context(), client.Page("", 2))
	require.NoError(t, err)
	require.Equal(t, "1-2", *page.Next)
	head := page.Position

	kept, lost := *page.Next, fmt.Sprintf("1-%d", head)
	_, err = s.pool.Exec(t.Context(), `DELETE FROM events WHERE position = $1`, head)
	require.NoError(t, err)
	require.NoError(t, s.store.Look(t.Context()))
	_, err = s.admin.AddCompany(t.Context(), wire.AddCompany{Name: uuid.NewString()})
	require.NoError(t, err)
	require.EqualValues(t, 2, s.store.Epoch())
	page, err = s.admin.Events(t.Context(), client.Page(kept, 100))
	require.NoError(t, err)
	require.NotEmpty(t, page.Items)
	for _, cursor := range []string{lost, fmt.Sprintf("2-%d", head+100), fmt.Sprintf("1-%d", head+1), fmt.Sprint(head + 100)} {
		p := s.problem(s.adminKey, http.MethodGet, "/api/v1/events?after="+cursor, "")
		require.Equal(t, http.StatusGone, p.Status, cursor)
		require.Equal(t, "cursor_reset", p.Code)
		require.Equal(t, "after", p.Field)
		p = s.problem(s.adminKey, http.MethodGet, "/api/v1/events", "", "Accept", wire.TypeEventStream, wire.HeaderLastEventID, cursor)
		require.Equal(t, "cursor_reset", p.Code)
		require.Equal(t, wire.HeaderLastEventID, p.Field)
	}
	for _, cursor := range []string{"x", "0-1", "-1", "1-", "1-x"} {
		require.Equal(t, http.StatusBadRequest, s.problem(s.adminKey, http.MethodGet, "/api/v1/events?after="+cursor, "").Status, cursor)
	}
}

package commands_test

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/environment"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/selection"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/eventstore/memory"
	"github.com/tenure-dev/tenure/eventstore/vault"
)

// What one process knows of an environment is old once another has archived it: the log refuses the append, and the choice is
// made again.
func TestTheChoiceIsMadeOnTheStreamsThatTheAppendHolds(t *testing.T) {
	t.Parallel()
	store := memory.New()
	here, there := commands.New(eventstore.NewLedger(store), vault.InMemory()), commands.New(eventstore.NewLedger(store), vault.InMemory())
	company, first, second := domain.CompanyID{UUID: uuid.New()}, domain.EnvironmentID{UUID: uuid.New()}, domain.EnvironmentID{UUID: uuid.New()}
	_, err := here.AddCompany(t.Context(), commands.Caller{}, company, "acme")
	require.NoError(t, err)
	for _, id := range []domain.EnvironmentID{first, second} {
		_, err := here.RegisterEnvironment(t.Context(), commands.Caller{}, id, environment.Registered{Company: company, Name: "local", Driver: "local"}, commands.NoSecretFields)
		require.NoError(t, err)
	}
	var archive, byDefault sync.Once
	ask := func(change func()) lease.State {
		t.Helper()
		id := domain.LeaseID{UUID: uuid.New()}
		_, err := here.AcquireLease(t.Context(), commands.Caller{}, commands.Acquire{
			Lease: id, Company: company, Provider: func(driver string, _ json.RawMessage) string {
				change() // the environment was looked at, and nothing is appended yet
				return driver
			},
			Run: "run", Policy: lease.PolicyEphemeral, TTL: time.Hour, IdleTimeout: time.Hour,
			Selection: &commands.Selection{Locals: func(context.Context, bool) ([]domain.EnvironmentID, error) {
				return []domain.EnvironmentID{first, second}, nil
			}},
		})
		require.NoError(t, err)
		l, err := here.Lease(t.Context(), id)
		require.NoError(t, err)
		return l
	}
	require.Equal(t, first, ask(func() {}).Environment)

	got := ask(func() {
		archive.Do(func() {
			_, err := there.RetireEnvironment(t.Context(), commands.Caller{}, first, commands.Retirement{Force: true})
			require.NoError(t, err)
		})
	})
	require.Equal(t, second, got.Environment)
	require.Equal(t, selection.LevelLocal, got.Selection.Level)

	// So is a default that is set meanwhile.
	got = ask(func() {
		byDefault.Do(func() {
			_, err := there.SetDefaultEnvironment(t.Context(), commands.Caller{}, company, 0,
				func(domain.EnvironmentID) domain.EnvironmentID { return second })
			require.NoError(t, err)
		})
	})
	require.Equal(t, selection.LevelCompany, got.Selection.Level)
}

// A list that is behind shows what was archived a moment ago and not what was added: it is no reason to say that there is none.
func TestAListThatIsBehindIsAskedForAgainBeforeThereIsNone(t *testing.T) {
	t.Parallel()
	c := commands.New(eventstore.NewLedger(memory.New()), vault.InMemory())
	company, archived, added := domain.CompanyID{UUID: uuid.New()}, domain.EnvironmentID{UUID: uuid.New()}, domain.EnvironmentID{UUID: uuid.New()}
	_, err := c.AddCompany(t.Context(), commands.Caller{}, company, "acme")
	require.NoError(t, err)
	for _, id := range []domain.EnvironmentID{archived, added} {
		_, err := c.RegisterEnvironment(t.Context(), commands.Caller{}, id, environment.Registered{Company: company, Name: "local", Driver: "local"}, commands.NoSecretFields)
		require.NoError(t, err)
	}
	_, err = c.RetireEnvironment(t.Context(), commands.Caller{}, archived, commands.Retirement{Force: true})
	require.NoError(t, err)
	for _, behind := range [][]domain.EnvironmentID{nil, {archived}} {
		ask := func(current ...domain.EnvironmentID) (lease.State, error) {
			id := domain.LeaseID{UUID: uuid.New()}
			_, err := c.AcquireLease(t.Context(), commands.Caller{}, commands.Acquire{
				Lease: id, Company: company, Provider: func(driver string, _ json.RawMessage) string { return driver },
				Run: "run", Policy: lease.PolicyEphemeral, TTL: time.Hour, IdleTimeout: time.Hour,
				Selection: &commands.Selection{Locals: func(_ context.Context, now bool) ([]domain.EnvironmentID, error) {
					if now {
						return current, nil
					}
					return behind, nil
				}},
			})
			if err != nil {
				return lease.State{}, err
			}
			return c.Lease(t.Context(), id)
		}
		got, err := ask(added)
		require.NoError(t, err)
		require.Equal(t, added, got.Environment)
		_, err = ask()
		_ = refused(t, err, "no_environment")
	}
}

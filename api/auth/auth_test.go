package auth_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/api/auth"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/access"
	"github.com/tenure-dev/tenure/domain/key"
)

func someKey() (auth.Key, key.State) {
	k := auth.NewKey(domain.KeyID{UUID: uuid.New()})
	return k, key.State{Status: key.StatusActive, Key: key.Added{
		Role: access.RoleClient, Hash: k.Hash(), Principal: domain.PrincipalID{UUID: uuid.New()}, Company: domain.CompanyID{UUID: uuid.New()},
	}}
}

func TestKeyLetsItsHolderIn(t *testing.T) {
	t.Parallel()
	k, state := someKey()
	keys := auth.NewKeys(func(context.Context, domain.KeyID) (key.State, error) { return state, nil })

	p, err := keys.Check(t.Context(), "Bearer "+k.Reveal())

	require.NoError(t, err)
	require.Equal(t, access.Principal{ID: state.Key.Principal, Key: k.ID, Role: access.RoleClient, Company: state.Key.Company}, p)
}

func TestWhatIsNoValidKeyIsDenied(t *testing.T) {
	t.Parallel()
	k, state := someKey()
	other := auth.NewKey(k.ID)
	keys := auth.NewKeys(func(_ context.Context, id domain.KeyID) (key.State, error) {
		if id == k.ID {
			return state, nil
		}
		return key.State{}, nil
	})
	for _, header := range []string{
		"", "Bearer", "Bearer ", "Basic " + k.Reveal(), k.Reveal(), "Bearer tnr_", "Bearer " + k.Reveal()[:40],
		"Bearer " + other.Reveal(), "Bearer " + auth.NewKey(domain.KeyID{UUID: uuid.New()}).Reveal(), "Bearer " + k.Reveal() + "x",
	} {
		_, err := keys.Check(t.Context(), header)
		require.ErrorIs(t, err, auth.ErrDenied, "%q", header)
	}
}

func TestRevokedKeyIsDeniedWithinASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k, state := someKey()
		loads := 0
		keys := auth.NewKeys(func(context.Context, domain.KeyID) (key.State, error) {
			loads++
			return state, nil
		})
		for range 10 {
			_, err := keys.Check(t.Context(), "Bearer "+k.Reveal())
			require.NoError(t, err)
		}
		require.Equal(t, 1, loads, "a known key needs no look-up")

		state.Status = key.StatusRevoked
		<-time.After(auth.Freshness)

		_, err := keys.Check(t.Context(), "Bearer "+k.Reveal())
		require.ErrorIs(t, err, auth.ErrDenied)
	})
}

func TestForgottenKeyIsLoadedAtOnce(t *testing.T) {
	t.Parallel()
	k, state := someKey()
	keys := auth.NewKeys(func(context.Context, domain.KeyID) (key.State, error) { return state, nil })
	_, err := keys.Check(t.Context(), "Bearer "+k.Reveal())
	require.NoError(t, err)

	state.Status = key.StatusRevoked
	keys.Forget(k.ID)

	_, err = keys.Check(t.Context(), "Bearer "+k.Reveal())
	require.ErrorIs(t, err, auth.ErrDenied)
}

func TestNobodyIsLetInWhileKeysCannotBeLookedUp(t *testing.T) {
	t.Parallel()
	k, _ := someKey()
	down := errors.New("down")
	keys := auth.NewKeys(func(context.Context, domain.KeyID) (key.State, error) { return key.State{}, down })

	_, err := keys.Check(t.Context(), "Bearer "+k.Reveal())

	require.ErrorIs(t, err, down)
}

func TestKeyIsNotPrintedByAccident(t *testing.T) {
	t.Parallel()
	k, _ := someKey()
	require.NotContains(t, k.String(), k.Reveal()[len(k.Reveal())-20:])
	parsed, err := auth.Parse(k.Reveal())
	require.NoError(t, err)
	require.Equal(t, k.Hash(), parsed.Hash())
}

func FuzzParse(f *testing.F) {
	k, _ := someKey()
	f.Add(k.Reveal())
	f.Add("tnr_00000000000000000000000000000000_")
	f.Fuzz(func(t *testing.T, s string) {
		if k, err := auth.Parse(s); err == nil && len(k.Hash()) != 64 {
			t.Fatalf("%q: hash %q", s, k.Hash())
		}
	})
}

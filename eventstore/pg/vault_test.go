package pg_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/eventstoretest"
	"github.com/tenure-dev/tenure/eventstore/pg"
	"github.com/tenure-dev/tenure/eventstore/vault"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

func TestOfMachinesThatStartAtOnceOneBringsTheKeyIn(t *testing.T) {
	t.Parallel()
	store := openPool(t, pgtest.Pool(t), pg.Options{})
	var wg sync.WaitGroup
	errs := make([]error, 6)
	for i := range errs {
		from := vault.InDataDir(t.TempDir())
		wg.Go(func() { _, errs[i] = vault.Settle(t.Context(), store, from, "m") })
	}
	wg.Wait()
	refused := 0
	for _, err := range errs {
		if e, ok := errors.AsType[*vault.Error](err); ok {
			require.Equal(t, vault.CodeMissing, e.Code)
			refused++
			continue
		}
		require.NoError(t, err)
	}
	require.Equal(t, len(errs)-1, refused)
	known := 0
	require.NoError(t, store.SettleKeys(t.Context(), func(k []vault.Known) ([]vault.Known, error) {
		known = len(k)
		return nil, nil
	}))
	require.Equal(t, 1, known)
}

func TestAKeyIsGivenUpOnlyOnceNothingIsSealedWithIt(t *testing.T) {
	t.Parallel()
	store := openPool(t, pgtest.Pool(t), pg.Options{})
	first, err := vault.NewKeyset()
	require.NoError(t, err)
	second, err := first.Rotate()
	require.NoError(t, err)
	from := vault.InDataDir(t.TempDir())
	require.NoError(t, from.Save(second))
	_, err = vault.Settle(t.Context(), store, from, "m")
	require.NoError(t, err)

	old, err := vault.New(first)
	require.NoError(t, err)
	stream := eventstoretest.NewStream()
	in := eventstore.Input{ID: uuid.New(), Company: eventstoretest.Company, Subject: stream}
	in.Value, err = old.Seal([]byte("value"), vault.OfInput(in.Company, in.Subject, in.ID))
	require.NoError(t, err)
	a := eventstoretest.One(stream, eventstore.NoStream, 1)
	a.Inputs = []eventstore.Input{in}
	eventstoretest.Must(t, store, a)

	used, err := store.DestroyKey(t.Context(), first.Primary())
	require.NoError(t, err)
	require.True(t, used)
	_, err = vault.Settle(t.Context(), store, vault.Source{Path: from.Path, Given: text(t, onlyNewest(t, second))}, "m")
	require.ErrorContains(t, err, "does not have it", "it is still needed")
	drop := eventstoretest.One(stream, eventstore.Exactly(1), 2)
	drop.DropInputs = []uuid.UUID{in.ID}
	eventstoretest.Must(t, store, drop)
	for range 2 {
		used, err = store.DestroyKey(t.Context(), first.Primary())
		require.NoError(t, err)
		require.False(t, used)
	}
	// Nobody needs it, and who still has it does not bring it back.
	for _, k := range []*vault.Keyset{second, onlyNewest(t, second)} {
		_, err = vault.Settle(t.Context(), store, vault.Source{Path: from.Path, Given: text(t, k)}, "m")
		require.NoError(t, err)
	}
	used, err = store.DestroyKey(t.Context(), second.Primary())
	require.NoError(t, err)
	require.False(t, used, "who asks for it is the one who knows that it is not the primary")
}

func onlyNewest(t *testing.T, k *vault.Keyset) *vault.Keyset {
	t.Helper()
	k, err := k.Destroy(k.Keys()[0].ID)
	require.NoError(t, err)
	return k
}

func text(t *testing.T, k *vault.Keyset) string {
	t.Helper()
	raw, err := k.Encode()
	require.NoError(t, err)
	return string(raw)
}

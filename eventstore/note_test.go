package eventstore_test

import (
	"context"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/key"
	"github.com/tenure-dev/tenure/domain/secretread"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/eventstore/memory"
)

// noteRead notes on the reads of one secret, beside a check of a key that does not change.
func noteRead(ctx context.Context, l *eventstore.Ledger, secret uuid.UUID, id domain.KeyID, versions ...int) error {
	_, err := eventstore.Execute(ctx, l, eventstore.Options{}, func(ctx context.Context, w *eventstore.Work) error {
		if _, err := eventstore.View(ctx, w, commands.Keys, id.UUID); err != nil {
			return err
		}
		for _, v := range versions {
			if err := eventstore.Note(w, commands.SecretReads, secret, secretread.Event(secretread.Read{Version: v})); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

func TestNotesOfManyAtOnceAreAllThereAndInNobodysWay(t *testing.T) {
	t.Parallel()
	one, log, other := processes()
	id, secret := addKey(t, one), uuid.New()
	var wg sync.WaitGroup
	errs := make([]error, 40)
	for i := range errs {
		l := []*eventstore.Ledger{one, other}[i%2]
		wg.Go(func() { errs[i] = noteRead(context.Background(), l, secret, id, 2*i+1, 2*i+2) })
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	now, err := eventstore.Load(t.Context(), one, commands.SecretReads, secret)
	require.NoError(t, err)
	require.Equal(t, int64(80), now.State.Count)
	events, err := log.ReadStream(t.Context(), commands.SecretReads.Stream(secret), 0, 0)
	require.NoError(t, err)
	for i := 0; i < len(events); i += 2 { // the two of one append stand together
		require.Equal(t, events[i].AppendID, events[i+1].AppendID)
	}
}

func TestWhatIsRememberedOfAStreamIsNotTrustedAfterANote(t *testing.T) {
	t.Parallel()
	one, _, other := processes()
	id, secret := addKey(t, one), uuid.New()
	count := func() int64 {
		now, err := eventstore.Recall(t.Context(), one, commands.SecretReads, secret)
		require.NoError(t, err)
		return now.State.Count
	}
	require.NoError(t, noteRead(t.Context(), one, secret, id, 1))
	require.Equal(t, int64(1), count())
	require.NoError(t, noteRead(t.Context(), other, secret, id, 2))
	require.NoError(t, noteRead(t.Context(), one, secret, id, 3))
	require.Equal(t, int64(3), count())
}

func TestANoteIsHeldToWhatItsWorkHasSeen(t *testing.T) {
	t.Parallel()
	one, log, other := processes()
	id, secret := addKey(t, one), uuid.New()
	tries := 0
	_, err := eventstore.Execute(t.Context(), one, eventstore.Options{}, func(ctx context.Context, w *eventstore.Work) error {
		k, err := eventstore.View(ctx, w, commands.Keys, id.UUID)
		if err != nil {
			return err
		}
		if k.Status == key.StatusRevoked {
			return domain.Refuse(domain.KindGone, "revoked", "it is revoked")
		}
		if tries++; tries == 1 {
			revoke(t, other, id)
		}
		return eventstore.Note(w, commands.SecretReads, secret, secretread.Event(secretread.Read{Version: 1}))
	})
	require.ErrorContains(t, err, "it is revoked")
	events, err := log.ReadStream(t.Context(), commands.SecretReads.Stream(secret), 0, 0)
	require.NoError(t, err)
	require.Empty(t, events)
}

// Which version a note got, only the log knows: who heeds hears of it from there, with the right one, and once.
func TestANoteIsHeardOfFromTheLogWithItsVersion(t *testing.T) {
	t.Parallel()
	store := memory.New()
	one := eventstore.NewLedger(store)
	id, secret := addKey(t, one), uuid.New()
	var heard []int64
	one.Heed(func(r eventstore.Recorded) {
		if r.Name == (secretread.Read{}).EventName() {
			heard = append(heard, r.Version)
		}
	})
	require.NoError(t, noteRead(t.Context(), eventstore.NewLedger(store), secret, id, 1))
	require.NoError(t, noteRead(t.Context(), one, secret, id, 2, 3))
	require.Empty(t, heard)
	page, err := store.ReadAll(t.Context(), 0, 0)
	require.NoError(t, err)
	for range 2 {
		for _, r := range page {
			one.Note(r)
		}
	}
	require.Equal(t, []int64{1, 2, 3}, heard)
}

package eventstore_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/admission"
	"github.com/tenure-dev/tenure/domain/company"
	"github.com/tenure-dev/tenure/domain/key"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/eventstore/memory"
	"github.com/tenure-dev/tenure/eventstore/vault"
)

// counted counts what is read of streams.
type counted struct {
	*memory.Store
	reads, events atomic.Int64
	// answered is called after a read, before its answer is given; nil for nothing.
	answered func()
}

func (s *counted) ReadStream(ctx context.Context, stream eventstore.Stream, after int64, limit int) ([]eventstore.Recorded, error) {
	page, err := s.Store.ReadStream(ctx, stream, after, limit)
	s.reads.Add(1)
	s.events.Add(int64(len(page)))
	if s.answered != nil {
		s.answered()
	}
	return page, err
}

// read is how many reads, and how many events, f makes the store give.
func (s *counted) read(f func()) (reads, events int64) {
	r, e := s.reads.Load(), s.events.Load()
	f()
	return s.reads.Load() - r, s.events.Load() - e
}

// processes are two ledgers on one log; what the first one reads is counted.
func processes() (one *eventstore.Ledger, log *counted, other *eventstore.Ledger) {
	log = &counted{Store: memory.New()}
	return eventstore.NewLedger(log), log, eventstore.NewLedger(log.Store)
}

func addKey(t *testing.T, l *eventstore.Ledger) domain.KeyID {
	t.Helper()
	id := domain.KeyID{UUID: uuid.New()}
	_, err := commands.New(l, vault.InMemory()).AddKey(t.Context(), commands.Caller{}, id, key.Added{
		Role: "admin", Name: "a key", Hash: strings.Repeat("0", 64), Principal: domain.PrincipalID{UUID: uuid.New()},
	})
	require.NoError(t, err)
	return id
}

func revoke(t *testing.T, l *eventstore.Ledger, id domain.KeyID) {
	t.Helper()
	_, err := commands.New(l, vault.InMemory()).RevokeKey(t.Context(), commands.Caller{}, id)
	require.NoError(t, err)
}

func recall(t *testing.T, l *eventstore.Ledger, id domain.KeyID) eventstore.Loaded[key.State] {
	t.Helper()
	now, err := eventstore.Recall(t.Context(), l, commands.Keys, id.UUID)
	require.NoError(t, err)
	return now
}

// last is the last event of the log.
func last(t *testing.T, log eventstore.Store) eventstore.Recorded {
	t.Helper()
	head, err := log.Head(t.Context())
	require.NoError(t, err)
	page, err := log.ReadAll(t.Context(), head.Position-1, 1)
	require.NoError(t, err)
	require.Len(t, page, 1)
	return page[0]
}

func TestWhatAProcessAppendedIsRecalledWithoutReading(t *testing.T) {
	t.Parallel()
	one, log, _ := processes()
	id := addKey(t, one)
	revoke(t, one, id)
	reads, _ := log.read(func() {
		now := recall(t, one, id)
		require.Equal(t, key.StatusRevoked, now.State.Status)
		require.Equal(t, int64(2), now.Version)
		require.Equal(t, last(t, log).Position, now.Position)
		require.Equal(t, last(t, log).RecordedAt, now.State.RevokedAt)
	})
	require.Zero(t, reads)
}

func TestOnlyWhatIsNewerThanWhatIsRememberedIsRead(t *testing.T) {
	t.Parallel()
	one, log, other := processes()
	id := addKey(t, one)
	revoke(t, other, id)
	require.Equal(t, key.StatusActive, recall(t, one, id).State.Status, "nobody has told of it")
	one.Note(last(t, log))
	reads, events := log.read(func() {
		require.Equal(t, key.StatusRevoked, recall(t, one, id).State.Status)
		require.Equal(t, key.StatusRevoked, recall(t, one, id).State.Status)
	})
	require.Equal(t, []int64{1, 1}, []int64{reads, events})
}

func TestLoadTrustsNoMemory(t *testing.T) {
	t.Parallel()
	one, _, other := processes()
	id := addKey(t, one)
	revoke(t, other, id)
	now, err := eventstore.Load(t.Context(), one, commands.Keys, id.UUID)
	require.NoError(t, err)
	require.Equal(t, key.StatusRevoked, now.State.Status)
}

func TestWhatWasNotThereIsLookedForAgain(t *testing.T) {
	t.Parallel()
	one, _, other := processes()
	id := uuid.New()
	see := func() bool {
		now, err := eventstore.Recall(t.Context(), one, commands.Companies, id)
		require.NoError(t, err)
		return now.State.Known
	}
	require.False(t, see())
	_, err := commands.New(other, vault.InMemory()).AddCompany(t.Context(), commands.Caller{}, domain.CompanyID{UUID: id}, "Acme")
	require.NoError(t, err)
	require.True(t, see())
}

// A read that began before an event was told of may come to its end after that.
func TestAnOlderStateThatComesLaterDoesNotHideWhatWasToldOf(t *testing.T) {
	t.Parallel()
	one, log, other := processes()
	id := addKey(t, other)
	log.answered = func() {
		log.answered = nil
		revoke(t, other, id)
		one.Note(last(t, log))
	}
	require.Equal(t, key.StatusActive, recall(t, one, id).State.Status)
	require.Equal(t, key.StatusRevoked, recall(t, one, id).State.Status)
}

func TestACommandOnWhatIsKnownToBeOldReadsFirst(t *testing.T) {
	t.Parallel()
	one, log, other := processes()
	id := addKey(t, one)
	revoke(t, other, id)
	one.Note(last(t, log))
	reads, events := log.read(func() { revoke(t, one, id) })
	require.Equal(t, []int64{1, 1}, []int64{reads, events}, "and finds at once that there is nothing to do")
}

func TestABegunStreamIsReadOnlyIfItIsThereAlready(t *testing.T) {
	t.Parallel()
	one, log, other := processes()
	id := uuid.New()
	begin := func(name string) error {
		_, err := eventstore.Execute(t.Context(), one, eventstore.Options{}, func(ctx context.Context, w *eventstore.Work) error {
			_, err := eventstore.Begin(ctx, w, commands.Companies, id, company.Command(company.Add{Name: name}))
			return err
		})
		return err
	}
	reads, _ := log.read(func() { require.NoError(t, begin("Acme")) })
	require.Zero(t, reads)

	id = uuid.New()
	_, err := commands.New(other, vault.InMemory()).AddCompany(t.Context(), commands.Caller{}, domain.CompanyID{UUID: id}, "Bolt")
	require.NoError(t, err)
	refusal := new(domain.Refusal)
	require.ErrorAs(t, begin("Cord"), &refusal)
	require.Equal(t, domain.KindConflict, refusal.Kind)
}

func TestWhoHeedsHearsOfAnAppendAtOnceAndCanRecallIt(t *testing.T) {
	t.Parallel()
	one, log, other := processes()
	var heard []eventstore.Recorded
	one.Heed(func(r eventstore.Recorded) {
		id, err := r.Stream.ID()
		require.NoError(t, err)
		reads, _ := log.read(func() { require.Equal(t, r.Version, recall(t, one, domain.KeyID{UUID: id}).Version) })
		require.Zero(t, reads)
		heard = append(heard, r)
	})
	id := addKey(t, one)
	revoke(t, one, id)
	want, err := log.ReadAll(t.Context(), 0, 0)
	require.NoError(t, err)
	for i := range want {
		want[i].CompanyPosition = 0
		want[i].Salt, want[i].Commitment, want[i].PrevHash, want[i].Hash = nil, nil, nil, nil
	}
	require.Equal(t, want, heard)

	one.Heed(func(r eventstore.Recorded) { heard = append(heard, r) })
	revoke(t, other, addKey(t, other))
	require.Len(t, heard, 2, "another process's events come from the log")
	one.Note(last(t, log))
	require.Equal(t, last(t, log), heard[2])
}

// The log brings the events of all in order. One of another process that lies below one of this process is heard of all the
// same.
func TestWhoHeedsHearsOfEachVersionOnce(t *testing.T) {
	t.Parallel()
	one, log, other := processes()
	env := uuid.New()
	var heard []int64
	one.Heed(func(r eventstore.Recorded) { heard = append(heard, r.Version) })
	require.NoError(t, admit(one, env, false, admission.Open{}))
	require.NoError(t, admit(one, env, false, enter()))
	require.NoError(t, admit(other, env, false, enter()))
	require.NoError(t, admit(one, env, false, enter()))
	require.Equal(t, []int64{1, 2, 4}, heard)
	all, err := log.ReadAll(t.Context(), 0, 0)
	require.NoError(t, err)
	for _, r := range all[1:] {
		one.Note(r)
	}
	require.Equal(t, []int64{1, 2, 4, 2, 3, 4}, heard, "a second time at most where processes meet")
	for _, r := range all[1:] {
		one.Note(r)
	}
	require.Len(t, heard, 6)
}

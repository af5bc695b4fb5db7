package pg_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/eventstoretest"
	"github.com/tenure-dev/tenure/eventstore/pg"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

// lineage is a log that goes through failovers and restores under several processes, and what they were told.
type lineage struct {
	*testing.T
	random *rand.Rand
	role   string
	now    *pgtest.Cluster
	stores []*pg.Store

	mu sync.Mutex
	// told is which append each pair of epoch and position was given to.
	told map[[2]int64]uuid.UUID
}

// tell notes that an append was acknowledged.
func (l *lineage) tell(a eventstore.Append, r eventstore.Result) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := [2]int64{r.Epoch, r.First}
	if other, ok := l.told[at]; ok && other != a.ID {
		l.Errorf("epoch %d position %d was given to two appends", r.Epoch, r.First)
	}
	l.told[at] = a.ID
}

// work lets every process append at once, as its callers do: what is refused for the log's epoch is decided again.
func (l *lineage) work(ctx context.Context, each int) {
	var done sync.WaitGroup
	for _, s := range l.stores {
		done.Go(func() {
			for range each {
				for ctx.Err() == nil {
					a := eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, 0)
					r, err := eventstoretest.Do(l.T, s, a)
					if err == nil {
						l.tell(a, r)
						break
					}
					if !errors.Is(err, eventstore.ErrStaleEpoch) && !errors.Is(err, eventstore.ErrUnavailable) && !errors.Is(err, eventstore.ErrUnknownOutcome) {
						l.Errorf("an append failed: %v", err)
						return
					}
				}
			}
		})
	}
	done.Wait()
}

// behind takes a backup and lets the log go on, each process by as much as it likes; so they remember different ends of it.
func (l *lineage) behind() *pgtest.Cluster {
	backup := l.now.Backup()
	for _, s := range l.stores {
		for range l.random.IntN(3) {
			a := eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, 0)
			r, err := eventstoretest.Do(l.T, s, a)
			require.NoError(l, err)
			l.tell(a, r)
		}
	}
	return backup
}

// failover promotes a standby that lacks the end, under the processes.
func (l *lineage) failover() {
	standby := l.behind()
	standby.Follow(nil)
	l.now.Stop()
	standby.Promote()
	standby.TakePlaceOf(l.now)
	l.now = standby
}

// swap puts the backup in the place of the original, under the processes, on the same timeline. To an ordinary role the server
// looks as it did, so only what a process remembers tells: each has read the log to its end, as it does by its feed.
func (l *lineage) swap() {
	backup := l.behind()
	for _, s := range l.stores {
		if l.role == pgtest.RolePlain {
			eventstoretest.All(l.T, s)
		}
	}
	l.now.Stop()
	backup.TakePlaceOf(l.now)
	l.now = backup
}

// restart ends the processes, restores a backup, and starts them again with what their nodes remember.
func (l *lineage) restore(backup *pgtest.Cluster) {
	var remembered []pg.Memory
	for _, s := range l.stores {
		remembered = append(remembered, s.Remembered())
		s.Close()
	}
	l.now.Stop()
	backup.TakePlaceOf(l.now)
	l.now = backup
	// They come up in any order.
	for _, i := range l.random.Perm(len(remembered)) {
		l.stores[i] = openAt(l.T, l.now, l.role, pg.Options{Remembered: remembered[i]})
	}
}

// settled waits until every process knows the epoch that all agree on.
func (l *lineage) settled() {
	require.Eventually(l, func() bool {
		for _, s := range l.stores {
			if err := s.Look(context.WithoutCancel(l.Context())); err != nil || s.Identity() != l.stores[0].Identity() {
				return false
			}
		}
		return true
	}, 60*time.Second, 20*time.Millisecond, "the processes do not agree on the log's epoch")
}

// Whatever happens to the database, no pair of epoch and position is ever acknowledged for two appends, and none names two
// events, as far as anybody remembers.
func TestNoPairOfEpochAndPositionEverNamesTwoEvents(t *testing.T) {
	t.Parallel()
	for _, role := range []string{pgtest.RolePlain, pgtest.RoleSuper} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			l := &lineage{T: t, random: rand.New(rand.NewPCG(seed, 0)), role: role, now: pgtest.NewCluster(t), told: map[[2]int64]uuid.UUID{}}
			for range 3 {
				l.stores = append(l.stores, openAt(t, l.now, role, pg.Options{}))
			}
			seen := places{}
			l.work(t.Context(), 3)
			early := l.now.Backup()
			for round, happens := range []func(){l.failover, l.swap, l.failover, func() { l.restore(early) }, l.swap} {
				seen.add(t, eventstoretest.All(t, l.stores[l.random.IntN(3)]))
				before := l.stores[0].Epoch()
				happens()
				l.work(t.Context(), 3)
				l.settled()
				seen.add(t, eventstoretest.All(t, l.stores[0]))
				if round != 1 && round != 4 { // a swap may have lost nothing
					require.Greater(t, l.stores[0].Epoch(), before)
				}
				if l.random.IntN(2) == 0 && l.stores[0].Identity().Forked {
					_, err := l.stores[l.random.IntN(3)].Adopt(t.Context(), pg.Adoption{Reason: "a round is over"})
					require.NoError(t, err)
					l.settled()
				}
			}
		})
	}
}

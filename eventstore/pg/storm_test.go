package pg_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/eventstoretest"
	"github.com/tenure-dev/tenure/eventstore/pg"
	"github.com/tenure-dev/tenure/migrations"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

// The storm: four processes with four writers each, which pause, conflict, repeat themselves and are killed at random, until
// the log has so many events; three readers that start again at random all the while.
const (
	stormProcesses = 4
	stormWriters   = 4
	stormEvents    = 20_000
	stormShort     = 2_000
)

// fate is what became of an append as its process said.
type fate struct {
	events         int
	first          int64
	done, conflict bool
}

func TestAStormOfWritersThatAreKilledLeavesALogWithoutHoleDoubleOrLie(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	pool := pgtest.Connect(t, url)
	require.NoError(t, migrations.Up(t.Context(), pool))
	s := openPool(t, pool, pg.Options{PollInterval: 50 * time.Millisecond})
	shared := eventstoretest.NewStream()
	eventstoretest.Must(t, s, eventstoretest.One(shared, eventstore.NoStream, 0))

	var readers sync.WaitGroup
	read := make([][]eventstore.Recorded, 3)
	over := make([]chan int64, len(read)) // each has its own, or one could take what is for another
	for i := range read {
		over[i] = make(chan int64, 1)
		readers.Go(func() { read[i] = restartingReader(t, s, i, over[i]) })
	}

	fates := storm(t, url, shared)
	log := eventstoretest.All(t, s)
	for i := range read {
		over[i] <- int64(len(log))
	}
	readers.Wait()

	verifyLog(t, log)
	verifyFates(t, log, fates)
	for i := range read {
		require.Len(t, read[i], len(log))
		for n := range log {
			require.Equal(t, log[n].Hash, read[i][n].Hash, "reader %d has another event at %d", i, n+1)
		}
	}
}

// storm runs the processes, kills them and starts others, and returns what they said became of each append.
func storm(t *testing.T, url string, shared eventstore.Stream) map[uuid.UUID]fate {
	t.Helper()
	fates := map[uuid.UUID]fate{}
	var mu sync.Mutex
	events, enough := 0, stormEvents
	if testing.Short() {
		enough = stormShort
	}
	var processes sync.WaitGroup
	for n := range stormProcesses {
		processes.Go(func() {
			for round := uint64(0); ; round++ {
				dice := rand.New(rand.NewPCG(uint64(n), round))
				p := startChild(t, childRequest{URL: url, Writers: stormWriters, Seed: dice.Uint64(), Shared: shared, CallTimeout: 10 * time.Second})
				killAfter := 1000 + dice.IntN(2000)
				for r := range p.reports {
					mu.Lock()
					note(t, fates, r, &events)
					over := events >= enough
					mu.Unlock()
					killAfter--
					if over || killAfter == 0 {
						p.signal(syscall.SIGKILL)
					}
				}
				mu.Lock()
				over := events >= enough
				mu.Unlock()
				if over || t.Failed() {
					return
				}
			}
		})
	}
	processes.Wait()
	return fates
}

// note takes one report down and counts the events that it is about.
func note(t *testing.T, fates map[uuid.UUID]fate, r report, events *int) {
	switch r.What {
	case "try":
		if _, again := fates[r.ID]; !again {
			fates[r.ID] = fate{events: r.Events}
		}
	case "end":
		f := fates[r.ID]
		if f.done {
			assert.True(t, r.Replayed, "the same append happened twice")
			assert.Equal(t, f.first, r.First)
		}
		if r.Error == "" && !f.done {
			*events += r.Events
		}
		f.first, f.done, f.conflict = r.First, r.Error == "", r.Conflict
		assert.True(t, f.done || f.conflict, r.Error)
		fates[r.ID] = f
	}
}

// verifyLog checks order, density and every hash.
func verifyLog(t *testing.T, log []eventstore.Recorded) {
	t.Helper()
	type end struct {
		version int64
		hash    []byte
	}
	ends := map[eventstore.Stream]end{}
	var at time.Time
	for i, r := range log {
		require.Equal(t, int64(i+1), r.Position)
		e, ok := ends[r.Stream]
		if !ok {
			e.hash = eventstore.NoHash()
		}
		require.Equal(t, e.version+1, r.Version)
		require.Equal(t, e.hash, r.PrevHash)
		require.Equal(t, eventstore.Hash(r), r.Hash)
		require.Equal(t, int64(i+1), r.CompanyPosition)
		require.False(t, r.RecordedAt.Before(at))
		ends[r.Stream], at = end{r.Version, r.Hash}, r.RecordedAt
	}
}

// verifyFates holds what each process said against the log: what was done is there once and where it was said to be, what
// was refused is not there, and what a killed process did not live to hear of is there as a whole or not at all.
func verifyFates(t *testing.T, log []eventstore.Recorded, fates map[uuid.UUID]fate) {
	t.Helper()
	type place struct {
		first int64
		n     int
	}
	places := map[uuid.UUID]place{}
	for _, r := range log {
		p, ok := places[r.AppendID]
		if !ok {
			p.first = r.Position
		}
		require.Equal(t, p.n, r.AppendIndex)
		require.Equal(t, p.first+int64(p.n), r.Position)
		p.n++
		places[r.AppendID] = p
	}
	done, conflicts, unheard := 0, 0, 0
	for id, f := range fates {
		p, there := places[id]
		switch {
		case f.done:
			done++
			require.Equal(t, place{f.first, f.events}, p)
		case f.conflict:
			conflicts++
			require.False(t, there)
		default:
			unheard++
			require.True(t, !there || p.n == f.events)
		}
	}
	require.Positive(t, conflicts)
	require.Positive(t, unheard, "processes were killed in the middle")
	t.Logf("%d events; %d appends done, %d refused, %d of killed processes", len(log), done, conflicts, unheard)
}

// restartingReader reads the log through subscriptions that it closes at random, until it has as many events as over says.
// Its own checkpoint is what it has: an event that comes again after a restart is left out, one that is skipped fails.
func restartingReader(t *testing.T, s *pg.Store, n int, over <-chan int64) []eventstore.Recorded {
	dice := rand.New(rand.NewPCG(uint64(n), 1))
	r := &reader{store: s, group: uuid.NewString(), end: -1}
	for {
		if err := r.run(1+dice.IntN(3000), over); err != nil {
			t.Error(err)
			return nil
		}
		if int64(len(r.events)) == r.end {
			return r.events
		}
	}
}

type reader struct {
	store  *pg.Store
	group  string
	events []eventstore.Recorded
	// end is where to stop, -1 while that is not known.
	end int64
}

// run reads about so many events, or to the end.
func (r *reader) run(limit int, over <-chan int64) error {
	sub, err := r.store.Subscriber(r.group)
	if err != nil {
		return err
	}
	defer sub.Close() //nolint:errcheck // a reader's
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	messages, err := sub.Subscribe(ctx, pg.Topic)
	if err != nil {
		return err
	}
	for n := 0; n < limit && int64(len(r.events)) != r.end; {
		select {
		case m, ok := <-messages:
			if !ok {
				return errors.New("the subscription ended")
			}
			e, err := pg.FromMessage(m)
			if err != nil {
				return err
			}
			m.Ack()
			switch next := int64(len(r.events)) + 1; {
			case e.Position > next:
				return errors.New("an event was skipped")
			case e.Position == next:
				r.events = append(r.events, e)
				n++
			case n > 0:
				return errors.New("an event came again without a restart")
			}
		case r.end = <-over:
		}
	}
	return nil
}

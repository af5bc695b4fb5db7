package pg_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/epoch"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/eventstoretest"
	"github.com/tenure-dev/tenure/eventstore/pg"
	"github.com/tenure-dev/tenure/migrations"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

// openAt opens a store as a process does.
func openAt(t *testing.T, c *pgtest.Cluster, role string, opts pg.Options) *pg.Store {
	t.Helper()
	pool := c.Connect(role)
	require.NoError(t, migrations.Up(t.Context(), pool))
	return openPool(t, pool, opts)
}

// appendEvents appends n events, each on a stream of its own.
func appendEvents(t *testing.T, s *pg.Store, n int) (last eventstore.Result) {
	t.Helper()
	for i := range n {
		last = untilDone(t, s, eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, i))
	}
	return last
}

// untilDone appends as whoever decides again after a fork does.
func untilDone(t *testing.T, s *pg.Store, a eventstore.Append) eventstore.Result {
	t.Helper()
	var r eventstore.Result
	var err error
	require.Eventually(t, func() bool {
		a.ID = eventstoretest.One("x-1", eventstore.NoStream, 0).ID
		r, err = eventstoretest.Do(t, s, a)
		return err == nil
	}, 40*time.Second, 10*time.Millisecond, "the append does not go through")
	return r
}

func drives(n int) eventstore.Append {
	a := eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, n)
	a.Drives = true
	return a
}

func findings(s epoch.State) (all []epoch.Finding) {
	for _, f := range s.Forks {
		all = append(all, f.Findings...)
	}
	return all
}

// places are the events of a log by epoch and position, to find one that is there twice with different content.
type places map[[2]int64]string

// add notes events that somebody was told of or can read.
func (p places) add(t *testing.T, events []eventstore.Recorded) {
	t.Helper()
	for _, r := range events {
		at := [2]int64{r.Epoch, r.Position}
		if hash, ok := p[at]; ok {
			require.Equal(t, hash, string(r.Hash), "epoch %d position %d is two events", r.Epoch, r.Position)
		}
		p[at] = string(r.Hash)
	}
}

// (a) A standby that lacks the last events is promoted under a process that remembers them.
func TestAPromotedStandbyThatLacksEventsIsAForkOfTheLog(t *testing.T) {
	t.Parallel()
	primary := pgtest.NewCluster(t)
	s := openAt(t, primary, pgtest.RolePlain, pg.Options{})
	seen := places{}
	appendEvents(t, s, 5)
	standby := primary.Backup()
	standby.Follow(nil)
	lost := appendEvents(t, s, 3)
	require.EqualValues(t, 8, lost.Last)
	seen.add(t, eventstoretest.All(t, s))

	primary.Stop()
	standby.Promote()
	standby.TakePlaceOf(primary)
	next := appendEvents(t, s, 1)
	require.EqualValues(t, 2, next.Epoch)
	require.EqualValues(t, 7, next.First, "five, the fork, and this one")
	require.Equal(t, pg.Identity{Installation: s.Identity().Installation, Epoch: 2, Forked: true}, s.Identity())
	state, _, err := s.State(t.Context())
	require.NoError(t, err)
	require.ElementsMatch(t, []epoch.Finding{epoch.FindingLost, epoch.FindingTimeline}, findings(state))
	require.EqualValues(t, 3, state.LostAtMost)
	require.EqualValues(t, 8, state.LostTo)
	require.EqualValues(t, 5, state.Forks[0].Kept)

	_, err = eventstoretest.Do(t, s, drives(0))
	require.ErrorIs(t, err, eventstore.ErrForked, "nothing is driven before the adoption")
	adopted, err := s.Adopt(t.Context(), pg.Adoption{Reason: "the disk of the primary is gone"})
	require.NoError(t, err)
	require.EqualValues(t, 3, adopted.LostAtMost)
	require.Nil(t, adopted.Installation)
	driven := eventstoretest.Must(t, s, drives(1))
	require.EqualValues(t, 2, driven.Epoch)
	_, err = s.Adopt(t.Context(), pg.Adoption{})
	require.ErrorIs(t, err, pg.ErrNotForked)

	stale := eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, 0)
	stale.Epoch = 1
	_, err = eventstoretest.Do(t, s, stale)
	require.ErrorIs(t, err, eventstore.ErrStaleEpoch, "what was decided on the epoch before is refused")
	seen.add(t, eventstoretest.All(t, s))
}

// (d) Nothing is lost, and yet the log has forked: who knows what others remember.
func TestASwitchoverWithoutLossIsAForkThatSaysSo(t *testing.T) {
	t.Parallel()
	primary := pgtest.NewCluster(t)
	s := openAt(t, primary, pgtest.RolePlain, pg.Options{})
	other := openAt(t, primary, pgtest.RolePlain, pg.Options{})
	standby := primary.Backup()
	standby.Follow(primary)
	appendEvents(t, s, 5)
	appendEvents(t, other, 5)
	standby.CaughtUp(primary)
	primary.Stop()
	standby.Promote()
	standby.TakePlaceOf(primary)
	seen := places{}
	appendEvents(t, s, 1)
	appendEvents(t, other, 1)
	require.Equal(t, s.Identity(), other.Identity())
	require.True(t, other.Identity().Forked)
	state, _, err := s.State(t.Context())
	require.NoError(t, err)
	require.Equal(t, []epoch.Finding{epoch.FindingTimeline}, findings(state))
	require.Zero(t, state.LostAtMost)
	_, err = other.Adopt(t.Context(), pg.Adoption{Reason: "switchover"})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return !s.Identity().Forked }, 20*time.Second, 10*time.Millisecond, "the other process learns of the adoption")
	eventstoretest.Must(t, s, drives(0))
	seen.add(t, eventstoretest.All(t, s))
}

// (b) A backup is restored while no process runs. Only what the node keeps outside of the database can tell: the server says
// nothing of itself to an ordinary role that another restart would not.
func TestARestoredBackupIsKnownByWhatTheNodeRemembers(t *testing.T) {
	t.Parallel()
	original := pgtest.NewCluster(t)
	s := openAt(t, original, pgtest.RolePlain, pg.Options{})
	appendEvents(t, s, 4)
	backup := original.Backup()
	appendEvents(t, s, 6)
	remembered := s.Remembered()
	seen := places{}
	seen.add(t, eventstoretest.All(t, s))
	s.Close()
	original.Stop()
	backup.TakePlaceOf(original)

	s = openAt(t, backup, pgtest.RolePlain, pg.Options{Remembered: remembered})
	require.True(t, s.Identity().Forked)
	require.EqualValues(t, 2, s.Epoch())
	state, _, err := s.State(t.Context())
	require.NoError(t, err)
	require.Equal(t, []epoch.Finding{epoch.FindingLost}, findings(state))
	require.EqualValues(t, 6, state.LostAtMost)
	appendEvents(t, s, 8)
	seen.add(t, eventstoretest.All(t, s))
	_, err = s.Adopt(t.Context(), pg.Adoption{Reason: "restored", Epoch: 2})
	require.NoError(t, err)

	// Another node was away all the time, and comes back with its memory: what it misses is on record.
	late := openAt(t, backup, pgtest.RolePlain, pg.Options{Remembered: remembered})
	require.False(t, late.Identity().Forked)
	eventstoretest.Must(t, late, drives(0))
}

// What a node remembers that was away at the fork, and nobody else did, is another fork: nobody has taken that into account.
func TestWhoComesLaterAndRemembersMoreStopsTheDriversAgain(t *testing.T) {
	t.Parallel()
	original := pgtest.NewCluster(t)
	s := openAt(t, original, pgtest.RolePlain, pg.Options{})
	appendEvents(t, s, 4)
	backup := original.Backup()
	appendEvents(t, s, 2)
	less := s.Remembered()
	appendEvents(t, s, 2)
	more := s.Remembered()
	s.Close()
	original.Stop()
	backup.TakePlaceOf(original)
	first := openAt(t, backup, pgtest.RolePlain, pg.Options{Remembered: less})
	_, err := first.Adopt(t.Context(), pg.Adoption{Reason: "restored"})
	require.NoError(t, err)
	eventstoretest.Must(t, first, drives(0))
	second := openAt(t, backup, pgtest.RolePlain, pg.Options{Remembered: more})
	require.True(t, second.Identity().Forked)
	require.EqualValues(t, 3, second.Epoch())
	require.Eventually(t, func() bool { return first.Identity() == second.Identity() }, 20*time.Second, 10*time.Millisecond)
	_, err = eventstoretest.Do(t, first, drives(0))
	require.ErrorIs(t, err, eventstore.ErrForked)
}

// (c) A copy beside the original: it does not drive, and the original does not notice.
func TestACopyBesideTheOriginalDrivesNothing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		role string
		copy func(*pgtest.Cluster) *pgtest.Cluster
		want epoch.Finding
	}{
		"its files":                  {pgtest.RoleSuper, (*pgtest.Cluster).Copy, epoch.FindingCopied},
		"a base backup":              {pgtest.RoleSuper, (*pgtest.Cluster).Backup, epoch.FindingCopied},
		"a base backup, plain role":  {pgtest.RolePlain, elsewhere((*pgtest.Cluster).Backup), epoch.FindingElsewhere},
		"a promoted standby, plain":  {pgtest.RolePlain, promoted, epoch.FindingTimeline},
		"another database, template": {pgtest.RolePlain, nil, epoch.FindingDatabase},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			original := pgtest.NewCluster(t)
			first := openAt(t, original, c.role, pg.Options{})
			appendEvents(t, first, 5)
			var beside *pg.Store
			if c.copy == nil {
				first.Close()
				beside = openTemplate(t, original)
				first = openAt(t, original, c.role, pg.Options{Remembered: first.Remembered()})
			} else {
				copied := c.copy(original)
				copied.Start()
				beside = openAt(t, copied, c.role, pg.Options{})
			}
			require.True(t, beside.Identity().Forked)
			state, _, err := beside.State(t.Context())
			require.NoError(t, err)
			require.Contains(t, findings(state), c.want)
			_, err = eventstoretest.Do(t, beside, drives(0))
			require.ErrorIs(t, err, eventstore.ErrForked)

			require.Eventually(t, func() bool { return first.Look(context.WithoutCancel(t.Context())) == nil }, 20*time.Second, 20*time.Millisecond)
			require.False(t, first.Identity().Forked)
			require.EqualValues(t, 1, untilDone(t, first, drives(0)).Epoch)

			former := beside.Identity().Installation
			require.Equal(t, first.Identity().Installation, former)
			adopted, err := beside.Adopt(t.Context(), pg.Adoption{Reason: "a test bed", NewInstallation: true})
			require.NoError(t, err)
			require.Equal(t, former, *adopted.Former)
			require.Equal(t, *adopted.Installation, beside.Identity().Installation)
			require.NotEqual(t, former, beside.Identity().Installation)
			eventstoretest.Must(t, beside, drives(0))
		})
	}
}

// elsewhere makes a copy listen on another port: by the directory of its socket alone an ordinary role cannot tell it.
func elsewhere(make func(*pgtest.Cluster) *pgtest.Cluster) func(*pgtest.Cluster) *pgtest.Cluster {
	return func(c *pgtest.Cluster) *pgtest.Cluster {
		copied := make(c)
		copied.SetPort(5433)
		return copied
	}
}

func promoted(c *pgtest.Cluster) *pgtest.Cluster {
	standby := c.Backup()
	standby.Follow(nil)
	standby.Promote()
	standby.Stop()
	return standby
}

func openTemplate(t *testing.T, c *pgtest.Cluster) *pg.Store {
	t.Helper()
	pgtest.CopyDatabase(t, c)
	return openPool(t, pgtest.Connect(t, c.CopyURL(pgtest.RolePlain)), pg.Options{})
}

// A restart of the server is no fork, and neither is a server that moves while somebody remembers it.
func TestARestartOrAMoveOfTheServerIsNoFork(t *testing.T) {
	t.Parallel()
	c := pgtest.NewCluster(t)
	s := openAt(t, c, pgtest.RoleSuper, pg.Options{})
	appendEvents(t, s, 3)
	require.NoError(t, s.Look(t.Context()))
	c.Stop()
	c.Start()
	appendEvents(t, s, 1)
	require.NoError(t, s.Look(t.Context()))
	remembered := s.Remembered()
	s.Close()
	c.Stop()
	c.SetPort(5433)
	c.Start()
	s = openAt(t, c, pgtest.RoleSuper, pg.Options{Remembered: remembered})
	require.Equal(t, pg.Identity{Installation: s.Identity().Installation, Epoch: 1}, s.Identity())
	later := openAt(t, c, pgtest.RoleSuper, pg.Options{})
	require.False(t, later.Identity().Forked, "the new place is on record for those who come later")
}

// A node that is given another database remembers nothing of it.
func TestWhatANodeRemembersOfAnotherLogDoesNotCount(t *testing.T) {
	t.Parallel()
	one := openPool(t, pgtest.Pool(t), pg.Options{})
	appendEvents(t, one, 2)
	other := openPool(t, pgtest.Pool(t), pg.Options{Remembered: one.Remembered()})
	require.Equal(t, pg.Identity{Installation: other.Identity().Installation, Epoch: 1}, other.Identity())
	appendEvents(t, other, 1)
}

// The server may change under a connection that stays, as through a pooler: each way of appending looks at the timeline.
func TestAnAppendOnAnotherTimelineIsOfAnotherEpoch(t *testing.T) {
	t.Parallel()
	for procedure, way := range ways {
		t.Run(procedure, func(t *testing.T) {
			t.Parallel()
			pool := pgtest.Pool(t)
			s := openPool(t, pool, pg.Options{})
			warm(t, s)
			_, err := pool.Exec(t.Context(), `UPDATE log SET timeline = '000000FF'`)
			require.NoError(t, err)
			r, err := eventstoretest.Do(t, s, way.append(0))
			if err == nil { // the process has looked just now
				require.EqualValues(t, 2, r.Epoch)
			} else {
				require.ErrorIs(t, err, eventstore.ErrStaleEpoch)
			}
			require.EqualValues(t, 2, untilDone(t, s, way.append(0)).Epoch)
			state, _, err := s.State(t.Context())
			require.NoError(t, err)
			require.Equal(t, []epoch.Finding{epoch.FindingTimeline}, findings(state))
		})
	}
}

// A process whose row was in what the log lost makes it again; one whose place another incarnation took ends.
func TestAProcessWhoseRowAForkLostGoesOn(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	s := openPool(t, pool, pg.Options{})
	appendEvents(t, s, 2)
	processes := s.Processes()
	me := eventstore.Process{ID: domain.WorkerID{UUID: uuid.New()}, Node: domain.NodeID{UUID: uuid.New()}, Hostname: "h", Version: "v"}
	require.NoError(t, processes.Register(t.Context(), me, time.Minute))
	_, err := pool.Exec(t.Context(), `DELETE FROM processes`)
	require.NoError(t, err)
	require.ErrorIs(t, processes.Beat(t.Context(), me, time.Minute), eventstore.ErrProcessGone, "the log has not forked")

	_, err = pool.Exec(t.Context(), `DELETE FROM events WHERE position > 1`)
	require.NoError(t, err)
	// The row of the node's incarnation before came back with the log, and seems to live.
	_, err = pool.Exec(t.Context(), `
		INSERT INTO processes (id, node_id, hostname, pid, version, role, serves, draining, address, started_at, alive_until)
		VALUES ($1, $2, 'h', 1, 'v', 'serve', '{}', false, '', clock_timestamp() - interval '1 minute', clock_timestamp() + interval '1 minute')`,
		uuid.New(), me.Node.UUID)
	require.NoError(t, err)
	require.NoError(t, processes.Beat(t.Context(), me, time.Minute))
	list, err := processes.List(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.True(t, list[0].Alive)

	other := me
	other.ID = domain.WorkerID{UUID: uuid.New()}
	require.NoError(t, openPool(t, pool, pg.Options{}).Processes().Register(t.Context(), other, time.Minute))
	require.ErrorIs(t, processes.Beat(t.Context(), me, time.Minute), eventstore.ErrProcessGone)
}

// The counts of owners are set back with the database. One who became the owner after the backup, was paused, and knows nothing
// of what came after must not pass for the one who comes to the same count now.
func TestTheOwnerOfARestoredDatabaseIsNotTakenForOneOfBefore(t *testing.T) {
	t.Parallel()
	original := pgtest.NewCluster(t)
	s := openAt(t, original, pgtest.RolePlain, pg.Options{})
	appendEvents(t, s, 2)
	knew := s.Remembered()
	backup := original.Backup()
	take := func(s *pg.Store) (taken []eventstore.Partition) {
		t.Helper()
		all, err := s.Partitions(t.Context())
		require.NoError(t, err)
		taken, err = s.TakePartitions(t.Context(), domain.WorkerID{UUID: uuid.New()}, all)
		require.NoError(t, err)
		require.Len(t, taken, eventstore.PartitionCount)
		return taken
	}
	as := func(p eventstore.Partition) eventstore.Append {
		a := eventstoretest.One(eventstoretest.NewStream(), eventstore.NoStream, 0)
		a.Owner = &eventstore.Ownership{Partition: p.N, Epoch: p.Epoch}
		return a
	}
	former := append(take(s), take(s)...)
	eventstoretest.Must(t, s, as(former[len(former)-1]))
	remembered := s.Remembered()
	s.Close()
	original.Stop()
	backup.TakePlaceOf(original)

	s = openAt(t, backup, pgtest.RolePlain, pg.Options{Remembered: remembered})
	require.True(t, s.Identity().Forked)
	paused := openAt(t, backup, pgtest.RolePlain, pg.Options{Remembered: knew})
	for range 3 {
		now := take(s)
		for _, p := range former {
			_, err := eventstoretest.Do(t, paused, as(p))
			require.ErrorIs(t, err, eventstore.ErrNotOwner)
		}
		eventstoretest.Must(t, s, as(now[0]))
		eventstoretest.Must(t, paused, as(now[1]))
	}
}

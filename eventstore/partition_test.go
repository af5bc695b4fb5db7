package eventstore_test

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/eventstore"
)

// However workers come, leave and die: after each of them looked a few times, every partition has a living owner, and all
// have the same number of them, or one more.
func TestWorkersShareThePartitions(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		all := make([]eventstore.Partition, eventstore.PartitionCount)
		for n := range all {
			all[n].N = n
		}
		var processes []eventstore.Process
		next := byte(0)
		for range rapid.IntRange(1, 12).Draw(t, "changes") {
			switch rapid.IntRange(0, 4).Draw(t, "change") {
			case 0, 1:
				next++
				processes = append(processes, eventstore.Process{
					ID: domain.WorkerID{UUID: uuid.NewSHA1(uuid.Nil, []byte{next})}, Alive: true,
					Role: rapid.SampledFrom([]eventstore.Role{eventstore.RoleServe, eventstore.RoleWorker, eventstore.RoleAPI}).Draw(t, "role"),
				})
			case 2:
				if len(processes) > 0 {
					processes[rapid.IntRange(0, len(processes)-1).Draw(t, "who")].Alive = false
				}
			case 3:
				if len(processes) > 0 {
					processes[rapid.IntRange(0, len(processes)-1).Draw(t, "who")].Draining = true
				}
			case 4:
				if len(processes) > 0 {
					processes = processes[1:]
				}
			}
			for range rapid.IntRange(0, 2).Draw(t, "looks") {
				look(t, all, processes)
			}
		}
		for range 3 {
			look(t, all, processes)
		}
		count := map[domain.WorkerID]int{}
		for _, p := range all {
			count[p.Owner]++
		}
		drive, most, least := 0, 0, eventstore.PartitionCount
		for _, p := range processes {
			if p.Drives() {
				drive++
				most, least = max(most, count[p.ID]), min(least, count[p.ID])
			}
		}
		if drive == 0 {
			return
		}
		if most-least > 1 || most != (eventstore.PartitionCount+drive-1)/drive {
			t.Fatalf("%d workers: %v", drive, count)
		}
		for _, p := range processes {
			if p.Drives() && len(eventstore.Shares(p.ID, all, processes)) > 0 {
				t.Fatal("it does not come to rest")
			}
		}
	})
}

// look lets each process take its share once.
func look(t *rapid.T, all []eventstore.Partition, processes []eventstore.Process) {
	for _, p := range processes {
		for _, take := range eventstore.Shares(p.ID, all, processes) {
			if !p.Drives() {
				t.Fatalf("%+v takes a partition", p)
			}
			all[take.N].Owner = p.ID
			all[take.N].Epoch++
		}
	}
}

func TestAPartitionIsTheSameForEver(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]int{
		"00000000-0000-0000-0000-000000000000": 5,
		"0192f0c1-0000-7000-8000-000000000001": 26,
		"a0000000-0000-4000-8000-000000000001": 18,
	} {
		require.Equal(t, want, eventstore.PartitionOf(uuid.MustParse(id)), id)
	}
}

package eventstore

import (
	"context"
	"hash/fnv"
	"slices"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
)

// PartitionCount is how many parts the work is divided into. It never changes: every process must find the same one.
const PartitionCount = 64

// PartitionOf is the partition of a thing.
func PartitionOf(id uuid.UUID) int {
	h := fnv.New32a()
	_, _ = h.Write(id[:])
	return int(h.Sum32() % PartitionCount)
}

// AllPartitions are their numbers.
func AllPartitions() []int {
	all := make([]int, PartitionCount)
	for n := range all {
		all[n] = n
	}
	return all
}

// Partition is a part of the work, and who has it. It is no history: what an owner did is in the log.
type Partition struct {
	N int
	// Owner is zero while nobody has had it yet. Whether the owner lives, its liveness row says.
	Owner domain.WorkerID
	// Epoch counts the owners. Who takes the partition raises it, and from then on the log refuses what the former owner
	// appends as such. A log that was set back, with all that is beside it, would count the same numbers again; so with each
	// later epoch of the log they begin at [FirstOwner], and whoever is the owner reads its new one.
	Epoch int64
}

// FirstOwner is where the epochs of owners begin with a later epoch of the log than the first one, above all that were before.
func FirstOwner(logEpoch int64) int64 { return logEpoch << 32 }

// Ownership is the right by which an owner appends: the log refuses it with ErrNotOwner once the partition has another epoch.
type Ownership struct {
	Partition int
	Epoch     int64
}

// Partitioning is who has which partition.
type Partitioning interface {
	// Partitions returns all of them, in order.
	Partitions(ctx context.Context) ([]Partition, error)
	// TakePartitions makes a worker the owner of those that are still as they are given, and returns those as they are now.
	// No append of an owner that lost one comes into the log after that.
	TakePartitions(ctx context.Context, worker domain.WorkerID, of []Partition) ([]Partition, error)
}

// Shares says which partitions a worker is to take so that all that live have the same number of them, or one more. Those
// without a living owner come first, then those of workers that want to go, then those of whoever has most. Each worker
// looks from a place of its own, so that two which take at once seldom want the same.
func Shares(me domain.WorkerID, all []Partition, processes []Process) []Partition {
	stays, has := map[domain.WorkerID]bool{}, map[domain.WorkerID][]Partition{}
	for _, p := range processes {
		if p.Drives() {
			stays[p.ID] = true
		}
	}
	if !stays[me] {
		return nil
	}
	goes := map[domain.WorkerID]bool{}
	for _, p := range processes {
		goes[p.ID] = p.Alive && p.Draining
	}
	var free, leaving []Partition
	start := PartitionOf(me.UUID)
	for i := range all {
		switch p := all[(start+i)%len(all)]; {
		case stays[p.Owner]:
			has[p.Owner] = append(has[p.Owner], p)
		case goes[p.Owner]:
			leaving = append(leaving, p)
		default:
			free = append(free, p)
		}
	}
	var take []Partition
	share := (len(all) + len(stays) - 1) / len(stays)
	for _, p := range slices.Concat(free, leaving) {
		if len(has[me])+len(take) < share {
			take = append(take, p)
		}
	}
	for {
		var most domain.WorkerID
		for w := range stays {
			// The order of ids decides between equals, so that the answer is one.
			if n := len(has[w]); n > len(has[most]) || n == len(has[most]) && w.String() < most.String() {
				most = w
			}
		}
		if most == me || len(has[most])-len(has[me])-len(take) < 2 {
			return take
		}
		take, has[most] = append(take, has[most][0]), has[most][1:]
	}
}

package memory

import (
	"context"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/eventstore"
)

// Partitions implements [eventstore.Partitioning].
func (s *Store) Partitions(context.Context) ([]eventstore.Partition, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]eventstore.Partition, len(s.owners))
	for n, p := range s.owners {
		p.N = n
		all[n] = p
	}
	return all, nil
}

// TakePartitions implements [eventstore.Partitioning].
func (s *Store) TakePartitions(_ context.Context, worker domain.WorkerID, of []eventstore.Partition) ([]eventstore.Partition, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var taken []eventstore.Partition
	for _, p := range of {
		if s.owners[p.N].Epoch == p.Epoch {
			s.owners[p.N] = eventstore.Partition{N: p.N, Owner: worker, Epoch: p.Epoch + 1}
			taken = append(taken, s.owners[p.N])
		}
	}
	return taken, nil
}

var _ eventstore.Partitioning = (*Store)(nil)

package pg

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/eventstore"
)

// Partitions implements [eventstore.Partitioning].
func (s *Store) Partitions(ctx context.Context) ([]eventstore.Partition, error) {
	rows, err := s.keep.Query(ctx, `SELECT partition, process_id, epoch FROM partitions ORDER BY partition`)
	if err != nil {
		return nil, unavailable(wrap(err, "list partitions"))
	}
	all, err := pgx.CollectRows(rows, scanPartition)
	return all, unavailable(wrap(err, "list partitions"))
}

// TakePartitions implements [eventstore.Partitioning]. It waits for the lock of the appends: one that was judged before is in
// the log by then, and whoever is judged later sees the new epoch.
func (s *Store) TakePartitions(ctx context.Context, worker domain.WorkerID, of []eventstore.Partition) ([]eventstore.Partition, error) {
	numbers, epochs := make([]int32, len(of)), make([]int64, len(of))
	for i, p := range of {
		numbers[i], epochs[i] = int32(p.N), p.Epoch
	}
	rows, err := s.keep.Query(ctx, `
		WITH turn AS MATERIALIZED (SELECT pg_advisory_xact_lock(append_lock_key()))
		UPDATE partitions p SET process_id = $1, epoch = p.epoch + 1
		  FROM turn, unnest($2::integer[], $3::bigint[]) AS u(partition, epoch)
		 WHERE p.partition = u.partition AND p.epoch = u.epoch
		RETURNING p.partition, p.process_id, p.epoch`, worker.UUID, numbers, epochs)
	if err != nil {
		return nil, unavailable(wrap(err, "take partitions"))
	}
	taken, err := pgx.CollectRows(rows, scanPartition)
	return taken, unavailable(wrap(err, "take partitions"))
}

func scanPartition(row pgx.CollectableRow) (p eventstore.Partition, err error) {
	var owner *[16]byte
	err = row.Scan(&p.N, &owner, &p.Epoch)
	if owner != nil {
		p.Owner.UUID = *owner
	}
	return p, err
}

var _ eventstore.Partitioning = (*Store)(nil)

package deadlines

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/projections"
)

// Waiting answers with what waits for the node of a scope, the oldest first.
func Waiting(ctx context.Context, db projections.DB, scope Scope, limit int) ([]Row, error) {
	if scope.Node.IsZero() {
		return nil, nil
	}
	var q projections.Question
	q.And("kind = 'node'")
	q.Where("node_id = $", scope.Node.UUID)
	rows, _, err := Model.Rows(ctx, db, q, "created", limit)
	return rows, err
}

// LeftOn answers with what is on some nodes and of the partitions of a scope, whether it is due or not.
func LeftOn(ctx context.Context, db projections.DB, scope Scope, nodes []domain.NodeID, limit int) ([]Row, error) {
	if len(nodes) == 0 {
		return nil, nil
	}
	ids := make([][16]byte, len(nodes))
	for i, n := range nodes {
		ids[i] = n.UUID
	}
	var q projections.Question
	q.Where("node_id = ANY ($)", ids)
	q.Where("partition = ANY ($)", scope.Partitions)
	rows, _, err := Model.Rows(ctx, db, q, "created", limit)
	return rows, err
}

// OnNode counts the leases that have something on a node.
type OnNode struct {
	Node domain.NodeID
	// Live are those that are being made or active, Kept those that keep a runtime for another one, Cleaning those that are
	// being taken down, Waiting those whose teardown waits for the node.
	Live, Kept, Cleaning, Waiting int64
}

// ByNode answers with that for each node that anything is on, and with how far in the log the answer is.
func ByNode(ctx context.Context, db projections.DB) ([]OnNode, int64, error) {
	var counts []OnNode
	position, err := projections.Snapshot(ctx, db, Model.Key(), func(tx pgx.Tx, table string) error {
		rows, err := tx.Query(ctx, `
			SELECT node_id, count(*) FILTER (WHERE kind IN ('provision', 'expire')), count(*) FILTER (WHERE kind = 'retain'),
			       count(*) FILTER (WHERE kind = 'release'), count(*) FILTER (WHERE kind = 'node')
			  FROM `+table+`
			 WHERE node_id IS NOT NULL AND stream LIKE $1
			 GROUP BY node_id`, lease.Category+"-%")
		if err != nil {
			return err
		}
		counts, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (n OnNode, err error) {
			return n, row.Scan((*[16]byte)(&n.Node.UUID), &n.Live, &n.Kept, &n.Cleaning, &n.Waiting)
		})
		return err
	})
	return counts, position, err
}

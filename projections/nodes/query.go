package nodes

import (
	"context"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/projections"
)

// Forgotten answers with the nodes that are given up and not back.
func Forgotten(ctx context.Context, db projections.DB) ([]domain.NodeID, error) {
	var q projections.Question
	q.And("forgotten IS NOT NULL")
	rows, _, err := Model.Rows(ctx, db, q, "created", 0)
	ids := make([]domain.NodeID, len(rows))
	for i, r := range rows {
		ids[i] = r.Data.ID
	}
	return ids, err
}

// All answers with every node that anything was said of, and with how far in the log the answer is.
func All(ctx context.Context, db projections.DB) ([]Row, int64, error) {
	return Model.Rows(ctx, db, projections.Question{}, "created", 0)
}

package activeleases

import (
	"context"

	"github.com/tenure-dev/tenure/projections"
	"github.com/tenure-dev/tenure/projections/leases"
)

// List answers with leases that are not over, the newest first. The filter's times are not for this read model.
func List(ctx context.Context, db projections.DB, f leases.Filter, opts projections.Options) (projections.Page[leases.Lease], error) {
	return Model.List(ctx, db, f.Question(), projections.NewestFirst, opts)
}

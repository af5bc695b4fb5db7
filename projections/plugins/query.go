package plugins

import (
	"context"

	"github.com/tenure-dev/tenure/domain/plugin"
	"github.com/tenure-dev/tenure/projections"
)

// Filter picks plugins; a zero field picks all.
type Filter struct {
	Key    string
	Status plugin.Status
}

// List answers with plugins, the oldest first.
func List(ctx context.Context, db projections.DB, f Filter, opts projections.Options) (projections.Page[Plugin], error) {
	var q projections.Question
	if f.Key != "" {
		q.Where("key = $", f.Key)
	}
	if f.Status != "" {
		q.Where("status = $", string(f.Status))
	}
	return Model.List(ctx, db, q, projections.OldestFirst, opts)
}

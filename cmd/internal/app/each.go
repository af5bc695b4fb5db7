package app

import (
	"context"
	"iter"

	"github.com/tenure-dev/tenure/projections"
)

// each reads a list of a read model to its end. With an error, which comes last, it has not come to it.
func each[R, F any](
	ctx context.Context, db projections.DB, list func(context.Context, projections.DB, F, projections.Options) (projections.Page[R], error), f F,
) iter.Seq2[projections.Row[R], error] {
	return func(yield func(projections.Row[R], error) bool) {
		opts := projections.Options{Limit: projections.MaxLimit}
		for {
			page, err := list(ctx, db, f, opts)
			if err != nil {
				yield(projections.Row[R]{}, err)
				return
			}
			for _, row := range page.Items {
				if !yield(row, nil) {
					return
				}
			}
			if opts.After = page.Next; opts.After == "" {
				return
			}
		}
	}
}

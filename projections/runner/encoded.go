package runner

import (
	"cmp"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/tenure-dev/tenure/projections"
)

// encoded are the rows in memory as COPY wants them, in the order of their streams, which makes the primary key's index
// quick to make and to go through. Each row is forgotten once it is given.
func (f *folding) encoded() pgx.CopyFromSource {
	rows := make([]projections.Stored, 0, len(f.rows))
	for _, row := range f.rows {
		rows = append(rows, row)
	}
	f.rows = nil
	slices.SortFunc(rows, func(a, b projections.Stored) int { return cmp.Compare(a.Place().Stream, b.Place().Stream) })
	return pgx.CopyFromSlice(len(rows), func(i int) ([]any, error) {
		row := rows[i]
		rows[i] = nil
		return f.model.Encode(row)
	})
}

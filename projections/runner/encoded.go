package runner

import (
	"cmp"
	"context"
	"io"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/tenure-dev/tenure/projections"
)

// chunkRows is how many rows are encoded at once.
const chunkRows = 200

// sorted are the rows in memory in the order of their streams, which makes the primary key's index quick to make and to go
// through. The folding has none any more.
func (f *folding) sorted() []projections.Stored {
	rows := make([]projections.Stored, 0, len(f.rows))
	for _, row := range f.rows {
		rows = append(rows, row)
	}
	f.rows = nil
	slices.SortFunc(rows, func(a, b projections.Stored) int { return cmp.Compare(a.Place().Stream, b.Place().Stream) })
	return rows
}

// writeCopy writes rows as COPY takes them. They are encoded by all processors, a few chunks ahead of what is written, and
// each is forgotten then.
func writeCopy(ctx context.Context, m projections.Model, rows []projections.Stored, to io.Writer) error {
	group, ctx := errgroup.WithContext(ctx)
	chunks := make(chan chan []byte, runtime.GOMAXPROCS(0))
	group.Go(func() error {
		defer close(chunks)
		for chunk := range slices.Chunk(rows, chunkRows) {
			encoded := make(chan []byte, 1)
			select {
			case chunks <- encoded:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			group.Go(func() error {
				defer close(encoded)
				b, err := encodeChunk(m, chunk)
				encoded <- b
				return err
			})
		}
		return nil
	})
	group.Go(func() error {
		if _, err := io.WriteString(to, projections.CopyStart); err != nil {
			return err
		}
		for encoded := range chunks {
			if _, err := to.Write(<-encoded); err != nil {
				return err
			}
		}
		_, err := io.WriteString(to, projections.CopyEnd)
		return err
	})
	return group.Wait()
}

func encodeChunk(m projections.Model, rows []projections.Stored) (b []byte, err error) {
	schema := m.Schema()
	b = make([]byte, 0, chunkRows<<10)
	for i, row := range rows {
		values, err := m.Encode(row)
		if err != nil {
			return nil, err
		}
		rows[i] = nil
		if b, err = schema.AppendCopy(b, values); err != nil {
			return nil, err
		}
	}
	return b, nil
}

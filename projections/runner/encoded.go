package runner

import "iter"

// encoded goes through the rows in memory as COPY wants them, and forgets each once it is given.
func (f *folding) encoded() (next func() ([]any, error), stop func()) {
	pull, stop := iter.Pull2(func(yield func([]any, error) bool) {
		for stream, row := range f.rows {
			if row == nil {
				continue
			}
			delete(f.rows, stream)
			if !yield(f.model.Encode(row)) {
				return
			}
		}
	})
	return func() ([]any, error) {
		values, err, ok := pull()
		if !ok {
			return nil, nil
		}
		return values, err
	}, stop
}

package journal

import (
	"bytes"
	"errors"
	"io"
)

// ReadStream returns what a sealed journal has of one stream, at most limit bytes.
func ReadStream(dir string, stream Stream, limit int) ([]byte, error) {
	r, err := Open(dir, 0)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var out bytes.Buffer
	for out.Len() < limit {
		f, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if f.Stream == stream {
			out.Write(f.Data[:min(len(f.Data), limit-out.Len())])
		}
	}
	return out.Bytes(), nil
}

package cli

import (
	"bytes"
	"io"

	"github.com/tenure-dev/tenure/api/wire"
)

// sink takes a command's output as it comes.
type sink interface {
	line(wire.OutputLine) error
	// end is called once, with what is known: a lease and an exec may be missing.
	end(lease *wire.Lease, x *wire.Exec) error
}

// sink is where the output goes: as bytes to stdout and stderr, or into a document on stdout.
func (r *root) sink() sink {
	switch r.flags.output {
	case formatJSON, formatNDJSON:
		return &documentSink{w: r.Stdout, array: arrayWriter{w: r.Stdout, lines: r.flags.output == formatNDJSON}}
	}
	return &byteSink{stdout: r.Stdout, stderr: r.Stderr}
}

// byteSink passes the bytes through as they are: half a character is its reader's business.
type byteSink struct{ stdout, stderr io.Writer }

func (s *byteSink) line(l wire.OutputLine) error {
	w := s.stdout
	if l.Stream == "stderr" {
		w = s.stderr
	}
	if len(l.Data) == 0 {
		return nil
	}
	_, err := w.Write(l.Data)
	return err
}

func (s *byteSink) end(*wire.Lease, *wire.Exec) error { return nil }

// documentSink writes {"output":[…],"exec":…,"lease":…}, or with ndjson each of these as a line. The output is not held in
// memory.
type documentSink struct {
	w     io.Writer
	array arrayWriter
	begun bool
}

func (s *documentSink) line(l wire.OutputLine) error {
	if err := s.begin(); err != nil {
		return err
	}
	return s.array.add(l)
}

func (s *documentSink) begin() error {
	if s.begun || s.array.lines {
		return nil
	}
	s.begun = true
	_, err := io.WriteString(s.w, `{"output":`)
	return err
}

func (s *documentSink) end(lease *wire.Lease, x *wire.Exec) error {
	type tail struct {
		Exec  *wire.Exec  `json:"exec"`
		Lease *wire.Lease `json:"lease"`
	}
	var rest bytes.Buffer
	if err := encode(&rest, tail{x, lease}); err != nil {
		return err
	}
	if s.array.lines {
		_, err := s.w.Write(rest.Bytes())
		return err
	}
	if err := s.begin(); err != nil {
		return err
	}
	var list bytes.Buffer
	s.array.w = &list
	if err := s.array.close(); err != nil {
		return err
	}
	document := append(bytes.TrimSuffix(list.Bytes(), []byte("\n")), ',')
	_, err := s.w.Write(append(document, rest.Bytes()[1:]...))
	return err
}

var (
	_ sink = (*byteSink)(nil)
	_ sink = (*documentSink)(nil)
)

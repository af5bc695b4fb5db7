package api

import (
	"errors"
	"io"
	"io/fs"
	"net/http"

	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/domain"
)

// HeaderInternal carries the token by which processes of one log know each other.
const HeaderInternal = "Tenure-Internal"

// InternalOutput is the path of a command's output for other processes, with the query offset and gaps. The answer is NDJSON
// of [wire.OutputLine], up to the end of what there is, and a line {"end": true}: without that it was cut.
func InternalOutput(exec domain.ExecID) string {
	return "/internal/v1/execs/" + exec.String() + "/output"
}

// InternalEnd is the last line of an answer.
type InternalEnd struct {
	End bool `json:"end"`
}

// internalRoutes are those for other processes of the same log. They are no part of the API.
func (s *Server) internalRoutes() []route {
	if s.deps.Internal == nil {
		return nil
	}
	return []route{{method: http.MethodGet, path: "/internal/v1/execs/:execId/output", handle: s.internalOutput, worker: true}}
}

// internalOutput sends what there is of an output on this node.
func (s *Server) internalOutput(c *call) error {
	if err := c.pathID("execId"); err != nil {
		return err
	}
	exec := domain.ExecID{UUID: c.id}
	if !s.deps.Internal.Verify(InternalOutput(exec), c.Request().Header.Get(HeaderInternal)) {
		return domain.Refuse(domain.KindForbidden, "not_a_process", "the call is of no process of this log").
			Mend("use GET /api/v1/execs/{execId}/output with a key")
	}
	if err := c.only("offset", "gaps"); err != nil {
		return err
	}
	offset, err := c.number("offset")
	if err != nil {
		return err
	}
	// Gaps have no length: those at the offset that the caller has seen are left out.
	gaps, err := c.number("gaps")
	if err != nil {
		return err
	}
	output, err := s.deps.Output.OpenOutput(c.ctx(), OutputPlace{Exec: exec}, offset)
	if errors.Is(err, fs.ErrNotExist) {
		return domain.NotFound("output")
	}
	if err != nil {
		return err
	}
	defer output.Close() //nolint:errcheck // only read
	st, err := c.stream(wire.TypeNDJSON)
	if err != nil {
		return err
	}
	return st.finish(func() error {
		for !st.ended() {
			f, err := output.Next()
			if errors.Is(err, io.EOF) {
				return st.line(InternalEnd{End: true})
			}
			if err != nil {
				return err
			}
			if len(f.Data) == 0 && f.Offset == offset && gaps > 0 {
				gaps--
				continue
			}
			if err := st.line(wire.OutputLine{Offset: f.Offset, Stream: f.Stream, At: f.At.UTC(), Data: f.Data, Dropped: f.Dropped}); err != nil {
				return err
			}
		}
		return nil
	}())
}

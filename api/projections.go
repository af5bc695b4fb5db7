package api

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"

	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/domain/readmodel"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/projections/runner"
)

func (s *Server) listProjections(c *call) error {
	if err := c.only(); err != nil {
		return err
	}
	list, err := s.deps.Projections.Status(c.ctx())
	if err != nil {
		return err
	}
	out := wire.List[wire.Projection]{Items: make([]wire.Projection, 0, len(list))}
	for _, p := range list {
		out.Items = append(out.Items, s.showProjection(p))
		out.Position = max(out.Position, p.Head)
	}
	return c.answer(http.StatusOK, out)
}

func (s *Server) showProjection(p runner.Status) wire.Projection {
	out := wire.Projection{
		Name: p.Name, Revision: p.Revision, Generation: p.Generation, Previous: p.Previous, State: p.State.String(), Position: p.Position,
		Head: p.Head, Lag: p.Lag, Parked: p.Parked, Stopped: textOrNull(p.Reason), Rebuild: s.rebuilds.last(p.Name),
	}
	if p.Rebuild != nil { // also one of another process
		now := showProgress(*p.Rebuild)
		out.Rebuild = &now
	}
	return out
}

func showProgress(p runner.Progress) wire.Rebuild {
	return wire.Rebuild{
		Name: p.Name, State: wire.RebuildRunning, Position: p.Done, Target: p.Total, EventsPerSecond: p.EventsPerSecond, RemainingMs: p.ETA.Milliseconds(),
	}
}

// rebuilds remembers how far the rebuilds are that this server was asked for.
type rebuilds struct {
	mu     sync.Mutex
	byName map[string]wire.Rebuild
}

func (r *rebuilds) last(name string) *wire.Rebuild {
	r.mu.Lock()
	defer r.mu.Unlock()
	if b, ok := r.byName[name]; ok {
		return &b
	}
	return nil
}

func (r *rebuilds) note(b wire.Rebuild) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byName == nil {
		r.byName = map[string]wire.Rebuild{}
	}
	r.byName[b.Name] = b
}

// rebuildProjection starts a rebuild, which goes on when the client leaves, and answers at once; with follow, how far it is.
func (s *Server) rebuildProjection(c *call) error {
	if err := c.only("follow"); err != nil {
		return err
	}
	if err := c.decode(&struct{}{}, true); err != nil {
		return err
	}
	follow, err := c.flag("follow")
	if err != nil {
		return err
	}
	names := s.deps.Projections.Names()
	name, err := c.param("name")
	if err != nil {
		return err
	}
	if name != "all" {
		if !slices.Contains(names, name) {
			return runner.ErrUnknown
		}
		names = []string{name}
	}
	s.deps.Logger.Info("rebuild of read models asked for", "request_id", c.request, "key_id", c.principal.Key.String(), "projection", name)
	job := s.startRebuild(names)
	select {
	case <-job.begun:
	case <-job.over:
		if job.err != nil {
			return job.err
		}
	case <-c.ctx().Done():
		return context.Cause(c.ctx())
	}
	if !follow {
		return c.answer(http.StatusAccepted, wire.RebuildStarted{Projections: names})
	}
	st, err := c.stream(wire.TypeNDJSON)
	if err != nil {
		return err
	}
	return st.finish(job.follow(st))
}

// rebuild is a rebuild under way.
type rebuild struct {
	// begun is closed at the first sign of progress, over at the end; err is how it ended, once it is over.
	begun, over chan struct{}
	err         error

	mu     sync.Mutex
	latest map[string]wire.Rebuild
	moved  chan struct{}
}

// startRebuild starts one that outlives the call. The server's Shutdown ends it and waits for it: then all is as it was.
func (s *Server) startRebuild(names []string) *rebuild {
	job := &rebuild{begun: make(chan struct{}), over: make(chan struct{}), latest: map[string]wire.Rebuild{}, moved: make(chan struct{}, 1)}
	var once sync.Once
	note := func(b wire.Rebuild) {
		s.rebuilds.note(b)
		job.note(b)
	}
	s.inFlight.Add(1) // within a call, which counts itself, so that no Wait can have returned
	go func() {
		defer s.inFlight.Done()
		defer close(job.over)
		done, err := s.deps.Projections.Rebuild(s.background, names, func(p runner.Progress) {
			note(showProgress(p))
			once.Do(func() { close(job.begun) })
		})
		if err != nil {
			job.fail(names, err, note)
			return
		}
		for _, d := range done {
			note(wire.Rebuild{Name: d.Name, State: wire.RebuildDone, Position: d.Position, Target: d.Position, Rows: &d.Rows, Differences: &d.Differences})
		}
	}()
	return job
}

// fail notes the failure of a rebuild that had begun; one that did not begin is the answer's business.
func (b *rebuild) fail(names []string, err error, note func(wire.Rebuild)) {
	b.err = err
	select {
	case <-b.begun:
	default:
		return
	}
	p, _ := problemOf(err)
	for _, name := range names {
		note(wire.Rebuild{Name: name, State: wire.RebuildFailed, Error: &p.Detail})
	}
}

func (b *rebuild) note(r wire.Rebuild) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.latest[r.Name] = r
	select {
	case b.moved <- struct{}{}:
	default:
	}
}

// take returns what changed since the last call, by name.
func (b *rebuild) take() []wire.Rebuild {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]wire.Rebuild, 0, len(b.latest))
	for _, r := range b.latest {
		out = append(out, r)
	}
	clear(b.latest)
	slices.SortFunc(out, func(x, y wire.Rebuild) int { return cmp.Compare(x.Name, y.Name) })
	return out
}

// follow sends how far the rebuild is, until it is over. A slow reader gets fewer lines, and always the last ones.
func (b *rebuild) follow(st *stream) error {
	for over := false; ; {
		for _, r := range b.take() {
			if err := st.line(r); err != nil {
				return err
			}
		}
		if over {
			return nil
		}
		if err := st.flush(); err != nil {
			return err
		}
		select {
		case <-b.moved:
		case <-b.over:
			over = true
		case <-st.ends.Done():
			return nil
		}
	}
}

func (s *Server) listParked(c *call) error {
	if err := c.only(); err != nil {
		return err
	}
	name, err := c.param("name")
	if err != nil {
		return err
	}
	list, err := s.deps.Projections.Parked(c.ctx(), name)
	if err != nil {
		return err
	}
	position, err := s.deps.Projections.Position(name)
	if err != nil {
		return err
	}
	out := wire.List[wire.ParkedStream]{Items: make([]wire.ParkedStream, 0, len(list)), Position: position}
	for _, p := range list {
		out.Items = append(out.Items, wire.ParkedStream{
			Stream: string(p.Stream), Position: p.Position, Version: p.Version, Event: p.Event, Reason: p.Reason, Attempts: p.Tries,
			ParkedAt: p.ParkedAt, RetryAt: timeOrNull(p.RetryAt), Behind: p.Behind,
		})
	}
	return c.answer(http.StatusOK, out)
}

func (s *Server) retryParked(c *call) error {
	return s.unpark(c, func(name string, stream eventstore.Stream) error {
		return s.deps.Projections.Retry(c.ctx(), name, stream)
	})
}

func (s *Server) skipParked(c *call) error {
	return s.unpark(c, func(name string, stream eventstore.Stream) error {
		skipped, err := s.deps.Projections.Skip(c.ctx(), name, stream)
		if err != nil && !errors.Is(err, runner.ErrStillFails) {
			return err
		}
		// The event is left out, also where a later one of the stream fails next.
		_, recordErr := s.deps.Commands.RecordSkip(c.ctx(), c.by(), readmodel.Skipped{
			Name: skipped.Name, Stream: string(skipped.Stream), Position: skipped.Position, Reason: skipped.Reason,
		})
		return cmp.Or(recordErr, err)
	})
}

func (s *Server) unpark(c *call, do func(name string, stream eventstore.Stream) error) error {
	if err := c.decode(&struct{}{}, true); err != nil {
		return err
	}
	name, err := c.param("name")
	if err != nil {
		return err
	}
	stream, err := c.param("stream")
	if err != nil {
		return err
	}
	if err := do(name, eventstore.Stream(stream)); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

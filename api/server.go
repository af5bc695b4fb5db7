package api

import (
	"context"
	"errors"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"github.com/tenure-dev/tenure/api/auth"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/access"
	"github.com/tenure-dev/tenure/domain/key"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
)

// Server answers calls. It has no listener; [Server.Handler] is for whoever has.
type Server struct {
	deps    Deps
	keys    *auth.Keys
	metrics *metrics
	echo    *echo.Echo

	// closing ends streams and waits; background is what outlives the call that began it.
	closing    chan struct{}
	background context.Context
	stop       context.CancelFunc

	mu       sync.Mutex
	closed   bool
	inFlight sync.WaitGroup
	streams  atomic.Int64
	rebuilds rebuilds
}

// New makes a server.
func New(deps Deps) *Server {
	deps.Limits = deps.Limits.withDefaults()
	s := &Server{deps: deps, closing: make(chan struct{}), metrics: newMetrics(deps.Metrics)}
	deps.Metrics.MustRegister(newProjectionMetrics(deps.Projections.Status), newCleanupMetrics(deps.DB))
	s.background, s.stop = context.WithCancel(context.Background())
	s.keys = auth.NewKeys(func(ctx context.Context, id domain.KeyID) (key.State, error) {
		k, err := eventstore.Load(ctx, deps.Commands.Ledger(), commands.Keys, id.UUID)
		return k.State, err
	})
	s.echo = s.newEcho()
	return s
}

// HTTPServer is an http.Server with the time limits that the API is made for: none on whole answers, which may be streams,
// since every write has its own.
func (s *Server) HTTPServer() *http.Server {
	return &http.Server{Handler: s.echo, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10}
}

// Shutdown ends streams and waits at once, in order, refuses new calls, and returns when those under way are answered or
// ctx is done. The listener is the caller's to close, after that. It may be called again.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.closing)
		s.stop()
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() {
		s.inFlight.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// enter counts a call as under way, unless the server is closing.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.inFlight.Add(1)
	return true
}

const (
	keyRequest = "tenure.request"
	keyStart   = "tenure.start"
	// keyDone is set once the command of a request is in the log.
	keyDone = "tenure.done"
)

// begin is around every call, those of no route too.
func (s *Server) begin(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		request := requestID(c.Request().Header.Get(wire.HeaderRequestID))
		c.Set(keyRequest, request)
		c.Response().Header().Set(wire.HeaderRequestID, request.String())
		// The one of the connection's last answer; each write has its own.
		_ = http.NewResponseController(c.Response()).SetWriteDeadline(time.Time{})
		started := time.Now()
		defer func() {
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler { //nolint:errorlint // net/http compares it so too
					s.metrics.answered(c, started)
					panic(p)
				}
				s.deps.Logger.Error("a handler panicked", "request_id", request, "route", c.Path(), "panic", p, "stack", string(debug.Stack()))
				s.answerErrorOf(c, errPanicked)
			}
			s.metrics.answered(c, started)
		}()
		if !s.enter() {
			c.Response().Header().Set("Connection", "close")
			s.answerErrorOf(c, errClosing)
			return nil
		}
		defer s.inFlight.Done()
		if err := next(c); err != nil {
			s.answerErrorOf(c, err)
		}
		return nil
	}
}

var (
	errPanicked = errors.New("a handler panicked")
	errClosing  = errors.New("the server is shutting down")
)

// requestID is the client's, if it is a UUID, else a new one.
func requestID(given string) uuid.UUID {
	if id, err := uuid.Parse(given); err == nil && id != uuid.Nil {
		return id
	}
	return newID()
}

// newID makes an id that sorts by time.
func newID() uuid.UUID { return uuid.Must(uuid.NewV7()) }

// serve lets a call in and hands it to the route's handler.
func (s *Server) serve(r route) echo.HandlerFunc {
	return func(e echo.Context) error {
		c := &call{Context: e, server: s, route: r, request: e.Get(keyRequest).(uuid.UUID)}
		if r.action != "" {
			if err := s.authorize(c); err != nil {
				return err
			}
		}
		if err := c.readBody(); err != nil {
			return err
		}
		return r.handle(c)
	}
}

// authorize decides whether the call may go on. Whose a thing is comes first, so that a foreign id looks like an unknown one.
func (s *Server) authorize(c *call) error {
	principal, err := s.keys.Check(c.ctx(), c.Request().Header.Get(echo.HeaderAuthorization))
	if err != nil {
		return err
	}
	c.principal = principal
	if c.route.of != nil {
		if err := c.route.of(c); err != nil {
			return err
		}
	}
	return access.Can(principal, c.route.action, c.owner)
}

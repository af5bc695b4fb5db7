package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/tenure-dev/tenure/drivers"
)

// State is how a plugin's worker is.
type State string

// The states.
const (
	StateStopped  State = "stopped"
	StateStarting State = "starting"
	StateRunning  State = "running"
	StateResting  State = "resting"
	StateFailed   State = "failed"
)

// Status is how a plugin is.
type Status struct {
	Plugin drivers.Plugin
	// Enabled says that new leases get this version.
	Enabled bool
	State   State
	// PID is 0 unless the worker runs.
	PID int
	// Restarts counts the ends of workers that nobody asked for.
	Restarts int
	// Health is what a running worker last said of itself; "" before that.
	Health string
	// LastError is why the last start failed or the last worker ended; "" if there was nothing. NextTry is when it is tried
	// again; zero if it is not, or not by itself.
	LastError string
	NextTry   time.Time
	// Stderr is the end of what the last worker wrote there, without secrets.
	Stderr string
}

// plugin is one version of a plugin and its worker.
type plugin struct {
	opts      Options
	installed Installed
	log       *slog.Logger
	hard      <-chan struct{}
	// work are the goroutines that start and watch the process.
	work sync.WaitGroup
	// usable says that the plugin as a whole is enabled. Its worker does not outlive a change of that.
	usable bool
	// before is closed when what was in its place before has ended, so that of one version one worker runs at a time; nil for
	// the first.
	before <-chan struct{}
	// enabled is the host's, under its lock.
	enabled bool

	mu sync.Mutex
	// gone says that it was taken out of the table.
	gone    bool
	state   State
	current *child
	// last is the last process, for what it wrote to stderr.
	last *child
	// changed is closed and replaced when the state changes.
	changed  chan struct{}
	retry    *time.Timer
	failures int
	restarts int
	nextTry  time.Time
	// lastErr is what callers are told, lastKnown the same with what the process printed, which may be about others.
	lastErr, lastKnown error
	learnt             methods
}

func newPlugin(opts Options, in Installed, hard, before <-chan struct{}, usable bool) *plugin {
	log := opts.Logger.With("plugin", in.Plugin.Key, "plugin_version", in.Plugin.Version)
	return &plugin{
		opts: opts, installed: in, log: log, hard: hard, before: before, enabled: in.Enabled, usable: usable,
		state: StateStopped, changed: make(chan struct{}),
		learnt: readLearnt(opts.Dir, in.id()),
	}
}

// become changes the state; mu is held.
func (p *plugin) become(s State) {
	p.state = s
	close(p.changed)
	p.changed = make(chan struct{})
}

// worker returns the process, and starts it if need be. The error is a [*drivers.Failure] with outcome retryable.
func (p *plugin) worker(ctx context.Context) (*child, error) {
	for waited := false; ; {
		p.mu.Lock()
		tries := p.state == StateStopped || p.state == StateFailed && !waited && !time.Now().Before(p.nextTry)
		switch {
		case p.gone || !p.usable:
			p.mu.Unlock()
			return nil, p.unavailable("plugin_stopping", errors.New("it is being ended, because it was disabled, changed or removed, or because the engine stops"))
		case p.state == StateRunning && !p.current.ending():
			running := p.current
			p.mu.Unlock()
			return running, nil
		case p.state == StateRunning: // its end is not yet noted here
		case tries:
			p.begin()
			waited = true
		case p.state == StateStarting:
			waited = true
		case p.state == StateResting && !waited && time.Until(p.nextTry) <= p.opts.Restart.Patience:
		default:
			err := p.resting()
			p.mu.Unlock()
			return nil, err
		}
		changed := p.changed
		p.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, p.unavailable("plugin_starting", fmt.Errorf("it was not ready in time: %w", context.Cause(ctx)))
		}
	}
}

func (p *plugin) unavailable(code string, err error) *drivers.Failure {
	return &drivers.Failure{
		Outcome: drivers.OutcomeRetryable, Code: code, Step: "start_worker",
		Err:         fmt.Errorf("the worker of plugin %q %s does not run: %w", p.installed.Plugin.Key, p.installed.Plugin.Version, err),
		Remediation: "tenure plugin list -o wide shows how it is and what it printed",
	}
}

// resting is the error of a plugin that does not start now; mu is held.
func (p *plugin) resting() error {
	code := "plugin_resting"
	when := fmt.Sprintf("the next try is in %s", time.Until(p.nextTry).Round(time.Millisecond))
	if p.state == StateFailed {
		code = "plugin_failed"
		when = fmt.Sprintf("it was given up after %d failures; a call after %s tries again", p.failures, p.nextTry.UTC().Format(time.RFC3339))
	}
	failure := p.unavailable(code, fmt.Errorf("%w; %s", p.lastErr, when))
	if why, ok := errors.AsType[*drivers.Failure](p.lastErr); ok {
		failure.Code, failure.Remediation = why.Code, why.Remediation
		failure.Err = fmt.Errorf("the worker of plugin %q %s does not run: %w; %s", p.installed.Plugin.Key, p.installed.Plugin.Version, why.Err, when)
	}
	return failure
}

// begin starts the process in the background; mu is held.
func (p *plugin) begin() {
	p.become(StateStarting)
	p.work.Go(p.start)
}

func (p *plugin) start() {
	p.awaitBefore()
	p.mu.Lock()
	if p.gone {
		p.become(StateStopped)
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()
	ctx, cancel := context.WithTimeoutCause(context.Background(), p.opts.Timeouts.Initialize,
		fmt.Errorf("it did not answer initialize within %s", p.opts.Timeouts.Initialize))
	defer cancel()
	ctx, stop := endWith(ctx, p.hard)
	defer stop()
	c, err := startChild(ctx, p)
	p.mu.Lock()
	defer p.mu.Unlock()
	if c != nil {
		p.last = c
	}
	if err != nil {
		p.lastErr, p.lastKnown = err, err
		p.pause()
		return
	}
	p.current, p.nextTry = c, time.Time{}
	p.become(StateRunning)
	p.log.Info("a plugin's worker runs", "pid", c.identity.PID)
	p.learn(c.methods)
	p.work.Go(func() { p.watch(c) })
}

// endWith returns a context that also ends when done is closed.
func endWith(ctx context.Context, done <-chan struct{}) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stopped := make(chan struct{})
	go func() {
		select {
		case <-done:
			cancel(errors.New("the engine stops"))
		case <-stopped:
		}
	}()
	return ctx, sync.OnceFunc(func() {
		close(stopped)
		cancel(nil)
	})
}

// pause decides what comes after a failure; mu is held and lastErr is set.
func (p *plugin) pause() {
	p.failures++
	p.current = nil
	p.nextTry = time.Now().Add(p.opts.Restart.pause(p.failures))
	switch {
	case p.gone:
		p.nextTry = time.Time{}
		p.become(StateStopped)
	case p.failures >= p.opts.Restart.GiveUp:
		p.become(StateFailed)
	default:
		p.retry = time.AfterFunc(time.Until(p.nextTry), p.again)
		p.become(StateResting)
	}
	p.log.Warn("a plugin's worker does not run", "error", p.lastKnown, "failures", p.failures, "state", string(p.state), "next_try", p.nextTry)
}

// pause is how long to rest after so many failures.
func (r Restart) pause(failures int) time.Duration {
	d := r.First
	for range failures - 1 {
		if d *= 2; d >= r.Longest {
			d = r.Longest
			break
		}
	}
	jitter := 0.75 + rand.Float64()/2 //nolint:gosec // it only spreads the starts
	return time.Duration(float64(d) * jitter)
}

// again ends a rest.
func (p *plugin) again() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == StateResting && !p.gone {
		p.begin()
	}
}

// watch asks the process how it is until it ends.
func (p *plugin) watch(c *child) {
	c.poll(p.opts.Timeouts)
	<-c.finished
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.isClosing() { // it was asked to end
		p.current = nil
		p.become(StateStopped)
		return
	}
	p.restarts++
	if time.Since(c.started) >= p.opts.Restart.Stable {
		p.failures = 0
	}
	p.lastErr, p.lastKnown = c.whyEnded()
	p.pause()
}

// retire ends the process in good order and waits for it.
func (p *plugin) retire() {
	p.mu.Lock()
	p.gone = true
	for p.state == StateStarting {
		changed := p.changed
		p.mu.Unlock()
		<-changed // a start has a limit
		p.mu.Lock()
	}
	if p.retry != nil {
		p.retry.Stop()
	}
	c := p.current
	p.mu.Unlock()
	if c != nil {
		c.end(p.opts.Timeouts, p.hard)
	}
	p.work.Wait()
	p.awaitBefore() // who comes after this one waits for that one too
}

func (p *plugin) awaitBefore() {
	if p.before != nil {
		<-p.before // its end has a limit
	}
}

func (p *plugin) status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := Status{
		Plugin: p.installed.Plugin, Enabled: p.enabled, State: p.state, Restarts: p.restarts, NextTry: p.nextTry,
	}
	if p.lastKnown != nil {
		s.LastError = p.lastKnown.Error()
	}
	if p.current != nil {
		s.PID, s.Health = p.current.identity.PID, p.current.health()
	}
	if p.last != nil {
		s.Stderr = p.last.stderr.text()
	}
	return s
}

package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/process"
	"github.com/tenure-dev/tenure/plugins/internal/spawn"
	"github.com/tenure-dev/tenure/plugins/protocol"
)

// child is one worker's process, from its start to its end.
type child struct {
	plugin   *plugin
	body     body
	conn     *protocol.Conn
	identity drivers.Process
	started  time.Time
	secrets  *secrets
	stderr   *excerpt
	news     *news
	// methods and tenure are what it said at initialize; tenure is nil unless both sides speak the extension.
	methods methods
	tenure  map[string]protocol.TenureDriver
	said    atomic.Pointer[string] // of its health
	// exited is closed when the process has ended, finished when all that is to be done about that has been.
	exited, finished chan struct{}
	exit             error

	mu sync.Mutex
	// closing says that it was asked to end; why is what it was killed for.
	closing     bool
	why         error
	inflight    int
	idle        chan struct{} // closed when closing and nothing is in flight
	invocations map[string]*invocation
	// served is the company that it was last called for, several that there was more than one. What it prints may be about any
	// of them.
	served  string
	several bool
	// orphans says that a command may still write whose call is over.
	orphans bool
	execs   map[string]*execution
}

// body is what a worker lives in.
type body interface {
	// await waits for its end, and for that of everything which lives with it.
	await() error
	// term asks it to end, kill ends it. Neither waits.
	term()
	kill()
}

// startChild starts a worker and shakes hands with it. If it fails after the process began, the process has been ended and
// is returned with the error.
func startChild(ctx context.Context, p *plugin) (*child, error) {
	env, given, err := p.environment(ctx)
	if err != nil {
		return nil, err
	}
	c, err := spawnChild(p, env, given)
	if err != nil {
		return nil, err
	}
	if err := c.initialize(ctx); err != nil {
		if !errors.Is(err, protocol.ErrClosed) {
			c.kill(err)
		}
		<-c.finished
		if f, ok := errors.AsType[*drivers.Failure](err); ok && errors.Is(err, protocol.ErrClosed) {
			f.Err = fmt.Errorf("the process ended before it answered initialize: %s", c.whyGone())
		}
		return c, err
	}
	return c, nil
}

// environment is exactly what a worker gets; given are the values that it must not repeat.
func (p *plugin) environment(ctx context.Context) (list, given []string, err error) {
	o := p.opts
	env := map[string]string{
		"PATH": o.Path, "NODE_PATH": o.NodePath, "PAPERCLIP_PLUGIN_ID": p.installed.Plugin.ID, "NODE_ENV": "production", "TZ": "UTC",
		"PAPERCLIP_DEPLOYMENT_MODE": o.DeploymentMode, "PAPERCLIP_DEPLOYMENT_EXPOSURE": o.DeploymentExposure,
	}
	maps.Copy(env, p.installed.Env)
	maps.Copy(env, p.installed.SecretEnv)
	if p.installed.Prepare != nil {
		prepared, err := p.installed.Prepare(ctx)
		if err != nil {
			return nil, nil, fmt.Errorf("prepare its start: %w", err)
		}
		maps.Copy(env, prepared)
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	return list, slices.Collect(maps.Values(p.installed.SecretEnv)), nil
}

// command finds the program.
func (p *plugin) command() (string, error) {
	path, err := exec.LookPath(p.installed.Command[0])
	if err != nil {
		return "", fmt.Errorf("its program is not there: %w", err)
	}
	return path, nil
}

func newChild(p *plugin, given []string) *child {
	c := &child{
		plugin: p, started: time.Now(), secrets: newSecrets(), exited: make(chan struct{}), finished: make(chan struct{}),
		idle: make(chan struct{}), invocations: make(map[string]*invocation), execs: make(map[string]*execution),
	}
	c.news = newNews(p.log, c.secrets)
	c.stderr = newExcerpt(c.secrets)
	c.secrets.hold(given...)
	return c
}

// connect speaks with the worker from now on, and watches for its end.
func (c *child) connect(out io.Reader, in io.Writer) {
	c.conn = protocol.NewConn(out, in, protocol.Options{
		Request: c.request, Notification: c.notification, Junk: c.news.junk, MaxLine: c.plugin.opts.MaxLine, MaxRequests: 256,
	})
	go c.reap()
}

func spawnChild(p *plugin, env, given []string) (*child, error) {
	if p.installed.Inside != nil {
		c := newChild(p, given)
		b, out, in := startInside(p.installed.Inside())
		c.body = b
		close(c.stderr.done)
		c.connect(out, in)
		return c, nil
	}
	path, err := p.command()
	if err != nil {
		return nil, err
	}
	as := p.opts.Credential
	switch root := os.Geteuid() == 0; {
	case !root || p.installed.AsRoot:
		as = nil
	case as == nil:
		return nil, errors.New("the engine is root and names no user for workers; it does not run foreign code as root")
	}
	var pipes [3][2]*os.File
	for i := range pipes {
		if pipes[i][0], pipes[i][1], err = os.Pipe(); err != nil {
			return nil, errors.Join(fmt.Errorf("make a pipe: %w", err), closeAll(pipes))
		}
	}
	in, out, errs := pipes[0], pipes[1], pipes[2]
	c := newChild(p, given)
	cmd := &exec.Cmd{Path: path, Args: p.installed.Command, Env: env, Dir: "/", Stdin: in[0], Stdout: out[1], Stderr: errs[1]}
	err = spawn.Start(cmd, as)
	_, _, _ = in[0].Close(), out[1].Close(), errs[1].Close() // the child has its own
	if err != nil {
		c.news.close()
		return nil, errors.Join(fmt.Errorf("start it: %w", err), in[1].Close(), out[0].Close(), errs[0].Close())
	}
	go c.stderr.read(errs[0], c.news)
	if c.identity, err = process.Identify(cmd.Process.Pid); err == nil {
		err = writeRecord(p.opts.Dir, p.installed.id(), c.identity)
	}
	if err == nil && p.installed.Started != nil {
		err = p.installed.Started(cmd.Process.Pid)
	}
	c.body = &processBody{cmd: cmd, identity: c.identity}
	c.connect(out[0], in[1])
	if err != nil {
		c.kill(err)
		<-c.finished
		return nil, fmt.Errorf("record its start: %w", err)
	}
	return c, nil
}

func closeAll(pipes [3][2]*os.File) error {
	var errs []error
	for _, p := range pipes {
		for _, f := range p {
			if f != nil {
				errs = append(errs, f.Close())
			}
		}
	}
	return errors.Join(errs...)
}

// lastWords is how long what a dead worker wrote is still read, and how long one that closed its output may take to die.
const lastWords = 3 * time.Second

// reap waits for the process's end and does what is to be done about it.
func (c *child) reap() {
	defer close(c.finished)
	go func() {
		select {
		case <-c.exited:
			return
		case <-c.conn.Done():
		}
		if closedItsEnd(c.conn.Err()) {
			select {
			case <-c.exited:
				return
			case <-time.After(lastWords):
			}
		}
		if !c.isClosing() { // end has longer limits
			c.kill(c.conn.Err())
		}
	}()
	c.exit = c.body.await()
	c.mu.Lock()
	if closedItsEnd(c.why) && endedByItself(c.exit) {
		c.why = nil // it was about to end, and we came late to see it
	}
	c.mu.Unlock()
	close(c.exited)
	removeRecord(c.plugin.opts.Dir, c.identity)
	select {
	case <-c.conn.Done():
	case <-time.After(lastWords):
		_ = c.conn.Close()
	}
	select {
	case <-c.stderr.done:
	case <-time.After(lastWords):
		c.stderr.stop()
	}
	c.endExecs()
	c.news.close()
}

// closedItsEnd says that a wire ended because the worker closed it, which is what a process that ends does first.
func closedItsEnd(why error) bool {
	_, long := errors.AsType[*protocol.LineError](why)
	return errors.Is(why, protocol.ErrClosed) && !errors.Is(why, protocol.ErrStalled) && !long
}

// endedByItself tells an end that a process chose from the one that we give.
func endedByItself(exit error) bool {
	if exit == nil {
		return true
	}
	how, ok := errors.AsType[*exec.ExitError](exit)
	if !ok {
		return false
	}
	status, ok := how.Sys().(syscall.WaitStatus)
	return ok && (!status.Signaled() || status.Signal() != syscall.SIGKILL)
}

// kill ends the process, everything in its group, and its descendants outside of it.
func (c *child) kill(why error) {
	c.mu.Lock()
	if c.why == nil {
		c.why = why
	}
	c.mu.Unlock()
	select {
	case <-c.exited:
		return
	default:
	}
	c.body.kill()
}

// poll asks the worker how it is until it ends. One that does not answer is stuck, and is ended.
func (c *child) poll(t Timeouts) {
	ticker := time.NewTicker(t.Health)
	defer ticker.Stop()
	for {
		select {
		case <-c.exited:
			return
		case <-ticker.C:
		}
		if c.isClosing() {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), t.HealthReply)
		var got protocol.HealthResult
		err := c.conn.Call(ctx, protocol.MethodHealth, struct{}{}, &got)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) && !c.isClosing() {
			c.kill(fmt.Errorf("it did not answer health within %s: it is stuck", t.HealthReply))
			continue
		}
		said := c.secrets.quote(got.Status, 100)
		if got.Message != "" {
			said += ": " + c.secrets.quote(got.Message, 500)
		}
		if err == nil {
			c.said.Store(&said)
		}
	}
}

func (c *child) health() string {
	if said := c.said.Load(); said != nil {
		return *said
	}
	return ""
}

// end ends the worker in good order: no new calls, those in flight are waited for, then it is asked, then told, then
// killed. Calls that are in flight at shutdown are never answered, so the wait comes first.
func (c *child) end(t Timeouts, hard <-chan struct{}) {
	c.mu.Lock()
	if !c.closing {
		c.closing = true
		if c.inflight == 0 {
			close(c.idle)
		}
	}
	c.mu.Unlock()
	defer func() { <-c.finished }()
	within := func(d time.Duration, over <-chan struct{}) bool {
		select {
		case <-over:
			return true
		case <-c.exited:
			return true
		case <-hard:
			return false
		case <-time.After(d):
			return false
		}
	}
	within(t.Drain, c.idle)
	ctx, cancel := context.WithTimeout(context.Background(), t.Shutdown)
	defer cancel()
	ctx, stop := endWith(ctx, hard)
	err := c.conn.Call(ctx, protocol.MethodShutdown, struct{}{}, nil)
	stop()
	if err == nil && within(500*time.Millisecond, c.exited) {
		return
	}
	c.body.term()
	if !within(t.Term, c.exited) {
		c.kill(errors.New("it did not end when asked"))
	}
}

// enter counts a call that an end in good order waits for.
func (c *child) enter() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return errors.New("the worker is being ended")
	}
	c.inflight++
	return nil
}

func (c *child) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inflight--; c.inflight == 0 && c.closing {
		close(c.idle)
	}
}

func (c *child) isClosing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closing
}

// ending reports whether it can be asked nothing more.
func (c *child) ending() bool {
	select {
	case <-c.exited:
		return true
	case <-c.conn.Done():
		return true
	default:
		return c.isClosing()
	}
}

// serve notes that it is called for a company; mu is held.
func (c *child) serve(company string) {
	if company != "" {
		c.several = c.several || c.served != "" && c.served != company
		c.served = company
	}
}

// diedBy says how the process ended, with its last words if they may be told; "" if it has not.
func (c *child) diedBy(words bool) string {
	select {
	case <-c.exited:
	default:
		return ""
	}
	how := "exit status 0"
	if c.exit != nil {
		how = c.exit.Error()
	}
	if tail := c.stderr.tail(300); words && tail != "" {
		how += "; stderr ends with: " + tail
	}
	return how
}

// whyEnded says why a process that nobody asked to end has ended: told is for any company that calls next, known for who sees
// everything.
func (c *child) whyEnded() (told, known error) {
	c.mu.Lock()
	why, served := c.why, c.served
	c.mu.Unlock()
	if why != nil {
		told = fmt.Errorf("it was ended: %w", why)
		return told, told
	}
	return fmt.Errorf("it died: %s", c.diedBy(served == "")), fmt.Errorf("it died: %s", c.diedBy(true))
}

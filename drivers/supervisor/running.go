package supervisor

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/drivers"
)

// killTimeout bounds the asking for a command's end, not the end itself.
const killTimeout = 10 * time.Second

// running knows the commands of this process: those about to start, and those that run.
type running struct {
	log   *slog.Logger
	mu    sync.Mutex
	execs map[domain.ExecID]*runningExec
	// stopping is why everything is ended, also what is yet to start; "" while it is not.
	stopping string
	group    sync.WaitGroup
}

type runningExec struct {
	lease domain.LeaseID
	// exec is nil until the command has started; kill is why it is to be ended, "" while it is not.
	exec drivers.Exec
	kill string
	// gone is closed when its end is recorded.
	gone chan struct{}
}

func newRunning(log *slog.Logger) *running {
	return &running{log: log, execs: map[domain.ExecID]*runningExec{}}
}

// expect notes a command that is about to be claimed.
func (r *running) expect(id domain.ExecID, lease domain.LeaseID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.execs[id] = &runningExec{lease: lease, kill: r.stopping, gone: make(chan struct{})}
}

// started notes that the command runs. It returns why the command is to be ended already; "" if it is not.
func (r *running) started(id domain.ExecID, exec drivers.Exec) (kill string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.execs[id].exec = exec
	return r.execs[id].kill
}

// killed is why a command is to be ended; "" if it is not.
func (r *running) killed(id domain.ExecID) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e, ok := r.execs[id]; ok {
		return e.kill
	}
	return ""
}

func (r *running) remove(id domain.ExecID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e, ok := r.execs[id]; ok {
		close(e.gone)
		delete(r.execs, id)
	}
}

func (r *running) has(id domain.ExecID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.execs[id]
	return ok
}

func (r *running) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.execs)
}

// goOn runs f beyond the step that started it; wait waits for all of them.
func (r *running) goOn(f func()) { r.group.Go(f) }

func (r *running) wait() { r.group.Wait() }

// kill ends a command, or notes that it is to be ended once it has started. The first reason stays. It returns what is
// closed when the end is recorded; nil if there is no such command.
func (r *running) kill(ctx context.Context, id domain.ExecID, why string) <-chan struct{} {
	r.mu.Lock()
	e := r.execs[id]
	if e == nil {
		r.mu.Unlock()
		return nil
	}
	e.kill = cmp.Or(e.kill, why, "killed")
	exec, why := e.exec, e.kill
	r.mu.Unlock()
	if exec != nil {
		r.end(ctx, id, exec, why)
	}
	return e.gone
}

func (r *running) end(ctx context.Context, id domain.ExecID, exec drivers.Exec, why string) {
	ctx, cancel := context.WithTimeout(ctx, killTimeout)
	defer cancel()
	if err := exec.Kill(ctx, why); err != nil {
		r.log.Warn("a command could not be asked to end", "exec", id, "error", err)
	}
}

// killAll ends every command, and every one that starts from now on.
func (r *running) killAll(ctx context.Context, why string) {
	r.mu.Lock()
	r.stopping = why
	r.mu.Unlock()
	var all sync.WaitGroup
	for _, id := range r.ids(func(*runningExec) bool { return true }) {
		all.Go(func() { r.kill(ctx, id, why) })
	}
	all.Wait()
}

// endLease ends the commands of a lease and waits until their ends are recorded, at most until ctx is done.
func (r *running) endLease(ctx context.Context, lease domain.LeaseID, why string) {
	var gone []<-chan struct{}
	for _, id := range r.ids(func(e *runningExec) bool { return e.lease == lease }) {
		if ch := r.kill(ctx, id, why); ch != nil {
			gone = append(gone, ch)
		}
	}
	for _, ch := range gone {
		select {
		case <-ch:
		case <-ctx.Done():
			return
		}
	}
}

func (r *running) ids(match func(*runningExec) bool) []domain.ExecID {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []domain.ExecID
	for id, e := range r.execs {
		if match(e) {
			out = append(out, id)
		}
	}
	return out
}

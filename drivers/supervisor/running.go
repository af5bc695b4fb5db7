package supervisor

import (
	"context"
	"sync"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/drivers"
)

// running knows the commands of this process: those about to start, and those that run.
type running struct {
	mu    sync.Mutex
	execs map[domain.ExecID]*runningExec
	group sync.WaitGroup
}

type runningExec struct {
	lease domain.LeaseID
	// exec is nil until the command has started; kill is why it is to be ended as soon as it has.
	exec drivers.Exec
	kill string
	// gone is closed when its end is recorded.
	gone chan struct{}
}

func newRunning() *running { return &running{execs: map[domain.ExecID]*runningExec{}} }

// expect notes a command that is about to be claimed.
func (r *running) expect(id domain.ExecID, lease domain.LeaseID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.execs[id] = &runningExec{lease: lease, gone: make(chan struct{})}
}

// started notes that the command runs, and ends it if somebody asked for that meanwhile.
func (r *running) started(ctx context.Context, id domain.ExecID, exec drivers.Exec) {
	r.mu.Lock()
	r.execs[id].exec = exec
	why := r.execs[id].kill
	r.mu.Unlock()
	if why != "" {
		_ = exec.Kill(ctx, why)
	}
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

// kill ends a command, or notes that it is to be ended once it has started. It returns what is closed when the end is
// recorded; nil if there is no such command.
func (r *running) kill(ctx context.Context, id domain.ExecID, why string) <-chan struct{} {
	r.mu.Lock()
	e := r.execs[id]
	if e == nil {
		r.mu.Unlock()
		return nil
	}
	exec := e.exec
	e.kill = why
	r.mu.Unlock()
	if exec != nil {
		_ = exec.Kill(ctx, why)
	}
	return e.gone
}

func (r *running) killAll(ctx context.Context, why string) {
	for _, id := range r.ids(func(*runningExec) bool { return true }) {
		r.kill(ctx, id, why)
	}
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

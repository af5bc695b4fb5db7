package ssh

import (
	"errors"

	"github.com/tenure-dev/tenure/drivers"
)

// activity is what this process does in one runtime. It keeps a command from starting while the runtime is released.
type activity struct {
	releasing int
	starting  int
	// idle is closed when starting falls to 0; nil unless a Release waits for that.
	idle  chan struct{}
	execs []*process
}

// beginStart registers a command that is about to start. A nil result must be followed by endStart.
func (d *Driver) beginStart(runtimeID string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.activityOf(runtimeID)
	if a.releasing > 0 {
		return &drivers.StartError{
			Stage: "runtime", Code: "runtime_releasing", Remediation: "acquire a new lease",
			Err: errors.New("the runtime is being released"),
		}
	}
	a.starting++
	return nil
}

// endStart says what became of it; p is nil if the command did not start.
func (d *Driver) endStart(runtimeID string, p *process) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.activityOf(runtimeID)
	a.prune()
	if p != nil {
		a.execs = append(a.execs, p)
	}
	a.starting--
	if a.starting == 0 && a.idle != nil {
		close(a.idle)
		a.idle = nil
	}
	d.dropIfUnused(runtimeID, a)
}

// beginRelease keeps commands from starting until endRelease. When idle is closed, execs has all that started before.
func (d *Driver) beginRelease(runtimeID string) (idle <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.activityOf(runtimeID)
	a.releasing++
	if a.starting == 0 {
		closed := make(chan struct{})
		close(closed)
		return closed
	}
	if a.idle == nil {
		a.idle = make(chan struct{})
	}
	return a.idle
}

func (d *Driver) endRelease(runtimeID string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.activityOf(runtimeID)
	a.releasing--
	a.prune()
	d.dropIfUnused(runtimeID, a)
}

// running are the commands of this process in a runtime.
func (d *Driver) running(runtimeID string) []*process {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.activityOf(runtimeID)
	a.prune()
	return append([]*process(nil), a.execs...)
}

func (d *Driver) activityOf(runtimeID string) *activity {
	a, ok := d.active[runtimeID]
	if !ok {
		a = &activity{}
		d.active[runtimeID] = a
	}
	return a
}

func (d *Driver) dropIfUnused(runtimeID string, a *activity) {
	if a.releasing == 0 && a.starting == 0 && len(a.execs) == 0 {
		delete(d.active, runtimeID)
	}
}

// prune forgets commands that have ended.
func (a *activity) prune() {
	live := a.execs[:0]
	for _, p := range a.execs {
		select {
		case <-p.done:
		default:
			live = append(live, p)
		}
	}
	clear(a.execs[len(live):])
	a.execs = live
}

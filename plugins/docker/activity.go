package docker

import (
	"errors"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/execparent"
)

// activity is what this process does in one runtime. It keeps a command from starting while the runtime is released.
type activity struct {
	// turn is held by the Acquire or Release under way; waiting counts it and those that wait for it.
	turn    chan struct{}
	waiting int

	releasing int
	starting  int
	// idle is closed when starting falls to 0; nil unless a Release waits for that.
	idle  chan struct{}
	execs map[*execparent.Linked]struct{}
}

func (d *Driver) activityOf(runtimeID string) *activity {
	a, ok := d.runtimes[runtimeID]
	if !ok {
		a = &activity{turn: make(chan struct{}, 1), execs: make(map[*execparent.Linked]struct{})}
		d.runtimes[runtimeID] = a
	}
	return a
}

func (d *Driver) dropIfUnused(runtimeID string, a *activity) {
	if a.waiting+a.releasing+a.starting+len(a.execs) == 0 {
		delete(d.runtimes, runtimeID)
	}
}

// beginStart registers a command that is about to start. A nil error must be followed by endStart.
func (d *Driver) beginStart(runtimeID string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.activityOf(runtimeID)
	if a.releasing > 0 {
		d.dropIfUnused(runtimeID, a)
		return &drivers.StartError{
			Stage: "runtime", Code: "runtime_releasing", Remediation: "acquire a new lease",
			Err: errors.New("the runtime is being released"),
		}
	}
	a.starting++
	return nil
}

// endStart says what became of it; p is nil if the command did not start.
func (d *Driver) endStart(runtimeID string, p *execparent.Linked) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.activityOf(runtimeID)
	if p != nil {
		a.execs[p] = struct{}{}
		go func() {
			<-p.Done() // at the latest when the container is gone
			d.mu.Lock()
			defer d.mu.Unlock()
			delete(a.execs, p)
			d.dropIfUnused(runtimeID, a)
		}()
	}
	a.starting--
	if a.starting == 0 && a.idle != nil {
		close(a.idle)
		a.idle = nil
	}
	d.dropIfUnused(runtimeID, a)
}

// beginRelease keeps commands from starting until endRelease. When idle is closed, running has all that started before.
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
	d.dropIfUnused(runtimeID, a)
}

// running are the commands of this process in a runtime.
func (d *Driver) running(runtimeID string) []*execparent.Linked {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.activityOf(runtimeID)
	defer d.dropIfUnused(runtimeID, a)
	all := make([]*execparent.Linked, 0, len(a.execs))
	for p := range a.execs {
		all = append(all, p)
	}
	return all
}

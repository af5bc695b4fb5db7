// Package activity keeps the commands and the release of a runtime apart within one process: none starts while its runtime
// is released, and a release sees all that have started.
package activity

import (
	"errors"
	"slices"
	"sync"

	"github.com/tenure-dev/tenure/drivers"
)

// Command is a command that has started.
type Command interface {
	comparable
	// Done is closed when it has ended.
	Done() <-chan struct{}
}

// Runtimes are those that something goes on in. The zero value is ready. Methods may be called at once.
type Runtimes[C Command] struct {
	mu   sync.Mutex
	byID map[string]*runtime[C]
}

type runtime[C Command] struct {
	releasing int
	starting  int
	// idle is closed when starting falls to 0; nil unless a release waits for that.
	idle     chan struct{}
	commands []C
}

// BeginStart registers a command that is about to start. Its error is a [*drivers.StartError]; a nil one must be followed by
// EndStart.
func (r *Runtimes[C]) BeginStart(runtimeID string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.of(runtimeID)
	if a.releasing > 0 {
		return &drivers.StartError{
			Stage: "runtime", Code: "runtime_releasing", Remediation: "acquire a new lease",
			Err: errors.New("the runtime is being released"),
		}
	}
	a.starting++
	return nil
}

// EndStart says what became of it: the zero value stands for a command that did not start.
func (r *Runtimes[C]) EndStart(runtimeID string, started C) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.of(runtimeID)
	var none C
	if started != none {
		a.commands = append(a.commands, started)
		go func() {
			<-started.Done()
			r.forget(runtimeID, started)
		}()
	}
	a.starting--
	if a.starting == 0 && a.idle != nil {
		close(a.idle)
		a.idle = nil
	}
	r.dropIfUnused(runtimeID, a)
}

// BeginRelease keeps commands from starting until EndRelease. When idle is closed, Running has all that started before.
func (r *Runtimes[C]) BeginRelease(runtimeID string) (idle <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.of(runtimeID)
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

// EndRelease is the end of what BeginRelease began, done or not.
func (r *Runtimes[C]) EndRelease(runtimeID string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.of(runtimeID)
	a.releasing--
	r.dropIfUnused(runtimeID, a)
}

// Running are the commands in a runtime that have not ended, or only just.
func (r *Runtimes[C]) Running(runtimeID string) []C {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a, ok := r.byID[runtimeID]; ok {
		return slices.Clone(a.commands)
	}
	return nil
}

func (r *Runtimes[C]) forget(runtimeID string, ended C) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.of(runtimeID)
	a.commands = slices.DeleteFunc(a.commands, func(c C) bool { return c == ended })
	r.dropIfUnused(runtimeID, a)
}

func (r *Runtimes[C]) of(runtimeID string) *runtime[C] {
	a, ok := r.byID[runtimeID]
	if !ok {
		if r.byID == nil {
			r.byID = make(map[string]*runtime[C])
		}
		a = &runtime[C]{}
		r.byID[runtimeID] = a
	}
	return a
}

func (r *Runtimes[C]) dropIfUnused(runtimeID string, a *runtime[C]) {
	if a.releasing == 0 && a.starting == 0 && len(a.commands) == 0 {
		delete(r.byID, runtimeID)
	}
}

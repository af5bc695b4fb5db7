package supervisortest

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/eventstore"
)

// Processes are liveness rows. The zero value is ready to use.
type Processes struct {
	mu     sync.Mutex
	rows   []eventstore.Process
	silent map[domain.WorkerID]bool
}

// Register implements [supervisor.Processes]. A process takes the place of an earlier one on its node.
func (p *Processes) Register(_ context.Context, process eventstore.Process, ttl time.Duration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rows = slices.DeleteFunc(p.rows, func(old eventstore.Process) bool { return old.Node == process.Node })
	process.AliveUntil = time.Now().Add(ttl)
	p.rows = append(p.rows, process)
	return nil
}

// Beat implements [supervisor.Processes].
func (p *Processes) Beat(_ context.Context, process eventstore.Process, ttl time.Duration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.silent[process.ID] {
		return eventstore.ErrUnavailable
	}
	for i := range p.rows {
		if p.rows[i].ID == process.ID {
			p.rows[i].AliveUntil, p.rows[i].Serves, p.rows[i].Draining = time.Now().Add(ttl), process.Serves, process.Draining
			p.rows[i].Doubts, p.rows[i].ClockJump = process.Doubts, process.ClockJump
			return nil
		}
	}
	return eventstore.ErrProcessGone
}

// Leave implements [supervisor.Processes].
func (p *Processes) Leave(_ context.Context, id domain.WorkerID) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rows = slices.DeleteFunc(p.rows, func(old eventstore.Process) bool { return old.ID == id })
	return nil
}

// List implements [supervisor.Processes].
func (p *Processes) List(context.Context) ([]eventstore.Process, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	rows := slices.Clone(p.rows)
	for i := range rows {
		rows[i].Alive = rows[i].AliveUntil.After(time.Now())
	}
	return rows, nil
}

// Silence keeps a process from saying that it lives, until Speak lets it again.
func (p *Processes) Silence(id domain.WorkerID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.silent == nil {
		p.silent = map[domain.WorkerID]bool{}
	}
	p.silent[id] = true
}

// Speak ends a Silence.
func (p *Processes) Speak(id domain.WorkerID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.silent, id)
}

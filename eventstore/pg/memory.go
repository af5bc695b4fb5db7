package pg

import (
	"slices"
	"sync"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/eventstore"
)

// Mark is an event of the log that somebody remembers. The hash tells whether it is that very event.
type Mark struct {
	Epoch    int64
	Position int64
	Hash     []byte
}

// memory is what a process remembers of the log beside the database: events that it appended or read, the last one always,
// and some before it, ever fewer of them. A log that does not have the last one was set back; those before it tell how far.
type memory struct {
	mu    sync.Mutex
	marks []Mark // by position
	// epoch is the highest that the log was known to have.
	epoch int64
}

// Memory is what a node remembers of a log, to be kept outside of the database.
type Memory struct {
	// Installation is the log's, Epoch the highest that it was known to have.
	Installation uuid.UUID
	Epoch        int64
	// Marks are some of its events, by position.
	Marks []Mark
}

// maxMarks bounds what is remembered. Of twice as many, every other one of the older ones goes.
const maxMarks = 64

// note remembers an event that was appended or read.
func (m *memory) note(epoch, position int64, hash []byte) {
	if position == 0 || len(hash) == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := len(m.marks); n > 0 && m.marks[n-1].Position >= position {
		return
	}
	m.marks = append(m.marks, Mark{Epoch: epoch, Position: position, Hash: slices.Clone(hash)})
	if len(m.marks) >= 2*maxMarks {
		m.thin()
	}
}

// thin keeps every other mark of the older half.
func (m *memory) thin() {
	kept := m.marks[:0]
	for i, mark := range m.marks {
		if i >= maxMarks || i%2 == 0 {
			kept = append(kept, mark)
		}
	}
	m.marks = kept
}

func (m *memory) read(events []eventstore.Recorded) {
	if n := len(events); n > 0 {
		last := events[n-1]
		m.note(last.Epoch, last.Position, last.Hash)
	}
}

// last is the last event that is remembered, nil if none is.
func (m *memory) last() *Mark {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := len(m.marks); n > 0 {
		last := m.marks[n-1]
		return &last
	}
	return nil
}

// knows takes note of an epoch, and returns the highest one.
func (m *memory) knows(epoch int64) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.epoch = max(m.epoch, epoch)
	return m.epoch
}

func (m *memory) all() []Mark {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.marks)
}

// forget gives up what is behind one position and not behind another: it is lost, and that is on record.
func (m *memory) forget(after, upTo int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.marks = slices.DeleteFunc(m.marks, func(mark Mark) bool { return mark.Position > after && mark.Position <= upTo })
}

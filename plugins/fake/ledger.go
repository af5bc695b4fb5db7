package fake

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Entry is one line of a ledger. Op says which fields mean something.
type Entry struct {
	Op Op        `json:"op"`
	At time.Time `json:"at"`
	// PID is the worker that wrote the line.
	PID int `json:"pid"`

	// ID is the provider's id of a runtime.
	ID string `json:"id,omitempty"`

	// Of a runtime that was created or is held anew.
	Provider      string `json:"provider,omitempty"`
	RuntimeID     string `json:"runtimeId,omitempty"`
	Installation  string `json:"installation,omitempty"`
	LeaseID       string `json:"leaseId,omitempty"`
	CompanyID     string `json:"companyId,omitempty"`
	EnvironmentID string `json:"environmentId,omitempty"`
	RunID         string `json:"runId,omitempty"`
	Epoch         int64  `json:"epoch,omitempty"`
	Fence         int64  `json:"fence,omitempty"`
	// Kept says that the holder of this fence has given it back.
	Kept       bool   `json:"kept,omitempty"`
	Attempt    int    `json:"attempt,omitempty"`
	Image      string `json:"image,omitempty"`
	ReuseLease bool   `json:"reuseLease,omitempty"`
	// Reused says that another lease held it before.
	Reused bool `json:"reused,omitempty"`
	// DestroyFails is how many tries to destroy it are to fail.
	DestroyFails int `json:"destroyFails,omitempty"`

	// ExecID is the command that was started in the runtime. LeaseID and Fence, of it and of a runtime that was destroyed, are
	// those of whoever asked.
	ExecID string `json:"execId,omitempty"`

	// Of a scripted call: whose it is, and the steps that were taken.
	Scope string `json:"scope,omitempty"`
	Steps []int  `json:"steps,omitempty"`
}

// Op is what a line records.
type Op string

// The lines of a ledger.
const (
	// OpCreate and OpDestroy begin and end a runtime.
	OpCreate  Op = "create"
	OpDestroy Op = "destroy"
	// OpHold gives a runtime to a newer holder, OpKeep takes it back from one.
	OpHold Op = "hold"
	OpKeep Op = "keep"
	// OpExec is the start of a command.
	OpExec Op = "exec"
	// OpCall is a call that a script may have a step for; OpStuck is a try to destroy that was made to fail.
	OpCall  Op = "call"
	OpStuck Op = "stuck"
)

// LedgerPath is the ledger in a worker's directory.
func LedgerPath(dir string) string { return filepath.Join(dir, "ledger.jsonl") }

// Ledger is everything that ever was, as a file says it.
type Ledger struct {
	// Entries are all lines in order.
	Entries []Entry
	state
}

// ReadLedger reads a ledger. One that does not exist is empty: nobody made anything yet.
func ReadLedger(path string) (*Ledger, error) {
	raw, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read ledger: %w", err)
	}
	led := &Ledger{state: newState()}
	led.feed(raw, func(e Entry) { led.Entries = append(led.Entries, e) })
	return led, nil
}

// Live is what was created and not destroyed, oldest first.
func (s *state) Live() []Entry {
	return slices.SortedFunc(maps.Values(s.live), func(a, b Entry) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.ID, b.ID))
	})
}

// Created and Destroyed count runtimes.
func (s *state) Created() int { return s.created }

// Destroyed counts the runtimes that were taken down.
func (s *state) Destroyed() int { return s.destroyed }

// state is the fold of a ledger.
type state struct {
	live               map[string]Entry    // by id; as created, with what a newer holder changed
	named              map[string][]string // the ids of the live ones by the engine's id, oldest first
	created, destroyed int
	calls              map[string]int         // by scope
	taken              map[string]map[int]int // by scope and step: in how many calls
	stuck              map[string]int         // by id: failed tries to destroy
}

func newState() state {
	return state{
		live: make(map[string]Entry), named: make(map[string][]string), calls: make(map[string]int), taken: make(map[string]map[int]int), stuck: make(map[string]int),
	}
}

// feed folds every whole line of b and returns their length. A line that is torn, because its writer was killed over it, is
// no line: what it would have said did not happen.
func (s *state) feed(b []byte, each func(Entry)) (n int64) {
	for {
		end := bytes.IndexByte(b, '\n')
		if end < 0 {
			return n
		}
		var e Entry
		if json.Unmarshal(b[:end], &e) == nil {
			s.apply(e)
			if each != nil {
				each(e)
			}
		}
		n += int64(end) + 1
		b = b[end+1:]
	}
}

func (s *state) apply(e Entry) {
	switch e.Op {
	case OpCreate:
		if _, twice := s.live[e.ID]; twice {
			return // ids are never used again; who writes such a line is not this program
		}
		s.live[e.ID] = e
		s.named[e.RuntimeID] = append(s.named[e.RuntimeID], e.ID)
		s.created++
	case OpHold:
		if held, ok := s.live[e.ID]; ok {
			held.LeaseID, held.Fence, held.Epoch, held.RunID, held.Reused = e.LeaseID, e.Fence, e.Epoch, e.RunID, e.Reused
			held.Kept = false
			s.live[e.ID] = held
		}
	case OpKeep:
		if kept, ok := s.live[e.ID]; ok {
			kept.Fence, kept.Kept = e.Fence, true
			s.live[e.ID] = kept
		}
	case OpDestroy:
		if gone, ok := s.live[e.ID]; ok {
			delete(s.live, e.ID)
			s.named[gone.RuntimeID] = slices.DeleteFunc(s.named[gone.RuntimeID], func(id string) bool { return id == e.ID })
			if len(s.named[gone.RuntimeID]) == 0 {
				delete(s.named, gone.RuntimeID)
			}
			s.destroyed++
		}
	case OpCall:
		s.calls[e.Scope]++
		for _, i := range e.Steps {
			if s.taken[e.Scope] == nil {
				s.taken[e.Scope] = make(map[int]int)
			}
			s.taken[e.Scope][i]++
		}
	case OpStuck:
		s.stuck[e.ID]++
	case OpExec: // it is for whoever reads the entries
	}
}

// ledger is a ledger that this process writes, side by side with others.
type ledger struct {
	path string
	now  func() time.Time

	mu sync.Mutex // of this process; the lock on the file keeps the others out
	f  *os.File
	state
	read int64 // how much of the file is in state
}

func openLedger(dir string, now func() time.Time) (*ledger, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of the ledger: %w", err)
	}
	f, err := os.OpenFile(LedgerPath(dir), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	return &ledger{path: LedgerPath(dir), now: now, f: f, state: newState()}, nil
}

// Close closes the file; what is in it stays.
func (l *ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.f.Close()
}

// update looks at the state as it is now and appends what decide returns, with nobody in between.
func (l *ledger) update(decide func(s *state) []Entry) (err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		err := unix.Flock(int(l.f.Fd()), unix.LOCK_EX)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("lock ledger: %w", err)
		}
	}
	defer func() { err = errors.Join(err, unix.Flock(int(l.f.Fd()), unix.LOCK_UN)) }()
	torn, err := l.catchUp()
	if err != nil {
		return err
	}
	var lines []byte
	if torn {
		lines = append(lines, '\n')
	}
	entries := decide(&l.state)
	if len(entries) == 0 {
		return nil
	}
	for _, e := range entries {
		e.At, e.PID = l.now().UTC(), os.Getpid()
		line, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("write ledger: %w", err)
		}
		lines = append(append(lines, line...), '\n')
	}
	if _, err := l.f.Write(lines); err != nil {
		return fmt.Errorf("write ledger: %w", err)
	}
	_, err = l.catchUp()
	return err
}

// catchUp folds what was written since. torn says that the file ends within a line.
func (l *ledger) catchUp() (torn bool, err error) {
	info, err := l.f.Stat()
	if err != nil {
		return false, fmt.Errorf("read ledger: %w", err)
	}
	if info.Size() <= l.read {
		return false, nil
	}
	fresh := make([]byte, info.Size()-l.read)
	if _, err := l.f.ReadAt(fresh, l.read); err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("read ledger: %w", err)
	}
	n := l.feed(fresh, nil)
	l.read += n
	return n < int64(len(fresh)), nil
}

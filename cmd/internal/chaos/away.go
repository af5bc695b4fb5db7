package main

import (
	"sync"
	"time"

	"github.com/tenure-dev/tenure/cmd/internal/check"
)

// takeOver is how long what a worker had may lie until another one has it: its liveness time, and a beat.
const takeOver = 6 * time.Second

// away is when something could not be acted on, as far as it is our doing.
type away struct {
	mu    sync.Mutex
	times []check.Interval
}

// add notes a time.
func (a *away) add(from, to time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.times = append(a.times, check.Interval{From: from, To: to})
}

// all are the times.
func (a *away) all() []check.Interval {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.times
}

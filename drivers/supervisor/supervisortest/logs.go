package supervisortest

import (
	"strings"
	"sync"
)

// Logs is what engines say, which are at work while it is read.
type Logs struct {
	mu  sync.Mutex
	all strings.Builder
}

func (l *Logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(b)
}

func (l *Logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

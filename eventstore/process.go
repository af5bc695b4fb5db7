package eventstore

import (
	"errors"
	"time"

	"github.com/tenure-dev/tenure/domain"
)

// ErrProcessGone says that a process's liveness row was removed by another incarnation: it must stop driving.
var ErrProcessGone = errors.New("another process has taken this one's place")

// Process is one incarnation of a process that drives.
type Process struct {
	ID       domain.WorkerID
	Node     domain.NodeID
	Hostname string
	PID      int
	Version  string

	StartedAt  time.Time
	AliveUntil time.Time
	Alive      bool
}

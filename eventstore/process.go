package eventstore

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/tenure-dev/tenure/domain"
)

// ErrProcessGone says that a process's liveness row was removed by another incarnation: it must stop driving.
var ErrProcessGone = errors.New("another process has taken this one's place")

// Process is one incarnation of a process.
type Process struct {
	ID       domain.WorkerID
	Node     domain.NodeID
	Hostname string
	PID      int
	Version  string
	// Role is what it does.
	Role Role
	// Serves are the drivers whose runtimes it can make, and those that it can keep, by [KeepsOf] their names.
	Serves []string
	// Draining says that it wants to go: its partitions are for others.
	Draining bool
	// Address is where other processes reach it; "" for nowhere.
	Address string
	// Doubts says that it does not know whether the database's clock is right, which jumped by ClockJump: it ends no lease by
	// its time. See [Clock].
	Doubts    bool
	ClockJump time.Duration

	StartedAt  time.Time
	AliveUntil time.Time
	Alive      bool
	// SeenAt is when it last said that it lives. Left says that it ended in order.
	SeenAt time.Time
	Left   bool
}

// Role is what a process does.
type Role string

// The roles.
const (
	// RoleServe: it answers clients and drives.
	RoleServe Role = "serve"
	// RoleWorker: it drives.
	RoleWorker Role = "worker"
	// RoleAPI: it answers clients.
	RoleAPI Role = "api"
)

func (r Role) String() string { return string(r) }

// DefaultNodeGrace is how long a node may be without a process before it counts as lost: long enough for a restart.
const DefaultNodeGrace = time.Minute

// NodeLost reports whether a node has been without a process for longer than grace, by the rows of all. A node of which no
// row is left has been gone for long.
func NodeLost(rows []Process, node domain.NodeID, now time.Time, grace time.Duration) bool {
	for _, p := range rows {
		if p.Node == node && (p.Alive || now.Before(p.AliveUntil.Add(grace))) {
			return false
		}
	}
	return true
}

// ProcessKept is how long the row of a process that is gone is kept.
const ProcessKept = 7 * 24 * time.Hour

// Drives reports whether the process takes its share of the work.
func (p Process) Drives() bool { return p.Alive && p.Role != RoleAPI && !p.Draining }

// keeps is before the name of a driver in what a process serves, to say that it can keep runtimes after their leases.
const keeps = "keeps:"

// KeepsOf is how a process says that it can keep the runtimes of a driver.
func KeepsOf(driver string) string { return keeps + driver }

// Drivers are those that the process has, without what it says of them.
func (p Process) Drivers() []string {
	return slices.DeleteFunc(slices.Clone(p.Serves), func(s string) bool { return strings.HasPrefix(s, keeps) })
}

// Keeps reports whether the process can keep the runtimes of one of its drivers; ok is false for a driver that it does not
// have, or of which it can say nothing, since it is dead or drives nothing.
func (p Process) Keeps(driver string) (keeps, ok bool) {
	if !p.Alive || p.Role == RoleAPI || !slices.Contains(p.Serves, driver) {
		return false, false
	}
	return slices.Contains(p.Serves, KeepsOf(driver)), true
}

package lease

import (
	"encoding/json"
	"time"

	"github.com/tenure-dev/tenure/domain"
)

// Command is what may be asked of a lease. Every time in a command is the database's.
type Command interface{ leaseCommand() }

// Request starts a lease.
type Request struct{ Requested Requested }

// Grant gives the lease a slot.
type Grant struct{ Slot int }

// Cancel gives up a lease that is not active yet.
type Cancel struct{ Reason string }

// StartProvisioning claims the next attempt for a worker.
type StartProvisioning struct {
	Runtime  domain.RuntimeID
	Worker   domain.WorkerID
	Now      time.Time
	Deadline time.Time
	// WorkerDead says that the worker which holds the open attempt is known to be gone.
	WorkerDead bool
	// Plugin is who will be asked; nil for a driver of the engine's own.
	Plugin *Plugin
	// Node is that of the worker, if the runtime can be driven there only. A runtime stays where it was meant to be first.
	Node domain.NodeID
}

// Provision is the good end of an attempt.
type Provision struct {
	Attempt         int
	Worker          domain.WorkerID
	ProviderLeaseID *string
	// Metadata is an object, or nil.
	Metadata    json.RawMessage
	Acquisition Acquisition
	Now         time.Time
}

// FailProvisioning is the bad end of an attempt.
type FailProvisioning struct {
	Attempt int
	Worker  domain.WorkerID
	Kind    FailureKind
	// NothingMade says that a retryable attempt made nothing; [FailureDefinite] implies it.
	NothingMade bool
	Code        string
	Step        string
	Message     string
	// ProviderLeaseID is the name of what the attempt made and the lease cannot have; nil if there is none.
	ProviderLeaseID *string
	// RetryAt is when to try again; nil gives up.
	RetryAt *time.Time
}

// Renew says that the lease is in use. Now is when.
type Renew struct {
	Now time.Time
	// Force writes the renewal even within the coalescing window.
	Force bool
}

// Release asks to take the lease down.
type Release struct {
	Reason  Reason
	Message string
}

// Expire asks to take down a lease whose time ran out; it does nothing before that.
type Expire struct{ Now time.Time }

// StartRelease claims the next teardown attempt for a worker.
type StartRelease struct {
	Worker     domain.WorkerID
	Now        time.Time
	Deadline   time.Time
	WorkerDead bool
}

// FailRelease is the bad end of a teardown attempt.
type FailRelease struct {
	Attempt int
	Worker  domain.WorkerID
	Code    string
	Message string
	RetryAt time.Time
}

// FinishRelease is the good end of a teardown attempt: nothing is left.
type FinishRelease struct {
	Attempt int
	Worker  domain.WorkerID
}

func (Request) leaseCommand()           {}
func (Grant) leaseCommand()             {}
func (Cancel) leaseCommand()            {}
func (StartProvisioning) leaseCommand() {}
func (Provision) leaseCommand()         {}
func (FailProvisioning) leaseCommand()  {}
func (Renew) leaseCommand()             {}
func (Release) leaseCommand()           {}
func (Expire) leaseCommand()            {}
func (StartRelease) leaseCommand()      {}
func (FailRelease) leaseCommand()       {}
func (FinishRelease) leaseCommand()     {}

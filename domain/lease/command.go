package lease

import (
	"encoding/json"
	"time"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/admission"
)

// Command is what may be asked of a lease. Every time in a command is the database's.
type Command interface{ leaseCommand() }

// Request starts a lease.
type Request struct{ Requested Requested }

// Grant gives the lease a slot; From is the lease whose kept runtime comes with it, zero for none.
type Grant struct {
	Slot int
	From domain.LeaseID
	// Node is where that runtime is, if it can be driven there only.
	Node domain.NodeID
	// Rule is why it was this lease.
	Rule admission.Rule
}

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
	// Fingerprint tells what the runtime is made from: configuration, plugin version, versions of secrets.
	Fingerprint string
	// Resume is the kept runtime to resume; nil to make one. Replaces is why a kept one that the lease could have had is not
	// used, "" if there was none.
	Resume   *Resume
	Replaces string
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
	// Gone says of an attempt to resume that the runtime will never be back; "" for any other failure.
	Gone GoneReason
	// Now is when the attempt ended.
	Now time.Time
}

// Release asks to take the lease down.
type Release struct {
	Reason  Reason
	Message string
	// Disposition is what is to become of the runtime; "" leaves it to the policy. Destroying the runtime of a lease that has
	// ended ends its retention.
	Disposition Disposition
}

// StartRelease claims the next teardown attempt for a worker.
type StartRelease struct {
	Worker domain.WorkerID
	// Node is that of the worker: it must be the runtime's, if that can be driven on one only.
	Node       domain.NodeID
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
	// Limit is how many teardowns may fail before the lease goes into quarantine; 0 is no limit.
	Limit int
}

// FinishRelease is the good end of a teardown attempt: nothing is left, or the runtime is kept as the lease says.
type FinishRelease struct {
	Attempt int
	Worker  domain.WorkerID
	Kept    bool
	Now     time.Time
}

func (Request) leaseCommand()           {}
func (Grant) leaseCommand()             {}
func (Cancel) leaseCommand()            {}
func (StartProvisioning) leaseCommand() {}
func (Provision) leaseCommand()         {}
func (FailProvisioning) leaseCommand()  {}
func (Release) leaseCommand()           {}
func (StartRelease) leaseCommand()      {}
func (FailRelease) leaseCommand()       {}
func (FinishRelease) leaseCommand()     {}

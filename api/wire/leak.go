package wire

import (
	"time"

	"github.com/google/uuid"
)

// Cleanup is how far the removal of a lease's runtime got.
type Cleanup struct {
	// Attempts counts the tries of it.
	Attempts int `json:"attempts"`
	// NextTryAt is when it is tried again; null while it is being tried, and where nothing is tried any more.
	NextTryAt *time.Time `json:"nextTryAt"`
	// LastError is why the last try failed; null once it is removed.
	LastError *string `json:"lastError"`
	// Quarantined says that as many tries failed as may: it is tried only once in a long while, and is on the list of leaks.
	Quarantined bool `json:"quarantined"`
	// Forced says that the lease was ended without a proof that its runtime is gone.
	Forced bool `json:"forced"`
	// NodeID is the node that the runtime can be driven on only; null for one that any can drive. NodeLost says that it has no
	// process and the removal waits for it; NodeForgotten that it was given up, which nobody saw the runtime gone by.
	NodeID        *uuid.UUID `json:"nodeId"`
	NodeLost      bool       `json:"nodeLost"`
	NodeForgotten bool       `json:"nodeForgotten"`
}

// ForceCleanup ends a lease whose runtime cannot be made or taken down.
type ForceCleanup struct {
	Reason string `json:"reason"`
}

// The statuses of a leak.
const (
	LeakOpen    = "open"
	LeakCleared = "cleared"
)

// Leak is something that may be left outside although no lease looks after it.
type Leak struct {
	ID uuid.UUID `json:"id"`
	// CompanyID, EnvironmentID, LeaseID and RuntimeID are whose it is; null where that is not known.
	CompanyID     *uuid.UUID `json:"companyId"`
	EnvironmentID *uuid.UUID `json:"environmentId"`
	LeaseID       *uuid.UUID `json:"leaseId"`
	RuntimeID     *uuid.UUID `json:"runtimeId"`
	Driver        string     `json:"driver"`
	Provider      string     `json:"provider"`
	// ProviderLeaseID is its name at the provider; null where it has none or none is known.
	ProviderLeaseID *string `json:"providerLeaseId"`
	// NodeID is where it is; null unless it is bound to one machine.
	NodeID *uuid.UUID `json:"nodeId"`
	// Why is quarantined, forced, identity_mismatch, unknown_runtime, made_too_late, lease_over or extra.
	Why    string `json:"why"`
	Status string `json:"status"`
	// FirstSeen is since when nobody looks after it, FoundAt when it came on the list.
	FirstSeen time.Time `json:"firstSeen"`
	FoundAt   time.Time `json:"foundAt"`
	// Failure is why it could not be destroyed yet.
	Failure   *string    `json:"failure"`
	ClearedAt *time.Time `json:"clearedAt"`
	// Proof is why it was cleared: destroyed, absent, adopted, node_forgotten or person; Reason is the person's.
	Proof    *string `json:"proof"`
	Reason   *string `json:"reason"`
	Version  int64   `json:"version"`
	Position int64   `json:"position,omitempty"`
}

// ClearLeak takes a leak off the list.
type ClearLeak struct {
	Reason string `json:"reason"`
}

// Balance accounts for every runtime there ever was: created = held + inWork + listed + destroyed + lost.
type Balance struct {
	Created int64 `json:"created"`
	// Held are held by a lease. InWork have a lease that makes them or will take them down. Listed are on the list of leaks.
	Held      int64 `json:"held"`
	InWork    int64 `json:"inWork"`
	Listed    int64 `json:"listed"`
	Destroyed int64 `json:"destroyed"`
	// Lost are none of these, which is an error of the server's; the first 100 are named in LostRuntimes.
	Lost         int64         `json:"lost"`
	LostRuntimes []LostRuntime `json:"lostRuntimes"`
	// Unknown counts what is on the list of leaks and no runtime of the log's; no other number has it.
	Unknown int64 `json:"unknown"`
}

// LostRuntime is a runtime that may exist and that nobody looks after.
type LostRuntime struct {
	RuntimeID uuid.UUID  `json:"runtimeId"`
	LeaseID   *uuid.UUID `json:"leaseId"`
	Status    string     `json:"status"`
}

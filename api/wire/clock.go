package wire

import (
	"time"

	"github.com/google/uuid"
)

// Renew says that a lease is in use.
type Renew struct {
	// TTL, a Go duration, moves the hard end to now and this much, cut to what the environment allows; nil leaves it.
	TTL *string `json:"ttl,omitempty"`
}

// Clock is how time stands.
type Clock struct {
	// Now is the database's time.
	Now time.Time `json:"now"`
	// Sure is false while the database's clock has jumped and a process that lives cannot tell yet whether it is right: until
	// then no lease ends by its time there. JumpMs is how far it jumped for whoever saw it jump farthest, 0 otherwise.
	Sure   bool  `json:"sure"`
	JumpMs int64 `json:"jumpMs"`
	// Processes are those that live, as each of them said of itself within the last second or so.
	Processes []ClockProcess `json:"processes"`
	// RenewableAt is when leases were last known to be renewable.
	RenewableAt *time.Time `json:"renewableAt"`
	// LastGap is the last time in which they were not; null if there was none.
	LastGap *ClockGap `json:"lastGap"`
	// Position is only in the answer to a confirmation.
	Position int64 `json:"position,omitempty"`
}

// ClockProcess is what one process takes the database's clock for.
type ClockProcess struct {
	ID       uuid.UUID `json:"id"`
	Hostname string    `json:"hostname"`
	// Role is serve, worker or api; the last one ends no lease.
	Role   string `json:"role"`
	Sure   bool   `json:"sure"`
	JumpMs int64  `json:"jumpMs"`
}

// ClockGap is a time in which nobody could renew.
type ClockGap struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// ShiftMs is by how much idle deadlines moved.
	ShiftMs int64 `json:"shiftMs"`
}

// ConfirmClock says that the database's clock is right.
type ConfirmClock struct {
	// Reason goes into the history.
	Reason string `json:"reason,omitempty"`
}

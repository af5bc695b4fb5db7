package wire

import "time"

// Renew says that a lease is in use.
type Renew struct {
	// TTL, a Go duration, moves the hard end to now and this much, cut to what the environment allows; nil leaves it.
	TTL *string `json:"ttl,omitempty"`
}

// Clock is how time stands for the process that answers.
type Clock struct {
	// Now is the database's time.
	Now time.Time `json:"now"`
	// Sure is false while the database's clock has jumped and nobody can tell yet whether it is right: no lease ends by its
	// time in this process until then. JumpMs is how far it jumped, 0 otherwise.
	Sure   bool  `json:"sure"`
	JumpMs int64 `json:"jumpMs"`
	// RenewableAt is when leases were last known to be renewable.
	RenewableAt *time.Time `json:"renewableAt"`
	// LastGap is the last time in which they were not; null if there was none.
	LastGap *ClockGap `json:"lastGap"`
	// Position is only in the answer to a confirmation.
	Position int64 `json:"position,omitempty"`
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

package drivers

// Class is what a driver can do after a lost reply or a take-over by another worker.
type Class string

// The classes, best first.
const (
	// ClassIdempotent: the same token gives the same runtime, so asking again makes at most one ever.
	ClassIdempotent Class = "idempotent"
	// ClassListable: made blindly but listed by label, so an extra one is found and destroyed.
	ClassListable Class = "listable"
	// ClassBlind: neither; a second create is never automatic.
	ClassBlind Class = "blind"
)

// Capabilities are the optional verbs of a driver. An undeclared verb answers [ErrUnsupported].
type Capabilities struct {
	Exec        bool
	List        bool
	CheckConfig bool
	Probe       bool
	// Keep: it is a [Keeper].
	Keep bool
}

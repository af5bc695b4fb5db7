package lease

// Disown lets go of what a lease has without touching it: the log is a copy, and the original's processes have it.
type Disown struct{}

// Disowned says: what may exist of the lease belongs to another installation, and this one does nothing about it.
type Disowned struct{}

// EventName is the name in the log.
func (Disowned) EventName() string { return "LeaseDisowned" }

func (Disowned) leaseEvent() {}
func (Disown) leaseCommand() {}

// codeDisowned is why a lease of a copy of the log failed.
const codeDisowned = "left_to_the_original"

// disown ends a lease that has not ended, and gives up on what an ended one left.
func disown(s State) []Event {
	switch {
	case s.End == StatusNone && s.nothingOutside():
		return []Event{Failed{Code: codeDisowned, Message: "it was asked for before this copy of the log was made"}}
	case s.End == StatusNone:
		return []Event{Failed{
			Code: codeDisowned, CleanupPending: true,
			Message: "this log is a copy; the lease is held, and will be taken down, by the processes of the original",
		}, Disowned{}}
	case s.CleanupNeeded && !s.Cleaned:
		return []Event{Disowned{}}
	}
	return nil
}

package eventstore

import (
	"errors"
	"fmt"
	"strings"

	"github.com/tenure-dev/tenure/domain"
)

// What can happen to an append instead of its events.
var (
	// ErrConflict: a stream was not as expected; see [*ConflictError].
	ErrConflict = errors.New("a stream is not at the expected version")
	// ErrCommandReused: the command's key was used for another request.
	ErrCommandReused = errors.New("the idempotency key was used for another request")
	// ErrTooLate: the database's time was past the append's limit.
	ErrTooLate = errors.New("the append came too late")
	// ErrStaleEpoch: the log has another epoch than the append states.
	ErrStaleEpoch = errors.New("the log has another epoch")
	// ErrForked: the log has forked and was not adopted yet, and the append announces work outside.
	ErrForked = errors.New("the log has forked, and nothing is driven until it is adopted")
	// ErrNotOwner: the partition that the append was made for has another owner. Nothing happened.
	ErrNotOwner error = domain.Refuse(domain.KindStale, "not_owner", "the partition has another owner").
			Mend("leave it to that one")
	// ErrInvalid: the append can never be accepted; see [*InvalidError].
	ErrInvalid = errors.New("the append is not valid")
	// ErrUnknownOutcome: whether the append happened is not known; repeating it with the same id tells.
	ErrUnknownOutcome = errors.New("the outcome of the append is not known")
	// ErrUnavailable: the store cannot be reached; nothing happened.
	ErrUnavailable = errors.New("the event store is unavailable")
	// ErrNoSpace: the disk of the store is full. It stands beside one of the two above.
	ErrNoSpace = errors.New("the disk of the event store is full")
	// ErrNoCommand: no command with this identity was accepted, or it is long ago.
	ErrNoCommand = errors.New("there is no such command")
	// ErrNoInput: there is no such input, or it was dropped.
	ErrNoInput = errors.New("there is no such input")
)

// ConflictError names every expectation that failed.
type ConflictError struct{ Failed []Mismatch }

// Mismatch is an expectation that failed.
type Mismatch struct {
	Expectation
	Actual int64
}

func (e *ConflictError) Error() string {
	parts := make([]string, 0, len(e.Failed))
	for _, m := range e.Failed {
		parts = append(parts, fmt.Sprintf("stream %s is at version %d, not %d", m.Stream, m.Actual, m.Expect))
	}
	return strings.Join(parts, "; ")
}

// Is makes a ConflictError an [ErrConflict].
func (*ConflictError) Is(target error) bool { return target == ErrConflict }

// InvalidError says what is wrong with an append.
type InvalidError struct{ Err error }

func (e *InvalidError) Error() string { return "append: " + e.Err.Error() }

func (e *InvalidError) Unwrap() error { return e.Err }

// Is makes an InvalidError an [ErrInvalid].
func (*InvalidError) Is(target error) bool { return target == ErrInvalid }

package drivers

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
)

// CodeStaleFence is the code of what is refused since the runtime has a newer holder, or this one has given it back.
const CodeStaleFence = "stale_fence"

// StageFence is the stage of a [*StartError] of a command whose fence is not that of the runtime's holder.
const StageFence = "fence"

// IdentityKey is the field of a runtime's metadata that tells it from every other one that may come to have its name. It is
// random, and no secret.
const IdentityKey = "runtimeIdentity"

// NewIdentity returns one that nothing else has.
func NewIdentity() string { return rand.Text() }

// IdentityOf reads the identity in a runtime's metadata; "" for none.
func IdentityOf(metadata json.RawMessage) string {
	var said struct {
		Identity string `json:"runtimeIdentity"`
	}
	if len(metadata) == 0 || json.Unmarshal(metadata, &said) != nil {
		return ""
	}
	return said.Identity
}

// Hold is who has a runtime, as the runtime itself has it on record. Every change of it and every start of a command is one
// step with its check, under a lock.
type Hold struct {
	// Fence is the last holder's.
	Fence int64
	// Kept says that nobody has it now: that one has given it back, or the next one is not done taking it.
	Kept bool
}

// Admit checks the fence of a command. Its error is a [*StartError].
func (h Hold) Admit(fence int64) error {
	why := ""
	switch {
	case fence < h.Fence:
		why = fmt.Sprintf("the runtime is held with fence %d, newer than %d", h.Fence, fence)
	case h.Kept:
		why = fmt.Sprintf("the runtime was given back by its holder with fence %d", h.Fence)
	default:
		return nil
	}
	return &StartError{
		Stage: StageFence, Code: CodeStaleFence, Err: errors.New(why), Remediation: "acquire a new lease: this one is over",
	}
}

// Yields checks the fence of a [Keeper]'s Keep and Resume and of Release: nil if h gives way to it. Release alone may carry
// none (0): then it is by whoever knows that nobody needs the runtime. Its error is a definite [*Failure].
func (h Hold) Yields(fence int64) error {
	if fence >= h.Fence {
		return nil
	}
	return &Failure{
		Outcome: OutcomeDefinite, Code: CodeStaleFence, Step: "check_fence",
		Err:         fmt.Errorf("the runtime is held with fence %d, newer than %d", h.Fence, fence),
		Remediation: "nothing: the runtime belongs to a newer holder, and was left as it is",
	}
}

// Lost is the error of Keep where another thing has the runtime's name: the runtime itself is gone.
func Lost(err error) error {
	if errors.Is(err, ErrMismatch) {
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	return err
}

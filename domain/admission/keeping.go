package admission

import (
	"fmt"

	"github.com/tenure-dev/tenure/domain"
)

// Keeping is whether a provider can keep a runtime after the lease that had it, as far as is known.
type Keeping string

// What is known of it.
const (
	// KeepingUnknown: nobody lives that could say.
	KeepingUnknown Keeping = ""
	KeepingAble    Keeping = "able"
	KeepingUnable  Keeping = "unable"
)

// CodePolicyUnsupported is the code of an attempt whose driver turns out not to keep runtimes, when the request was accepted
// since nobody knew.
const CodePolicyUnsupported = "policy_unsupported"

// PolicyConstraint is what a policy that keeps runtimes needs of the provider. What is not known refuses nobody: whoever is
// to make the runtime finds out.
func PolicyConstraint(f Facts) domain.Constraint {
	c := domain.Constraint{Name: ConstraintPolicy, OK: true}
	switch f.Keeping {
	case KeepingAble:
		c.Detail = fmt.Sprintf("%s can keep a runtime after its lease, as %s asks for", f.Provider, f.Policy)
	case KeepingUnable:
		c.OK = false
		c.Detail = fmt.Sprintf("%s cannot keep a runtime after its lease, as %s asks for", f.Provider, f.Policy)
		c.Remediation = "leave out leasePolicy, which is ephemeral then, or lease an environment whose provider keeps runtimes"
	case KeepingUnknown:
		c.Unknown = true
		c.Detail = fmt.Sprintf("whether %s can keep a runtime after its lease, as %s asks for, is not known: no process that has it lives now; "+
			"the first one that does decides, and ends the lease as failed (%s) if it cannot", f.Provider, f.Policy, CodePolicyUnsupported)
	}
	return c
}

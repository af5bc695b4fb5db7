package lease

import "github.com/tenure-dev/tenure/domain"

// Category is the first part of the name of a lease's stream.
const Category = "lease"

// Codec is the catalog of this part: every name and revision that the log may hold.
var Codec = domain.NewCodec(
	domain.Spec[Requested, Event](),
	domain.Spec[Granted, Event](),
	domain.Spec[Canceled, Event](),
	domain.Spec[ProvisioningStarted, Event](),
	domain.Spec[ProvisioningFailed, Event](),
	domain.Spec[ProvisioningAbandoned, Event](),
	domain.Spec[Provisioned, Event](),
	domain.Spec[Renewed, Event](),
	domain.Spec[ExpiryWarned, Event](),
	domain.Spec[ReleaseRequested, Event](),
	domain.Spec[ReleaseStarted, Event](),
	domain.Spec[ReleaseFailed, Event](),
	domain.Spec[Released, Event](),
	domain.Spec[Expired, Event](),
	domain.Spec[Failed, Event](),
	domain.Spec[CleanupCompleted, Event](),
	domain.Spec[Retained, Event](),
	domain.Spec[RetentionEnded, Event](),
	domain.Spec[RuntimePassed, Event](),
	domain.Spec[Disowned, Event](),
	domain.Spec[Quarantined, Event](),
	domain.Spec[CleanupRetryRequested, Event](),
	domain.Spec[CleanupForced, Event](),
	domain.Spec[NodeLost, Event](),
	domain.Spec[NodeForgotten, Event](),
)

package supervisor

import (
	"errors"
	"fmt"
	"time"

	"github.com/tenure-dev/tenure/domain/outage"
	"github.com/tenure-dev/tenure/eventstore"
)

// Options are times and bounds. The zero value of each is its default.
type Options struct {
	// Parallel bounds the steps at work at once, for leases and for commands each; default 64.
	Parallel int
	// LivenessTTL is how long a silent process counts as alive; default 4 s. It beats four times within it.
	LivenessTTL time.Duration
	// NodeGrace is how long a node may be without a process before it counts as lost; default 1 min.
	NodeGrace time.Duration
	// SweepInterval is how often the to-do list is read; default 1 s.
	SweepInterval time.Duration
	// ProvisionTimeout, ReleaseTimeout and StartTimeout bound one call of a driver that makes a runtime, takes it down,
	// or starts a command; defaults 5 min, 2 min and 1 min.
	ProvisionTimeout, ReleaseTimeout, StartTimeout time.Duration
	// ProbeTimeout bounds one probe, InstallTimeout the installation of a plugin; defaults 2 min and 5 min.
	ProbeTimeout, InstallTimeout time.Duration
	// MaxAttempts is how often provisioning is tried; default 5.
	MaxAttempts int
	// MaxResumes is how often resuming a kept runtime is tried before the lease gives up; default 15, which takes about a minute.
	MaxResumes int
	// RetryBase doubles with each failure up to RetryLimit; defaults 500 ms and 1 min.
	RetryBase, RetryLimit time.Duration
	// ExpiryRate bounds how many leases a second this process ends by their time; default 200.
	ExpiryRate int
	// ClockJump is how far the database's clock may be off what this process's monotonic one says, default 60 s; beyond that
	// no lease ends by its time here until readings agree for ClockSettle, default 30 s.
	ClockJump, ClockSettle time.Duration
	// GapCap bounds how far idle deadlines move for a time in which nobody could renew; default 1 h.
	GapCap time.Duration
	// CapacityBase and CapacityLimit take the place of those where the provider has no capacity; defaults 15 s and 10 min.
	CapacityBase, CapacityLimit time.Duration
	// CleanupAttempts is how many teardowns of a lease may fail before it goes into quarantine; default 12. From then on one
	// is tried each QuarantineRetry; default 1 h.
	CleanupAttempts int
	QuarantineRetry time.Duration
	// ReapInterval is how often providers are asked what they have, and a little more at random; default 1 min.
	// SecretReapInterval is that for a place which cannot be asked without reading a secret, since each reading is on record;
	// default 30 min.
	ReapInterval, SecretReapInterval time.Duration
	// DrainTimeout is how long Stop lets running commands and driver calls go on; default 10 s.
	DrainTimeout time.Duration
}

func (o Options) withDefaults() Options {
	o.Parallel = orDefault(o.Parallel, 64)
	o.LivenessTTL = orDefault(o.LivenessTTL, 4*time.Second)
	o.NodeGrace = orDefault(o.NodeGrace, eventstore.DefaultNodeGrace)
	o.SweepInterval = orDefault(o.SweepInterval, time.Second)
	o.ProvisionTimeout = orDefault(o.ProvisionTimeout, 5*time.Minute)
	o.ReleaseTimeout = orDefault(o.ReleaseTimeout, 2*time.Minute)
	o.StartTimeout = orDefault(o.StartTimeout, time.Minute)
	o.ProbeTimeout = orDefault(o.ProbeTimeout, 2*time.Minute)
	o.InstallTimeout = orDefault(o.InstallTimeout, 5*time.Minute)
	o.MaxAttempts = orDefault(o.MaxAttempts, 5)
	o.MaxResumes = orDefault(o.MaxResumes, 15)
	o.RetryBase = orDefault(o.RetryBase, 500*time.Millisecond)
	o.RetryLimit = orDefault(o.RetryLimit, time.Minute)
	o.ExpiryRate = orDefault(o.ExpiryRate, 200)
	o.ClockJump = orDefault(o.ClockJump, 60*time.Second)
	o.ClockSettle = orDefault(o.ClockSettle, 30*time.Second)
	o.GapCap = orDefault(o.GapCap, outage.DefaultCap)
	o.CapacityBase = orDefault(o.CapacityBase, max(15*time.Second, o.RetryBase))
	o.CapacityLimit = orDefault(o.CapacityLimit, max(10*time.Minute, o.CapacityBase))
	o.CleanupAttempts = orDefault(o.CleanupAttempts, 12)
	o.QuarantineRetry = orDefault(o.QuarantineRetry, time.Hour)
	o.ReapInterval = orDefault(o.ReapInterval, time.Minute)
	o.SecretReapInterval = max(orDefault(o.SecretReapInterval, 30*time.Minute), o.ReapInterval)
	o.DrainTimeout = orDefault(o.DrainTimeout, 10*time.Second)
	return o
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// Validate names every option that cannot be worked with.
func (o Options) Validate() error {
	o = o.withDefaults()
	var problems []error
	atLeast := func(name string, v, least time.Duration) {
		if v < least {
			problems = append(problems, fmt.Errorf("%s: %s is too short; give at least %s, or 0 for the default", name, v, least))
		}
	}
	count := func(name string, n int) {
		if n < 1 {
			problems = append(problems, fmt.Errorf("%s: %d is too few; give at least 1, or 0 for the default", name, n))
		}
	}
	count("Parallel", o.Parallel)
	count("MaxAttempts", o.MaxAttempts)
	count("MaxResumes", o.MaxResumes)
	count("ExpiryRate", o.ExpiryRate)
	atLeast("ClockJump", o.ClockJump, time.Second)
	atLeast("ClockSettle", o.ClockSettle, time.Second)
	atLeast("GapCap", o.GapCap, time.Millisecond)
	count("CleanupAttempts", o.CleanupAttempts)
	// Shorter ones would make a busy loop of a beat, a sweep or a retry.
	atLeast("LivenessTTL", o.LivenessTTL, 40*time.Millisecond)
	atLeast("NodeGrace", o.NodeGrace, time.Millisecond)
	atLeast("SweepInterval", o.SweepInterval, 10*time.Millisecond)
	atLeast("RetryBase", o.RetryBase, time.Millisecond)
	atLeast("RetryLimit", o.RetryLimit, o.RetryBase)
	atLeast("CapacityBase", o.CapacityBase, o.RetryBase)
	atLeast("CapacityLimit", o.CapacityLimit, o.CapacityBase)
	atLeast("QuarantineRetry", o.QuarantineRetry, time.Millisecond)
	atLeast("ReapInterval", o.ReapInterval, 10*time.Millisecond)
	atLeast("ProvisionTimeout", o.ProvisionTimeout, time.Millisecond)
	atLeast("ReleaseTimeout", o.ReleaseTimeout, time.Millisecond)
	atLeast("StartTimeout", o.StartTimeout, time.Millisecond)
	atLeast("ProbeTimeout", o.ProbeTimeout, time.Millisecond)
	atLeast("InstallTimeout", o.InstallTimeout, time.Millisecond)
	atLeast("DrainTimeout", o.DrainTimeout, time.Millisecond)
	return errors.Join(problems...)
}

package faketest

import (
	"fmt"
	"time"

	"pgregory.net/rapid"

	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/plugins/fake"
)

// wish is what a client wants to become of a runtime: whoever acquires a lease says by which policy, for whom and for how long
// it is kept, whoever releases one how it ended and what else is to become of the runtime.
type wish struct {
	Policy    lease.Policy  `json:",omitempty"`
	Agent     string        `json:",omitempty"`
	Workspace string        `json:",omitempty"`
	RetainFor time.Duration `json:",omitempty"`

	Reason      lease.Reason      `json:",omitempty"`
	Disposition lease.Disposition `json:",omitempty"`
}

func drawWish(t *rapid.T) wish {
	return wish{
		Policy: some(t, "policy", lease.PolicyEphemeral, lease.PolicyReuseByEnvironment, lease.PolicyReuseByEnvironment,
			lease.PolicyReuseByWorkspace, lease.PolicyRetainOnFailure),
		Agent: some(t, "agent", "a", "a", "a", "b"), Workspace: some(t, "workspace", "w", "w", "v"),
		RetainFor: some(t, "retain for", time.Hour, time.Hour, 20*time.Second),
		Reason:    some(t, "reason", lease.ReasonReleased, lease.ReasonReleased, lease.ReasonFailed, lease.ReasonExpired),
		Disposition: some(t, "disposition", "", "", "", "", lease.DispositionDestroy, lease.DispositionKeepRunning,
			lease.DispositionStopAndRetain),
	}
}

// of says in a story what the wish is, as far as it is about the deed.
func (w wish) of(d deed) string {
	switch {
	case d == doAcquire && w.Policy.MayKeep():
		return fmt.Sprintf(" (%s for %s, agent %s, workspace %s)", w.Policy, w.RetainFor, w.Agent, w.Workspace)
	case d == doRelease:
		return fmt.Sprintf(" (%s %s)", w.Reason, w.Disposition)
	}
	return ""
}

// acquire adds it to a request.
func (w wish) acquire(a *commands.Acquire) {
	a.Policy, a.Context.Agent, a.Context.Workspace = w.Policy, w.Agent, w.Workspace
	if a.Policy.MayKeep() {
		a.RetainFor = w.RetainFor
	}
}

// release adds it to a release.
func (w wish) release() lease.Release {
	return lease.Release{Reason: w.Reason, Disposition: w.Disposition}
}

// neverKeeps says that no runtime of the environment may ever come to be kept, because of its script.
func (p place) neverKeeps() bool {
	for _, s := range p.Script {
		ends := s.Attempt > 0 || s.Times > 0
		harmless := s.Action == fake.ActionJunk && !s.Raw
		if s.Verb == fake.VerbKeep && !ends && !harmless {
			return true
		}
	}
	return false
}

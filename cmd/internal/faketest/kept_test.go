package faketest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/environment"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/plugins/fake"
)

// reconfigure gives an environment an image that it never had.
func (l *life) reconfigure(i int) {
	config := l.story.Environments[i].config("image-" + uuid.NewString())
	_, err := l.client.ReconfigureEnvironment(context.Background(), commands.Caller{}, l.environments[i], 0,
		func(r environment.Reconfigured) (environment.Reconfigured, error) {
			r.Config = config
			return r, nil
		}, commands.NoSecretFields)
	must(err)
}

// outside is the provider as somebody has it who is not the engine.
func (l *life) outside(do func(*fake.World)) {
	w, err := fake.Open(fake.Options{Dir: l.providerDir()})
	must(err)
	defer w.Close() //nolint:errcheck // it has done what it was to
	do(w)
}

// lose takes away the runtime of a lease that has one or keeps one.
func (l *life) lose(id domain.LeaseID) {
	s, err := l.client.Lease(context.Background(), id)
	must(err)
	if s.Runtime.IsZero() || s.ProviderLeaseID == nil || s.Status() != lease.StatusActive && !s.Kept {
		return
	}
	l.lost[s.Runtime] = true
	l.outside(func(w *fake.World) { must(w.Lose(*s.ProviderLeaseID)) })
}

// usurp gives the name of a kept runtime to something of another installation. Only where names are the engine's can it be.
func (l *life) usurp(h held) {
	s, err := l.client.Lease(context.Background(), h.id)
	must(err)
	if !s.Kept || h.place.Class != drivers.ClassIdempotent || l.lost[s.Runtime] {
		return
	}
	l.lost[s.Runtime] = true
	id := "sandbox://fake/usurper/" + uuid.NewString()
	l.usurpers = append(l.usurpers, id)
	l.outside(func(w *fake.World) { must(w.Usurp(s.Runtime.String(), id)) })
}

// judgeUsurpers wants what is somebody else's to be left alone.
func (l *life) judgeUsurpers(led *fake.Ledger) (problems []string) {
	for _, id := range l.usurpers {
		if !slices.ContainsFunc(led.Live(), func(e fake.Entry) bool { return e.ID == id }) {
			problems = append(problems, id+" belongs to another installation and was destroyed")
		}
	}
	return problems
}

// judgeKept looks at what a lease keeps, has got from another one, or was given in its place.
func (l *life) judgeKept(i int, s lease.State) (problems []string) {
	problem := func(format string, args ...any) {
		problems = append(problems, fmt.Sprintf("lease %d (%s, %s): ", i, s.Policy, s.Status())+fmt.Sprintf(format, args...))
	}
	if s.Kept {
		switch {
		case !s.Policy.MayKeep():
			problem("is ephemeral and keeps a runtime")
		case time.Since(s.KeptUntil) > time.Minute:
			problem("keeps a runtime that was to go at %s", s.KeptUntil)
		}
	}
	if id := s.PassedTo; !id.IsZero() {
		next, err := l.client.Lease(context.Background(), id)
		must(err)
		switch {
		case next.From != l.leases[i].id:
			problem("passed its runtime to %s, which has it from %s", id, next.From)
		case next.Fence <= s.Fence:
			problem("passed its runtime on to fence %d, and has %d itself", next.Fence, s.Fence)
		case next.Scope() != s.Scope() || next.Scope() == "":
			problem("of scope %q passed its runtime to one of %q", s.Scope(), next.Scope())
		case next.Fingerprint != s.Fingerprint || next.Fingerprint == "":
			problem("of make %q passed its runtime to one of %q", s.Fingerprint, next.Fingerprint)
		}
	}
	if s.Acquisition == lease.AcquisitionReplacement && s.AcquisitionReason == "" {
		problem("has a replacement of nothing")
	}
	return problems
}

// judgeSlots wants each runtime to have one lease that answers for it, no environment to have more than its slots, and
// nobody to wait beside a kept runtime.
func (l *life) judgeSlots() (problems []string) {
	answers := map[domain.RuntimeID][]int{}
	taken, kept, waits := map[domain.EnvironmentID]int{}, map[domain.EnvironmentID]int{}, map[domain.EnvironmentID]int{}
	for i, h := range l.leases {
		s, err := l.client.Lease(context.Background(), h.id)
		must(err)
		if !s.Runtime.IsZero() && !s.Over() {
			answers[s.Runtime] = append(answers[s.Runtime], i)
		}
		if s.HoldsSlot() {
			taken[s.Environment]++
		}
		if s.Kept {
			kept[s.Environment]++
		}
		if s.Status() == lease.StatusRequested {
			waits[s.Environment]++
		}
	}
	for id, leases := range answers {
		if len(leases) > 1 {
			problems = append(problems, fmt.Sprintf("leases %v answer for the same runtime %s", leases, id))
		}
	}
	for i, id := range l.environments {
		slots := l.story.Environments[i].Slots
		if slots > 0 && taken[id] > slots {
			problems = append(problems, fmt.Sprintf("environment %d has %d slots and %d holders", i, slots, taken[id]))
		}
		if waits[id] > 0 && kept[id] > 0 {
			problems = append(problems, fmt.Sprintf("in environment %d, %d wait beside %d kept runtimes", i, waits[id], kept[id]))
		}
	}
	return problems
}

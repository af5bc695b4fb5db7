package sim

import (
	"math/rand/v2"
	"time"

	"github.com/tenure-dev/tenure/drivers"
)

// plan is what a seed makes of a story: how much there is of everything, and which faults there are at all. That most stories
// lack most faults makes the others meet more often.
type plan struct {
	engines int
	classes []drivers.Class
	// places are the capacities of the environments; 0 is without limit.
	places  []int
	clients int
	// acts is how many leases each client asks for.
	acts int
	pace pace
	// failing is the part of a provider's answers that are failures, lying that of its lists that are old, losing that of the
	// appends whose outcome is lost; sluggish the part of what a provider is asked that takes very long.
	failing, lying, losing, sluggish float64
	// faults are the kinds that there are, and every how many steps one strikes.
	faults  []fault
	every   int
	downFor time.Duration
	// aloud writes what engines say into the trace.
	aloud bool
}

func newPlan(r *rand.Rand) plan {
	maybe := func(chance, value float64) float64 {
		if r.Float64() < chance {
			return value * r.Float64()
		}
		return 0
	}
	p := plan{
		engines: 1 + r.IntN(3), clients: 2 + r.IntN(3), acts: 2 + r.IntN(3),
		pace: pace{
			quick: 0.5 + r.Float64()/2, rare: maybe(0.4, 0.02), usual: time.Duration(1+r.IntN(40)) * time.Millisecond,
			slow: time.Duration(100+r.IntN(8000)) * time.Millisecond,
		},
		failing: maybe(0.6, 0.4), lying: maybe(0.3, 0.6), losing: maybe(0.4, 0.1), sluggish: maybe(0.5, 0.25),
		every: 40 + r.IntN(300), downFor: time.Duration(100+r.IntN(12000)) * time.Millisecond,
	}
	all := []drivers.Class{drivers.ClassIdempotent, drivers.ClassListable, drivers.ClassBlind}
	switch x := r.IntN(10); {
	case x < 5:
		p.classes = all[:1]
	case x < 7:
		p.classes = all[1:2]
	case x < 8:
		p.classes = all[2:]
	default:
		p.classes = all
	}
	for range max(len(p.classes), 1+r.IntN(2)) {
		p.places = append(p.places, r.IntN(4))
	}
	for _, f := range faults {
		if r.IntN(2) == 0 {
			p.faults = append(p.faults, f)
		}
	}
	if r.IntN(10) == 0 {
		p.faults = nil
	}
	return p
}

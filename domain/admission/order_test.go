package admission_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/admission"
)

func numbered(n int) domain.LeaseID {
	var u uuid.UUID
	binary.BigEndian.PutUint64(u[:], uint64(n))
	return domain.LeaseID{UUID: u}
}

// testingT is what rapid and testing have in common.
type testingT interface {
	Helper()
	Fatalf(format string, args ...any)
}

// waiting is one who waits, as the test counts it.
type waiting struct {
	id        domain.LeaseID
	standing  admission.Standing
	overtaken int
}

// office is an admission whose every grant is checked against a plain account of who waits.
type office struct {
	t     testingT
	state admission.State
	past  []admission.Event
	last  int
	queue []waiting // by age
	held  []domain.LeaseID
	slots map[int]domain.LeaseID
	rules map[admission.Rule]int
	// bound is the highest that was in force while somebody waited.
	bound int
}

func newOffice(t testingT, capacity, maxQueued int) *office {
	o := &office{t: t, state: admission.Decider.Initial(), slots: map[int]domain.LeaseID{}, rules: map[admission.Rule]int{}}
	o.do(admission.Open{Capacity: capacity, MaxQueued: &maxQueued})
	return o
}

// do decides and applies; what is refused changes nothing.
func (o *office) do(c admission.Command) {
	o.t.Helper()
	events, err := admission.Decide(o.state, c)
	if err != nil {
		return
	}
	for _, e := range events {
		before := o.state.Order(0, domain.LeaseID{})
		o.past = append(o.past, e)
		o.state = admission.Evolve(o.state, e, domain.Meta{})
		o.bound = max(o.bound, admission.MostOvertaken(o.state.MaxQueued))
		switch e := e.(type) {
		case admission.Waiting:
			o.queue = append(o.queue, waiting{id: e.Lease, standing: e.Standing})
		case admission.Left:
			o.queue = slices.DeleteFunc(o.queue, func(w waiting) bool { return w.id == e.Lease })
		case admission.Freed:
			if o.slots[e.Slot] != e.Lease {
				o.t.Fatalf("slot %d is freed by %s and held by %s", e.Slot, e.Lease, o.slots[e.Slot])
			}
			delete(o.slots, e.Slot)
			o.held = slices.DeleteFunc(o.held, func(id domain.LeaseID) bool { return id == e.Lease })
		case admission.Admitted:
			o.admitted(e, before)
		case admission.Opened, admission.CapacityChanged, admission.Closed, admission.Idled, admission.Evicted, admission.Stalled, admission.HandedBack:
		}
	}
	o.check()
}

// admitted checks one grant.
func (o *office) admitted(e admission.Admitted, order []admission.Place) {
	o.t.Helper()
	o.rules[e.Rule]++
	if other, twice := o.slots[e.Slot]; twice {
		o.t.Fatalf("slot %d of %s is given to %s", e.Slot, other, e.Lease)
	}
	o.slots[e.Slot] = e.Lease
	o.held = append(o.held, e.Lease)
	if s := o.state; s.Capacity > 0 && len(o.held) > s.Capacity {
		o.t.Fatalf("%d hold a slot of %d after a grant", len(o.held), s.Capacity)
	}
	at := slices.IndexFunc(o.queue, func(w waiting) bool { return w.id == e.Lease })
	if at < 0 {
		if e.Rule != admission.RuleFree || len(o.queue) > 0 {
			o.t.Fatalf("%s did not wait and came by rule %s before %d who do", e.Lease, e.Rule, len(o.queue))
		}
		return
	}
	if order[0].Lease != e.Lease || order[0].Rule != e.Rule {
		o.t.Fatalf("%s came by rule %s, and the order said %+v", e.Lease, e.Rule, order[0])
	}
	got := o.queue[at]
	for i, w := range o.queue {
		if e.Rule != admission.RuleBound && slices.Index(ranks, class(w)) < slices.Index(ranks, class(got)) {
			o.t.Fatalf("%s came by rule %s before %s of a higher class", got.id, e.Rule, w.id)
		}
		if i < at {
			o.queue[i].overtaken++
		}
	}
	o.queue = slices.Delete(o.queue, at, at+1)
}

var ranks = []admission.Class{admission.ClassHigh, admission.ClassNormal, admission.ClassLow}

func class(w waiting) admission.Class {
	if w.standing.Class == "" {
		return admission.ClassNormal
	}
	return w.standing.Class
}

// check looks at what must always hold.
func (o *office) check() {
	o.t.Helper()
	order := map[domain.LeaseID]admission.Place{}
	for _, p := range o.state.Order(0, domain.LeaseID{}) {
		order[p.Lease] = p
	}
	if len(order) != len(o.queue) || o.state.Queued() != len(o.queue) {
		o.t.Fatalf("%d wait, and %d are in the order", len(o.queue), len(order))
	}
	for _, w := range o.queue {
		switch p := order[w.id]; {
		case w.overtaken > o.bound:
			o.t.Fatalf("%s was overtaken %d times; the bound is %d", w.id, w.overtaken, o.bound)
		case p.Overtaken != w.overtaken:
			o.t.Fatalf("%s was overtaken %d times, and is said to have been %d times", w.id, w.overtaken, p.Overtaken)
		case p.Key != w.standing.Key || p.Class != class(w):
			o.t.Fatalf("%s stands as %+v and is said to stand as %+v", w.id, w.standing, p.Standing)
		}
	}
	if s := o.state; len(o.queue) > 0 && (s.Capacity == 0 || len(o.held) < s.Capacity) {
		o.t.Fatalf("%d wait though only %d hold a slot of %d", len(o.queue), len(o.held), s.Capacity)
	}
}

// replayed wants the state, and the order to come, to be what a replay gives.
func (o *office) replayed() {
	o.t.Helper()
	again := admission.Decider.Initial()
	for _, e := range o.past {
		again = admission.Evolve(again, e, domain.Meta{})
	}
	if !reflect.DeepEqual(again, o.state) {
		o.t.Fatalf("the state is not what a replay gives")
	}
	copied := o.state.Clone()
	if !reflect.DeepEqual(copied.Order(0, domain.LeaseID{}), again.Order(0, domain.LeaseID{})) {
		o.t.Fatalf("a copy has another order than a replay")
	}
}

func (o *office) enter(s admission.Standing) domain.LeaseID {
	o.last++
	o.do(admission.Enter{Lease: numbered(o.last), Standing: s})
	return numbered(o.last)
}

// step is one thing that happens; what the numbers mean depends on op.
type step struct {
	Op, Who, Limit int
	Standing       admission.Standing
}

func steps() *rapid.Generator[[]step] {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
		return step{
			Op: rapid.SampledFrom([]int{0, 0, 0, 0, 1, 1, 1, 2, 3, 4}).Draw(t, "op"), Who: rapid.IntRange(0, 1000).Draw(t, "who"),
			Limit: rapid.IntRange(0, 5).Draw(t, "limit"),
			Standing: admission.Standing{
				Class:  rapid.SampledFrom([]admission.Class{"", admission.ClassHigh, admission.ClassHigh, admission.ClassLow}).Draw(t, "class"),
				Key:    rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(t, "key"),
				Weight: rapid.SampledFrom([]int{0, 1, 3, 100}).Draw(t, "weight"),
			},
		}
	}), 50, 400)
}

func (o *office) step(s step) {
	o.t.Helper()
	switch s.Op {
	case 0:
		o.enter(s.Standing)
	case 1:
		if len(o.held) > 0 {
			o.do(admission.Leave{Lease: o.held[s.Who%len(o.held)]})
		}
	case 2:
		if len(o.queue) > 0 && s.Who%3 == 0 {
			o.do(admission.Leave{Lease: o.queue[s.Who%len(o.queue)].id})
		}
	case 3:
		held := len(o.held)
		limit := 20 + 5*s.Limit
		o.do(admission.ChangeCapacity{Capacity: s.Limit, MaxQueued: &limit})
		if len(o.held) < held {
			o.t.Fatalf("a new limit took %d slots away", held-len(o.held))
		}
	case 4:
		// The most urgent come one after the other, so that the others are overtaken.
		for range 10 {
			o.enter(admission.Standing{Class: admission.ClassHigh, Key: s.Standing.Key})
			if len(o.held) > 0 {
				o.do(admission.Leave{Lease: o.held[s.Who%len(o.held)]})
			}
		}
	}
}

// Whatever comes, whoever leaves, and however the limits change: nobody is overtaken more often than the bound says, no slot
// has two holders, nothing is granted above the limit, and the order is that of a replay.
func TestNobodyIsOvertakenMoreOftenThanTheBound(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		o := newOffice(t, 1, 30)
		for _, s := range steps().Draw(t, "steps") {
			o.step(s)
		}
		o.replayed()
	})
}

// The seeds are fixed, so that a rule which decides nothing any more fails every time.
func TestEveryRuleDecides(t *testing.T) {
	t.Parallel()
	seen := map[admission.Rule]int{}
	for seed := range 60 {
		o := newOffice(t, 1, 30)
		for _, s := range steps().Example(seed) {
			o.step(s)
		}
		for rule, n := range o.rules {
			seen[rule] += n
		}
	}
	for _, rule := range []admission.Rule{
		admission.RuleFree, admission.RuleOnly, admission.RuleClass, admission.RuleFairness, admission.RuleAge, admission.RuleBound,
	} {
		require.NotZero(t, seen[rule], "no grant was by rule %s: %v", rule, seen)
	}
}

// A request of the lowest class, and a stream of the highest that never ends.
func TestALowRequestIsGrantedAfterTheBoundAndNotLater(t *testing.T) {
	t.Parallel()
	o := newOffice(t, 1, 5)
	o.enter(admission.Standing{})
	low := o.enter(admission.Standing{Class: admission.ClassLow})
	grants := 0
	for ; o.held[0] != low; grants++ {
		require.LessOrEqual(t, grants, 33)
		o.enter(admission.Standing{Class: admission.ClassHigh})
		o.do(admission.Leave{Lease: o.held[0]})
	}
	require.Equal(t, 33, grants, "32 went before it")
	require.Equal(t, 1, o.rules[admission.RuleBound])
}

// The bound is that of whoever came first, also among many who reached it.
func TestThoseAtTheBoundGoByAge(t *testing.T) {
	t.Parallel()
	o := newOffice(t, 1, 8)
	o.enter(admission.Standing{})
	var low []domain.LeaseID
	for range 3 {
		low = append(low, o.enter(admission.Standing{Class: admission.ClassLow}))
	}
	for range 32 {
		o.enter(admission.Standing{Class: admission.ClassHigh})
		o.do(admission.Leave{Lease: o.held[0]})
	}
	last := o.enter(admission.Standing{Class: admission.ClassHigh})
	var order []domain.LeaseID
	for _, p := range o.state.Order(0, domain.LeaseID{}) {
		order = append(order, p.Lease)
	}
	require.Equal(t, append(low, last), order)
}

// Keys that always have somebody waiting share the grants by weight: no key is ahead of another by more than one grant of
// each, counted in shares.
func TestKeysShareByWeight(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.IntRange(1, admission.MaxWeight), 2, 6).Draw(t, "weights")
		o := newOffice(t, 1, 10_000)
		o.enter(admission.Standing{})
		backlog := func(i int) {
			o.enter(admission.Standing{Key: fmt.Sprint(i), Weight: weights[i]})
		}
		// Every key has one or two waiting whenever a slot is freed, and they come in any order.
		deep := rapid.IntRange(1, 2).Draw(t, "deep")
		for _, i := range rapid.Permutation(rangeOf(deep*len(weights))).Draw(t, "arrivals") {
			backlog(i % len(weights))
		}
		got := make([]int, len(weights))
		for range rapid.IntRange(20, 200).Draw(t, "grants") {
			next := o.state.Order(1, domain.LeaseID{})[0]
			var i int
			_, err := fmt.Sscan(next.Key, &i)
			if err != nil {
				t.Fatalf("key %q: %v", next.Key, err)
			}
			o.do(admission.Leave{Lease: o.held[0]})
			got[i]++
			backlog(i)
			for a := range weights {
				for b := range weights {
					// |n_a/w_a − n_b/w_b| ≤ 1/w_a + 1/w_b, in whole numbers; the last term is for the rounding of ticks.
					ahead := got[a]*weights[b] - got[b]*weights[a]
					if ahead > weights[a]+weights[b]+1 {
						t.Fatalf("key %d of weight %d got %d, and key %d of weight %d got %d", a, weights[a], got[a], b, weights[b], got[b])
					}
				}
			}
		}
	})
}

func rangeOf(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

// One agent asks for a hundred at once; another that comes after them with ten has every other grant.
func TestWhoAsksForManyDoesNotHoldUpWhoAsksForFew(t *testing.T) {
	t.Parallel()
	o := newOffice(t, 1, 1000)
	o.enter(admission.Standing{})
	for range 100 {
		o.enter(admission.Standing{Key: "many"})
	}
	for range 10 {
		o.enter(admission.Standing{Key: "few"})
	}
	few := 0
	for _, p := range o.state.Order(20, domain.LeaseID{}) {
		if p.Key == "few" {
			few++
		}
	}
	require.InDelta(t, 10, few, 1)
}

// Who did not ask for a while has saved nothing up, and whose requests gave up owes nothing.
func TestOnlyGrantsCount(t *testing.T) {
	t.Parallel()
	o := newOffice(t, 1, 1000)
	o.enter(admission.Standing{})
	for range 50 {
		o.enter(admission.Standing{Key: "old"})
	}
	for range 20 {
		o.do(admission.Leave{Lease: o.held[0]})
	}
	for range 30 {
		gaveUp := o.enter(admission.Standing{Key: "wavering"})
		o.do(admission.Leave{Lease: gaveUp})
	}
	for range 10 {
		o.enter(admission.Standing{Key: "wavering"})
		o.enter(admission.Standing{Key: "new"})
	}
	counts := map[string]int{}
	for _, p := range o.state.Order(12, domain.LeaseID{}) {
		counts[p.Key]++
	}
	require.Equal(t, map[string]int{"old": 4, "wavering": 4, "new": 4}, counts)
}

// Keys that nobody waits for are forgotten once they mean nothing.
func TestKeysOfOldAreForgotten(t *testing.T) {
	t.Parallel()
	o := newOffice(t, 1, 1000)
	o.enter(admission.Standing{})
	o.enter(admission.Standing{Key: "always"})
	for n := range 2000 {
		o.enter(admission.Standing{Key: "always"})
		o.enter(admission.Standing{Key: fmt.Sprint("once-", n)})
		o.do(admission.Leave{Lease: o.held[0]})
		o.do(admission.Leave{Lease: o.held[0]})
	}
	require.Less(t, admission.KeysKnown(o.state), 200)
	o.replayed()
}

// BenchmarkGrant is a slot that is freed and given to the next of ten thousand, while another comes to wait.
func BenchmarkGrant(b *testing.B) {
	for _, keys := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			s := admission.Decider.Initial()
			limit := 20_000
			next, held := 0, []domain.LeaseID(nil)
			do := func(c admission.Command) {
				events, err := admission.Decide(s, c)
				if err != nil {
					b.Fatal(err)
				}
				for _, e := range events {
					s = admission.Evolve(s, e, domain.Meta{})
					if a, ok := e.(admission.Admitted); ok {
						held = append(held, a.Lease)
					}
				}
			}
			source := rand.New(rand.NewPCG(1, 2))
			enter := func() {
				next++
				do(admission.Enter{Lease: numbered(next), Standing: admission.Standing{
					Class: ranks[source.IntN(3)], Key: fmt.Sprint(source.IntN(keys)), Weight: 1 + source.IntN(100),
				}})
			}
			do(admission.Open{Capacity: 100, MaxQueued: &limit})
			for range 10_100 {
				enter()
			}
			b.ReportAllocs()
			for b.Loop() {
				do(admission.Leave{Lease: held[0]})
				held = held[1:]
				enter()
			}
		})
	}
}

// BenchmarkClone is what a broken chain of decisions costs with ten thousand waiting.
func BenchmarkClone(b *testing.B) {
	s := admission.Decider.Initial()
	limit := 20_000
	s = admission.Evolve(s, admission.Opened{Capacity: 1, MaxQueued: &limit}, domain.Meta{})
	for n := range 10_000 {
		s = admission.Evolve(s, admission.Waiting{Lease: numbered(n + 1), Standing: admission.Standing{Key: fmt.Sprint(n % 100)}}, domain.Meta{})
	}
	for b.Loop() {
		_ = s.Clone()
	}
}

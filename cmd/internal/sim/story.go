package sim

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing/synctest"
	"time"
	_ "unsafe" // for go:linkname

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/cmd/internal/check"
	"github.com/tenure-dev/tenure/cmd/internal/sim/seeds"
	"github.com/tenure-dev/tenure/domain/runtime"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/eventstore"
)

// story is what became of a seed.
type story struct {
	seeds.Told
	trace *trace
}

// write writes the whole trace, and what was found.
func (s *story) write(file string) error {
	f, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("write a trace: %w", err)
	}
	defer func() { _ = f.Close() }() // it is closed below where that matters
	b := bufio.NewWriter(f)
	if err := s.trace.write(b); err != nil {
		return err
	}
	for _, v := range s.Violations {
		_, _ = fmt.Fprintf(b, "violation: %s\n", v) // Flush tells
	}
	if err := errors.Join(b.Flush(), f.Close()); err != nil {
		return fmt.Errorf("write a trace: %w", err)
	}
	return nil
}

// lastV7 is the time of the last id of version 7, which the package keeps so that ids are in order. A story must not know what
// the one before it did.
//
//go:linkname lastV7 github.com/google/uuid.lastV7time
var lastV7 int64

// ids is where the package uuid has its chance from.
type ids struct {
	mu     sync.Mutex
	chance *rand.Rand
}

func (i *ids) Read(b []byte) (int, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	var word [8]byte
	for n := 0; n < len(b); n += len(word) {
		binary.LittleEndian.PutUint64(word[:], i.chance.Uint64())
		copy(b[n:], word[:])
	}
	return len(b), nil
}

func source(seed, of uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, of)) } //nolint:gosec // it is to be repeated

// tell lets the story of a seed happen; aloud, the trace has what engines say. It is called in a bubble of testing/synctest, and
// there is one story at a time in a process.
func tell(seed uint64, aloud bool) *story {
	uuid.SetRand(&ids{chance: source(seed, 1)})
	defer uuid.SetRand(nil)
	lastV7 = 0
	for range seed % 97 {
		_ = rand.Uint64() //nolint:gosec // the chance of the runtime begins elsewhere with each seed
	}
	p := newPlan(source(seed, 2))
	p.aloud = aloud
	w := newWorld(source(seed, 3), p)
	for _, n := range w.nodes {
		w.start(n)
	}
	for i := range p.clients {
		c := &client{w: w, name: fmt.Sprintf("c%d", i), chance: source(seed, 100+uint64(i))}
		w.clients = append(w.clients, c)
		go c.live()
	}
	w.sched.run(func() bool { return !slices.ContainsFunc(w.clients, func(c *client) bool { return !c.done.Load() }) })
	w.heal()
	healed := time.Now()
	next, since, quiet := healed, healed, false
	w.sched.run(func() bool {
		if now := time.Now(); !now.Before(next) {
			next = now.Add(2 * time.Second)
			if !w.quiet() {
				since = now
			}
			// What came late is for the reaper, who wants to see it twice.
			quiet = now.Sub(since) > 3*reap
		}
		return quiet || time.Since(healed) > settling
	})
	s := &story{trace: w.trace, Told: seeds.Told{
		Seed: seed, VirtualMs: time.Since(w.trace.began).Milliseconds(), Steps: w.sched.steps, Calls: len(w.calls), Faults: w.counts,
	}}
	w.judge(s, quiet)
	for _, n := range w.nodes {
		for _, e := range n.engines() {
			w.kill(e, 0)
		}
	}
	w.sched.items = nil
	synctest.Wait()
	return s
}

// settling is longer than all that can follow one another once no fault happens any more.
const settling = 5 * time.Minute

// quiet reports whether nobody has anything to do any more.
func (w *world) quiet() bool {
	if w.sched.underway() {
		return false
	}
	rows, err := w.models.sorted(tableDeadlines)
	must(err)
	if len(rows) > 0 {
		return false
	}
	rows, err = w.models.sorted(tableActive)
	must(err)
	return len(rows) == 0
}

// judge checks what came of it all.
func (w *world) judge(s *story, quiet bool) {
	h := check.History{Calls: w.calls, Away: w.away}
	var err error
	h.Log, err = w.store.ReadAll(context.Background(), 0, math.MaxInt32)
	must(err)
	s.Events = len(h.Log)
	for _, o := range w.outsides {
		o.forgive(h.Log)
		h.Ledgers = append(h.Ledgers, o.ledger)
	}
	h.Limits = check.Limits{
		End: w.store.Clock().Now(), Settled: quiet, Sweep: sweep, Slack: 45 * time.Second, Skew: 2*time.Second + w.jumped, Reaper: 3 * reap,
	}
	found := check.Check(h)
	s.Violations, s.Looked, s.Finished = found.Violations, found.Looked, found.Finished
	if !quiet {
		s.Violations = append(s.Violations, check.Violation{Rule: "settles", Subject: "story", Detail: w.restless()})
	}
}

// forgive takes out of the account what nobody can know of: a thing that a provider which cannot list made after the log had
// said that its runtime is gone, for a process that stood still in between and died before it could undo it. DESIGN section 5
// leaves it to a person.
func (o *outside) forgive(log []eventstore.Recorded) {
	if o.class() != drivers.ClassBlind {
		return
	}
	gone := map[eventstore.Stream]int64{}
	for _, r := range log {
		if r.Name == (runtime.Destroyed{}).EventName() {
			gone[r.Stream] = r.Position
		}
	}
	for _, i := range o.core.Live() {
		at, over := gone[eventstore.Stream(runtime.Category+"-"+i.Request.RuntimeID)]
		n := slices.IndexFunc(o.ledger.Entries, func(e check.Entry) bool { return e.Thing == i.ProviderLeaseID && e.Op == check.OpCreate })
		if over && at <= o.born[i.ProviderLeaseID] && n >= 0 && o.w.died[o.ledger.Entries[n].By] {
			o.w.counts["unknowable"]++
			o.vanish(i.Request.RuntimeID, false)
		}
	}
}

// restless says who still has something to do.
func (w *world) restless() string {
	text := fmt.Sprintf("%s after the last fault there is still something to do:", settling)
	for _, n := range []int{tableDeadlines, tableActive} {
		rows, err := w.models.sorted(n)
		must(err)
		for _, r := range rows {
			text += fmt.Sprintf("\n  %+v", r)
		}
	}
	return text
}

package sim

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/cmd/internal/check"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/environment"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
)

// fault is a kind of what may go wrong in the world; what goes wrong with one request is decided where it is answered.
type fault string

const (
	faultKill    fault = "kill"
	faultPause   fault = "pause"
	faultReplace fault = "replace"
	faultCut     fault = "cut"
	faultAway    fault = "away"
	faultDeaf    fault = "deaf"
	faultLag     fault = "lag"
	faultClock   fault = "clock"
	faultLose    fault = "lose_runtime"
	faultUsurp   fault = "usurp_runtime"
	faultEdit    fault = "edit"
	faultShrink  fault = "shrink"
)

var faults = []fault{
	faultKill, faultPause, faultReplace, faultCut, faultAway, faultDeaf, faultLag, faultClock, faultLose, faultUsurp, faultEdit, faultShrink,
}

// strike lets a fault happen, now and then, at the moment when something is about to. It reports whether that does not
// happen any more.
func (w *world) strike(it *item) bool {
	w.watch()
	if w.healed || len(w.plan.faults) == 0 {
		return false
	}
	odds := w.plan.every
	if !it.effect {
		odds *= 6 // there are so many questions
	}
	if w.chance.IntN(odds) != 0 {
		return false
	}
	f := w.plan.faults[w.chance.IntN(len(w.plan.faults))]
	e := w.victim(it)
	lasts := func(limit time.Duration) time.Duration { return 10*time.Millisecond + rand64(w.chance, limit) }
	switch f {
	case faultKill:
		if e == nil {
			return false
		}
		w.struck(f, e.actor.name)
		if it.of == e.actor && it.effect && w.chance.IntN(2) == 0 {
			w.sched.happen(it) // and nobody hears of it
			w.kill(e, 0.5)
			return true
		}
		w.kill(e, 0.5)
		return it.gone
	case faultPause, faultReplace:
		if e == nil || e.actor.paused {
			return false
		}
		w.struck(f, e.actor.name)
		w.freeze(e, lasts(40*time.Second))
		if f == faultReplace {
			n := e.node
			n.now, n.frozen = nil, append(n.frozen, e)
			w.restart(n, lasts(w.plan.downFor))
		}
	case faultCut:
		if e != nil {
			w.struck(f, e.actor.name)
			e.actor.cut = time.Now().Add(lasts(20 * time.Second))
		}
	case faultAway:
		w.struck(f, "database")
		until := time.Now().Add(lasts(30 * time.Second))
		for _, e := range w.alive() {
			e.actor.cut = until
		}
	case faultDeaf:
		if e != nil {
			w.struck(f, e.actor.name)
			e.actor.deaf = time.Now().Add(lasts(15 * time.Second))
		}
	case faultLag:
		w.struck(f, "read models")
		w.models.heldUp = time.Now().Add(lasts(10 * time.Second))
	case faultClock:
		w.struck(f, "database")
		now := w.store.Clock().Now()
		by := time.Duration(w.chance.IntN(240)-60) * time.Second
		w.store.Clock().Observe(now.Add(by))
		w.jumped += by.Abs()
		// Until it is trusted again nobody ends anything.
		w.away = append(w.away, check.Interval{From: now, To: now.Add(max(by, 0) + settle + 3*sweep)})
	case faultLose, faultUsurp:
		o := w.outsides[w.chance.IntN(len(w.outsides))]
		live := o.core.Live()
		if len(live) == 0 {
			return false
		}
		i := live[w.chance.IntN(len(live))]
		if f == faultUsurp && o.class() != drivers.ClassIdempotent {
			return false
		}
		w.struck(f, i.ProviderLeaseID)
		o.vanish(i.Request.RuntimeID, f == faultUsurp)
	case faultEdit, faultShrink:
		w.struck(f, "operator")
		w.edit(w.places[w.chance.IntN(len(w.places))], f)
	}
	return false
}

// watch notes the times in which no engine can do anything.
func (w *world) watch() {
	able := false
	for _, n := range w.nodes {
		for _, e := range n.engines() {
			able = able || e.started && !e.actor.dead && !e.actor.paused && !e.actor.cut.After(time.Now())
		}
	}
	now := w.store.Clock().Now()
	switch {
	case able == w.unable.IsZero():
	case able:
		w.away = append(w.away, check.Interval{From: w.unable, To: now})
		w.unable = time.Time{}
	default:
		w.unable = now
	}
}

func (w *world) struck(f fault, whom string) {
	w.counts[string(f)]++
	w.trace.note("fault", "%s %s", f, whom)
}

// victim is whose item is about to happen, in most cases.
func (w *world) victim(it *item) *engine {
	for _, e := range w.alive() {
		if e.actor == it.of && w.chance.IntN(4) != 0 {
			return e
		}
	}
	return w.anyone()
}

// freeze makes an engine stand still for a while.
func (w *world) freeze(e *engine, d time.Duration) {
	w.sched.pause(e.actor)
	w.sched.add(&item{what: e.actor.name + " goes on", do: func() {
		if !e.actor.dead {
			w.sched.resume(e.actor)
		}
	}}, d)
}

// vanish takes a runtime away behind everybody's back, and may put something else in its place.
func (o *outside) vanish(runtimeID string, usurp bool) {
	for _, i := range o.core.Live() {
		if i.Request.RuntimeID != runtimeID {
			continue
		}
		h := drivers.Handle{RuntimeID: runtimeID, Installation: i.Request.Installation, Fence: i.Hold.Fence, LeaseID: i.Request.LeaseID}
		_ = o.change(check.OpVanish, "nobody", h, func() error {
			if usurp {
				o.core.Usurp(runtimeID)
			} else {
				o.core.Lose(runtimeID)
			}
			return nil
		})
		return
	}
}

// edit is an operator who changes an environment, by a way of his own.
func (w *world) edit(place domain.EnvironmentID, f fault) {
	e := w.anyone()
	if e == nil {
		return
	}
	image, slots := string(rune('a'+w.chance.IntN(3))), w.chance.IntN(4)
	go func() {
		_, _ = e.c.ReconfigureEnvironment(context.Background(), commands.Caller{By: eventstore.Attribution{Request: uuid.New()}}, place, 0,
			func(s environment.Reconfigured) (environment.Reconfigured, error) {
				if f == faultEdit {
					s.Config = json.RawMessage(fmt.Sprintf(`{"image":%q}`, image))
				} else {
					s.MaxLeases = slots
				}
				return s, nil
			}, commands.NoSecretFields) // he does not mind
	}()
}

// anyone is an engine that lives.
func (w *world) anyone() *engine {
	alive := w.alive()
	if len(alive) == 0 {
		return nil
	}
	return alive[w.chance.IntN(len(alive))]
}

// heal ends all faults: everybody lives, hears and is heard, and providers are honest.
func (w *world) heal() {
	w.healed = true
	w.trace.note("fault", "no more")
	w.models.heldUp = time.Time{}
	for _, n := range w.nodes {
		for _, e := range n.engines() {
			if e.actor.dead {
				continue
			}
			if e.actor.paused {
				w.sched.resume(e.actor)
			}
			e.actor.cut, e.actor.deaf = time.Time{}, time.Time{}
		}
	}
	for _, o := range w.outsides {
		o.failing, o.lying = 0, 0
	}
}

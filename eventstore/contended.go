package eventstore

import (
	"context"
	"sync"

	"github.com/tenure-dev/tenure/domain"
)

// contended holds, for each contended stream, the state that the appends under way will leave. A work has the stream for
// itself from its first look until its append is submitted; the next one decides on what that append will leave, and
// expects the stream to be brought there by that very append. So if an append is refused, those which were decided on it
// are refused by the log too, also when another process brought the stream to the same version; they start again from the
// log.
type contended struct {
	mu      sync.Mutex
	streams map[Stream]*actor
}

func newContended() *contended { return &contended{streams: map[Stream]*actor{}} }

// actor is one contended stream in this process.
type actor struct {
	// turn holds one token: who has it decides.
	turn chan struct{}

	mu sync.Mutex
	// state is a Loaded[S], nil when it must be made anew from the log; lineage counts how often it was.
	state   any
	lineage int64
	// confirmed is the Loaded[S] of what the log has said yes to, nil before the first reading: when a chain of decisions
	// breaks, only what is newer is read. Appends of the lineage that are in the log, but not yet those before them, wait by
	// the version that they were decided on.
	confirmed any
	waiting   map[int64]any
	// inflight counts the appends under way; idle is closed when there are none, if somebody waits for that.
	inflight int
	idle     chan struct{}
}

// submitted and finished bracket an append of this process.
func (a *actor) submitted() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.inflight++
}

func (a *actor) finished() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.inflight--
	if a.inflight == 0 && a.idle != nil {
		close(a.idle)
		a.idle = nil
	}
}

// quiet waits until no append of this process is under way. Whoever has the turn keeps new ones away.
func (a *actor) quiet(ctx context.Context) error {
	a.mu.Lock()
	if a.inflight == 0 {
		a.mu.Unlock()
		return nil
	}
	if a.idle == nil {
		a.idle = make(chan struct{})
	}
	idle := a.idle
	a.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// known is the state that the appends under way will leave, if it is known.
func (a *actor) known() (state any, lineage int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.state, a.lineage
}

// learned sets the state that the log has, and a copy of it to decide on, and starts a lineage with them.
func (a *actor) learned(confirmed, state any) int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lineage++
	a.confirmed, a.state, a.waiting = confirmed, state, map[int64]any{}
	return a.lineage
}

func (c *contended) actor(stream Stream) *actor {
	c.mu.Lock()
	defer c.mu.Unlock()
	a, ok := c.streams[stream]
	if !ok {
		a = &actor{turn: make(chan struct{}, 1)}
		a.turn <- struct{}{}
		c.streams[stream] = a
	}
	return a
}

// forget makes every stream be read from its start. Who is in one goes on with it, and is refused by the log.
func (c *contended) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.streams)
}

// held is a work's hold on a contended stream.
type held struct {
	actor   *actor
	lineage int64
	// locked: the work has the turn; inflight: its append is under way.
	locked, inflight bool
}

// invalidate makes the next work read the log, unless one did already.
func (h *held) invalidate() {
	h.actor.mu.Lock()
	defer h.actor.mu.Unlock()
	if h.actor.lineage == h.lineage {
		h.actor.state = nil
	}
}

func (p *part[S, C, E]) loadContended(ctx context.Context, w *Work) error {
	a := w.ledger.contended.actor(p.stream)
	select {
	case <-a.turn:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	p.held = &held{actor: a, locked: true}
	if state, lineage := a.known(); state != nil && !w.fresh {
		w.trusted = true
		p.base, p.held.lineage = state.(Loaded[S]), lineage
		return nil
	}
	if err := a.quiet(ctx); err != nil {
		return err
	}
	// Nobody else touches what is confirmed now, so it may be used up.
	confirmed := Loaded[S]{State: p.kind.Decider.Initial()}
	if a.confirmed != nil {
		confirmed = a.confirmed.(Loaded[S])
	}
	confirmed, err := catchUp(ctx, w.ledger.store, p.kind, p.stream, confirmed)
	p.base = confirmed
	p.base.State = p.kind.Clone(confirmed.State)
	p.held.lineage = a.learned(confirmed, p.base)
	if err != nil {
		p.held.invalidate()
	}
	return err
}

// confirm takes what the work appended into the confirmed state, once all that it was decided on is there.
func (p *part[S, C, E]) confirm() {
	a := p.held.actor
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.lineage != p.held.lineage || len(p.staged) == 0 {
		return
	}
	a.waiting[p.base.Version] = p.staged
	now := a.confirmed.(Loaded[S])
	for next, ok := a.waiting[now.Version]; ok; next, ok = a.waiting[now.Version] {
		delete(a.waiting, now.Version)
		for _, s := range next.([]staged[E]) {
			now.State = p.kind.Decider.Evolve(now.State, s.event, domain.Meta{})
			now.Version++
		}
	}
	a.confirmed = now
}

// speculate lets the next work decide on what this one's append will leave.
func (p *part[S, C, E]) speculate(w *Work) {
	if p.held == nil {
		return
	}
	p.held.actor.submitted()
	p.held.inflight = true
	p.held.actor.mu.Lock()
	if p.held.actor.lineage == p.held.lineage && p.held.actor.state != nil {
		next := Loaded[S]{State: p.now, Version: p.base.Version + int64(len(p.staged)), by: p.base.by}
		if len(p.staged) > 0 {
			next.by = w.id
		}
		p.held.actor.state = next
	}
	p.held.actor.mu.Unlock()
	p.unlock(false)
}

// unlock gives the turn back, and says that the append is over.
func (p *part[S, C, E]) unlock(over bool) {
	if p.held == nil {
		return
	}
	if p.held.locked {
		p.held.locked = false
		p.held.actor.turn <- struct{}{}
	}
	if over && p.held.inflight {
		p.held.inflight = false
		p.held.actor.finished()
	}
}

var _ seen = (*part[int, int, domain.Event])(nil)

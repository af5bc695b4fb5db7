package eventstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/eventstore/faults"
)

// Ledger is where deciders and the log meet: it loads states, decides on them and appends, again if somebody else was
// faster. It remembers states of streams between commands; what it remembers may be old, which the log finds out.
type Ledger struct {
	store     Store
	cache     *cache
	contended *contended
	observed  *observed
	underway  *underway
	heed      atomic.Pointer[func(Recorded)]
}

// NewLedger makes a ledger over a store.
func NewLedger(store Store) *Ledger {
	return &Ledger{store: store, cache: newCache(cacheEntries), contended: newContended(), observed: newObserved(), underway: newUnderway()}
}

// cacheEntries is how many streams a ledger remembers.
const cacheEntries = 20_000

// Store is the store below.
func (l *Ledger) Store() Store { return l.store }

// Now is the database's time.
func (l *Ledger) Now() time.Time { return l.store.Clock().Now() }

// epoch is the log's. When it is another than before, all that is remembered is forgotten: some of it may be lost.
func (l *Ledger) epoch() int64 {
	epoch := l.store.Epoch()
	if l.cache.at(epoch) {
		l.contended.forget()
	}
	return epoch
}

// Saw takes note that a stream has a version: what is remembered of it from before is old from now on.
func (l *Ledger) Saw(s Stream, version int64) { l.cache.saw(s, version) }

// Note is [Ledger.Saw] for an event of the log, and tells whoever heeds. Whoever reads the log as a whole calls it for every
// event; it does no harm to call it again. An event of an append that this ledger has under way is noted when that ends.
func (l *Ledger) Note(r Recorded) {
	if !l.underway.hold(r) {
		l.note(r)
	}
}

func (l *Ledger) note(r Recorded) {
	l.epoch()
	if news := l.cache.hear(r.Stream, r.Version); !news {
		return
	}
	if heed := l.heed.Load(); heed != nil {
		(*heed)(r)
	}
}

// Heed makes heed hear of every event noted, in most cases once. It hears of what this ledger appends as soon as that is
// done, without salt and hashes. It must return at once.
func (l *Ledger) Heed(heed func(Recorded)) { l.heed.Store(&heed) }

// Options say who executes, and how.
type Options struct {
	By   Attribution
	Lane Lane
	// Command makes a repeated command have one outcome; nil for none.
	Command *Command
	// Drives says that the command announces work outside: it ends with [ErrForked] while the log waits for its adoption.
	Drives bool
	// Owner is the right by which an owner acts; nil for who needs none. It is refused with ErrNotOwner once it is over.
	Owner *Ownership
}

// Outcome is what became of an executed command.
type Outcome struct {
	// Position is where the log was at or after the command's effect; a read model that got there shows it.
	Position int64
	// Changed says that events were appended by this call.
	Changed bool
	// Replayed says that a command with the same identity had been accepted before; Resource is what that one made.
	Replayed bool
	Resource uuid.UUID
}

// maxTries bounds how often a command is decided again because somebody else was faster.
const maxTries = 30

// Execute runs decide, which acts on streams through [Act] and [View], and appends all that it led to as one append. If
// something it saw has changed meanwhile, it runs again on the new states; so it must have no other effect.
//
// A refusal is given only on states that were read from the log after Execute was called.
func Execute(ctx context.Context, l *Ledger, opts Options, decide func(ctx context.Context, w *Work) error) (Outcome, error) {
	for try := 0; ; try++ {
		// Each try is an append of its own: what was decided on one try must not be taken for the outcome of another.
		id, err := uuid.NewV7()
		if err != nil {
			return Outcome{}, fmt.Errorf("make an id: %w", err)
		}
		// The first try trusts the cache; a later one, or a refusal, does not.
		w := &Work{ledger: l, fresh: try > 0, id: id, epoch: l.epoch(), drives: opts.Drives}
		outcome, again, err := w.execute(ctx, opts, decide)
		if !again {
			return outcome, err
		}
		if try == maxTries {
			return Outcome{}, err
		}
		if try > 1 {
			if err := pause(ctx, try); err != nil {
				return Outcome{}, err
			}
		}
	}
}

func (w *Work) execute(ctx context.Context, opts Options, decide func(ctx context.Context, w *Work) error) (_ Outcome, again bool, _ error) {
	defer w.unlock()
	err := decide(ctx, w)
	if err != nil || len(w.events) == 0 {
		w.spoil()
		if w.trusted && !w.fresh {
			return Outcome{}, true, err
		}
		if err != nil {
			return w.refused(ctx, opts, err)
		}
		head, err := w.ledger.store.Head(ctx)
		return Outcome{Position: head.Position}, false, err
	}
	faults.Of("append.before", w.events[0].Name)
	w.ledger.underway.begin(w.id)
	defer w.told()
	pending := w.ledger.store.Submit(w.append(opts))
	w.speculate()
	result, err := pending.Wait(ctx)
	switch {
	case err == nil && !result.CommandReplayed:
		faults.Of("append.after", w.events[0].Name)
		w.settle(result)
		w.announce(result, opts.By)
		return Outcome{Position: result.Last, Changed: true}, false, nil
	case err == nil:
		w.forget()
		return Outcome{Position: result.First, Replayed: true, Resource: result.Resource}, false, nil
	case errors.Is(err, ErrConflict), errors.Is(err, ErrStaleEpoch):
		// Somebody was faster, or the log has forked: it is decided again, on what the log has now.
		w.forget()
		return Outcome{}, true, err
	default:
		w.forget()
		return Outcome{}, false, err
	}
}

// refused gives a refusal, unless the same command was accepted before: then its outcome is that one's.
func (w *Work) refused(ctx context.Context, opts Options, refusal error) (Outcome, bool, error) {
	if opts.Command == nil {
		return Outcome{}, false, refusal
	}
	done, err := w.ledger.store.FindCommand(ctx, *opts.Command)
	switch {
	case err == nil:
		return Outcome{Position: done.Position, Replayed: true, Resource: done.Resource}, false, nil
	case errors.Is(err, ErrNoCommand):
		return Outcome{}, false, refusal
	}
	return Outcome{}, false, err
}

// pause waits a little before a later try, with jitter, so that those who race do not race again.
func pause(ctx context.Context, try int) error {
	limit := time.Millisecond << min(try, 6)
	select {
	case <-time.After(rand.N(limit)): //nolint:gosec // jitter is no secret
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Work is one try of a command: the states it saw and the events it led to.
type Work struct {
	ledger  *Ledger
	id      uuid.UUID
	company domain.CompanyID
	// fresh says that the cache is not trusted; trusted that it was.
	fresh, trusted bool
	seen           []seen
	events         []NewEvent
	inputs         []Input
	drops          []uuid.UUID
	notAfter       time.Time
	// epoch is the log's that the work is decided on.
	epoch  int64
	drives bool
}

// seen is one stream in a work.
type seen interface {
	name() Stream
	// expectation is what the append must hold the stream to.
	expectation() Expectation
	// settled is called after the append, with the position of the work's first event.
	settled(w *Work, r Result)
	speculate(w *Work)
	forget(w *Work)
	unlock(over bool)
	// spoiled is called when the work comes to nothing.
	spoiled()
}

// Company says whose events this work makes. It is called before the first event.
func (w *Work) Company(id domain.CompanyID) { w.company = id }

// Version is the version of a stream that the work has seen, before what it appends; 0 for one that it has not.
func (w *Work) Version(stream Stream) int64 {
	for _, s := range w.seen {
		if s.name() == stream {
			return max(int64(s.expectation().Expect), 0)
		}
	}
	return 0
}

// Now is the database's time.
func (w *Work) Now() time.Time { return w.ledger.Now() }

// Keep stores a value beside the log with the work's events; Drop removes one.
func (w *Work) Keep(in Input) { w.inputs = append(w.inputs, in) }

// Drop removes a value kept beside the log.
func (w *Work) Drop(id uuid.UUID) { w.drops = append(w.drops, id) }

// Drives says that the work announces something outside, as [Options] does.
func (w *Work) Drives() { w.drives = true }

// NotAfter refuses the append with ErrTooLate when the database's time is past t.
func (w *Work) NotAfter(t time.Time) { w.notAfter = t }

func (w *Work) append(opts Options) Append {
	a := Append{
		ID: w.id, Lane: opts.Lane, Events: w.events, By: opts.By, Command: opts.Command, NotAfter: w.notAfter,
		Owner: opts.Owner, Inputs: w.inputs, DropInputs: w.drops, Epoch: w.epoch, Drives: w.drives,
	}
	for _, s := range w.seen {
		a.Expect = append(a.Expect, s.expectation())
	}
	return a
}

func (w *Work) settle(r Result) {
	for _, s := range w.seen {
		s.settled(w, r)
	}
}

// announce takes note of what was appended, once it is remembered.
func (w *Work) announce(r Result, by Attribution) {
	versions := make(map[Stream]int64, len(w.seen))
	for _, s := range w.seen {
		versions[s.name()] = int64(s.expectation().Expect)
	}
	for i, e := range w.events {
		if versions[e.Stream] == int64(Any) {
			continue // which version a noted event got, only the log knows: the feed tells
		}
		versions[e.Stream]++
		w.ledger.note(Recorded{
			Position: r.First + int64(i), Epoch: r.Epoch, Stream: e.Stream, Version: versions[e.Stream], Name: e.Name, Revision: e.Revision,
			Company: e.Company, RecordedAt: r.RecordedAt, AppendID: w.id, AppendIndex: i, By: by, Payload: e.Payload,
		})
	}
}

// told notes what the feed told of the append while it was under way.
func (w *Work) told() {
	for _, r := range w.ledger.underway.end(w.id) {
		w.ledger.note(r)
	}
}

func (w *Work) speculate() {
	for _, s := range w.seen {
		s.speculate(w)
	}
}

func (w *Work) forget() {
	for _, s := range w.seen {
		s.forget(w)
	}
}

func (w *Work) spoil() {
	for _, s := range w.seen {
		s.spoiled()
	}
}

func (w *Work) unlock() {
	for _, s := range w.seen {
		s.unlock(true)
	}
}

// Note puts an event on a stream whatever is there, so that those who note on one stream at once do not get into each
// other's way. It is for streams of plain notes, which nobody decides on: a work that notes on a stream may not look at it.
func Note[S, C any, E domain.Event](w *Work, k *Kind[S, C, E], id uuid.UUID, e E) error {
	stream := k.Stream(id)
	name, revision, payload, err := k.Codec.Encode(e)
	if err != nil {
		return err
	}
	known := slices.ContainsFunc(w.seen, func(s seen) bool { return s.name() == stream })
	if !known {
		w.seen = append(w.seen, noted(stream))
	}
	w.events = append(w.events, NewEvent{Stream: stream, Name: name, Revision: revision, Company: w.company, Payload: payload})
	return nil
}

// noted is a stream that a work puts notes on. Nothing is remembered of it: what was is old now.
type noted Stream

func (n noted) name() Stream              { return Stream(n) }
func (n noted) expectation() Expectation  { return Expectation{Stream: Stream(n), Expect: Any} }
func (n noted) settled(w *Work, _ Result) { w.ledger.cache.drop(Stream(n)) }
func (n noted) forget(w *Work)            { w.ledger.cache.drop(Stream(n)) }
func (noted) speculate(*Work)             {}
func (noted) unlock(bool)                 {}
func (noted) spoiled()                    {}

// View returns the state of a stream and holds the append to it: if the stream has another version by then, the work runs
// again.
func View[S, C any, E domain.Event](ctx context.Context, w *Work, k *Kind[S, C, E], id uuid.UUID) (S, error) {
	p, err := see(ctx, w, k, id, false)
	if err != nil {
		var none S
		return none, err
	}
	return p.now, nil
}

// Act decides a command on a stream and puts the events it leads to into the work's append.
func Act[S, C any, E domain.Event](ctx context.Context, w *Work, k *Kind[S, C, E], id uuid.UUID, cmd C) ([]E, error) {
	p, err := see(ctx, w, k, id, false)
	if err != nil {
		return nil, err
	}
	return p.decide(w, cmd)
}

// Begin is [Act] on a stream whose id was made for this command, so that nobody can have written it. The log is not asked
// before the append; if the stream is there all the same, the work runs again and reads it.
func Begin[S, C any, E domain.Event](ctx context.Context, w *Work, k *Kind[S, C, E], id uuid.UUID, cmd C) ([]E, error) {
	p, err := see(ctx, w, k, id, true)
	if err != nil {
		return nil, err
	}
	return p.decide(w, cmd)
}

func (p *part[S, C, E]) decide(w *Work, cmd C) ([]E, error) {
	k := p.kind
	events, err := k.Decider.Decide(p.now, cmd)
	if err != nil {
		return nil, err
	}
	for _, e := range events {
		name, revision, payload, err := k.Codec.Encode(e)
		if err != nil {
			return nil, err
		}
		p.staged = append(p.staged, staged[E]{event: e, index: len(w.events)})
		w.events = append(w.events, NewEvent{Stream: p.stream, Name: name, Revision: revision, Company: w.company, Payload: payload})
		p.now = k.Decider.Evolve(p.now, e, domain.Meta{Version: p.base.Version + int64(len(p.staged)), At: w.Now()})
	}
	return events, nil
}

// part is a stream of one kind in a work.
type part[S, C any, E domain.Event] struct {
	kind   *Kind[S, C, E]
	stream Stream
	base   Loaded[S]
	now    S
	staged []staged[E]
	held   *held
}

type staged[E any] struct {
	event E
	index int
}

func see[S, C any, E domain.Event](ctx context.Context, w *Work, k *Kind[S, C, E], id uuid.UUID, begins bool) (*part[S, C, E], error) {
	stream := k.Stream(id)
	for _, s := range w.seen {
		if s.name() == stream {
			return s.(*part[S, C, E]), nil
		}
	}
	p := &part[S, C, E]{kind: k, stream: stream}
	var err error
	if k.Contended {
		err = p.loadContended(ctx, w)
	} else {
		err = p.load(ctx, w, begins)
	}
	if err != nil {
		p.unlock(true)
		return nil, err
	}
	p.now = p.base.State
	w.seen = append(w.seen, p)
	return p, nil
}

func (p *part[S, C, E]) load(ctx context.Context, w *Work, begins bool) error {
	p.base.State = p.kind.Decider.Initial()
	remembered, current := w.ledger.cache.get(p.stream)
	if remembered != nil {
		p.base = remembered.(Loaded[S])
	}
	if !w.fresh && (current || begins && remembered == nil) {
		w.trusted = true
		return nil
	}
	var err error
	if p.base, err = catchUp(ctx, w.ledger.store, p.kind, p.stream, p.base); err != nil {
		return err
	}
	w.ledger.cache.put(w.epoch, p.stream, p.base.Version, p.base)
	return nil
}

func (p *part[S, C, E]) name() Stream { return p.stream }

func (p *part[S, C, E]) expectation() Expectation {
	return Expectation{Stream: p.stream, Expect: Exactly(p.base.Version), By: p.base.by}
}

// settled remembers the state after the append, with the places that the events got.
func (p *part[S, C, E]) settled(w *Work, r Result) {
	if p.kind.Contended {
		p.confirm()
		return
	}
	now := p.base
	for _, s := range p.staged {
		now.Version, now.Position = now.Version+1, r.First+int64(s.index)
		now.State = p.kind.Decider.Evolve(now.State, s.event, domain.Meta{
			Position: now.Position, Version: now.Version, Epoch: r.Epoch, At: r.RecordedAt,
		})
	}
	w.ledger.cache.put(w.epoch, p.stream, now.Version, now)
}

func (p *part[S, C, E]) forget(w *Work) {
	if p.kind.Contended {
		p.held.invalidate()
		return
	}
	w.ledger.cache.drop(p.stream)
}

// spoiled forgets a contended state that the work has used up.
func (p *part[S, C, E]) spoiled() {
	if p.held != nil && len(p.staged) > 0 {
		p.held.invalidate()
	}
}

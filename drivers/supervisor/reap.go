package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/leak"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/secretread"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/eventstore/faults"
)

// The reaper looks for what nobody looks after, place by place:
//
//	list the provider ──► only then ask the log of each thing ──► somebody looks after it: nothing
//	                                                         └──► nobody does: a leak, at the first look
//	                                                              └──► still so a period later: destroyed
//
// In this order nothing that a lease gets between the two is taken for left over: who has a runtime made writes so in the
// log before the provider is asked. What is destroyed is announced by an append that is held to what the log says of the
// thing, and the log never gives a runtime to a lease again that it says is gone or whose lease is over. So two processes
// that do the same at once do no harm; that mostly one does, see [Supervisor.looksAfter], only spares the provider.

// Place is where runtimes of this installation may be: a driver with the configuration of an environment.
type Place struct {
	Target drivers.Target
	// Config is as in the log, with references in place of secrets.
	Config      json.RawMessage
	Company     domain.CompanyID
	Environment domain.EnvironmentID
	// Lease is whose configuration it is; zero for the environment's own.
	Lease domain.LeaseID
}

func (p Place) key() string { return leak.PlaceOf(p.Target.Driver, p.Target.Provider, p.Config) }

// Estate says where to look, and what is known to be left.
type Estate interface {
	// Places are those of the environments.
	Places(ctx context.Context) ([]Place, error)
	// Stuck are leases whose runtime could not be taken down yet.
	Stuck(ctx context.Context) ([]domain.LeaseID, error)
	// Leaks are those on the list.
	Leaks(ctx context.Context) ([]Leak, error)
	// Forgotten are leases whose runtimes were given up with a node.
	Forgotten(ctx context.Context, node domain.NodeID) ([]domain.LeaseID, error)
}

// Leak is a leak on the list.
type Leak struct {
	ID domain.LeakID
	leak.State
}

// Look is what one look at a place came to.
type Look struct {
	Driver, Provider string
	// Listed counts what is there under this installation's name, Later what of it belongs to a later epoch of its log and is
	// left alone.
	Listed, Later int
	Err           error
}

// reapParallel bounds the places that are looked at at once, reapTimeout one list, reapBatch what one look destroys.
const (
	reapParallel = 8
	reapTimeout  = 30 * time.Second
	reapBatch    = 100
)

func (s *Supervisor) reapLoop(ctx context.Context) {
	for {
		// A look is never sooner than an interval after the one before.
		wait := s.opts.ReapInterval + rand.N(s.opts.ReapInterval/10+1) //nolint:gosec // jitter is no secret
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		if err := s.reap(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("the reaper could not look; it will again", "error", err)
		}
	}
}

// known is what the log's side says before a look.
type known struct {
	stuck map[string][]domain.LeaseID
	leaks map[string][]Leak
}

// reap looks at every place once.
func (s *Supervisor) reap(ctx context.Context) error {
	places, k, err := s.survey(ctx)
	if err != nil {
		return err
	}
	free := make(chan struct{}, reapParallel)
	var looks sync.WaitGroup
	for key, p := range places {
		select {
		case free <- struct{}{}:
		case <-ctx.Done():
			looks.Wait()
			return context.Cause(ctx)
		}
		looks.Go(func() {
			defer func() { <-free }()
			s.reapPlace(ctx, key, p, k)
		})
	}
	looks.Wait()
	return nil
}

// survey collects the places: those of environments, and those of leases and leaks whose environment is another by now.
func (s *Supervisor) survey(ctx context.Context) (map[string]Place, known, error) {
	places, k := map[string]Place{}, known{stuck: map[string][]domain.LeaseID{}, leaks: map[string][]Leak{}}
	add := func(p Place) string {
		key := p.key()
		if _, there := places[key]; !there {
			places[key] = p
		}
		return key
	}
	of, err := s.deps.Estate.Places(ctx)
	if err != nil {
		return nil, k, err
	}
	for _, p := range of {
		add(p)
	}
	stuck, err := s.deps.Estate.Stuck(ctx)
	if err != nil {
		return nil, k, err
	}
	for _, id := range stuck {
		l, err := s.deps.Commands.KnownLease(ctx, id)
		if err != nil {
			return nil, k, err
		}
		if l.NeedsTeardown() && l.TeardownFailed {
			key := add(placeOf(id, l))
			k.stuck[key] = append(k.stuck[key], id)
		}
	}
	leaks, err := s.deps.Estate.Leaks(ctx)
	if err != nil {
		return nil, k, err
	}
	for _, found := range leaks {
		if given, err := s.forgetLeak(ctx, found); err != nil {
			return nil, k, err
		} else if given {
			continue
		}
		k.leaks[found.Found.Place] = append(k.leaks[found.Found.Place], found)
		if _, there := places[found.Found.Place]; there || found.Found.Lease.IsZero() {
			continue
		}
		l, err := s.deps.Commands.KnownLease(ctx, found.Found.Lease)
		if err != nil {
			return nil, k, err
		}
		add(placeOf(found.Found.Lease, l))
	}
	if err := s.forgottenHere(ctx, add); err != nil {
		return nil, k, err
	}
	s.reaper.remember(places, s.now())
	return places, k, nil
}

func placeOf(id domain.LeaseID, l lease.State) Place {
	return Place{Target: target(l), Config: l.Config, Company: l.Company, Environment: l.Environment, Lease: id}
}

// reapPlace looks at one place.
func (s *Supervisor) reapPlace(ctx context.Context, key string, p Place, k known) {
	driver, err := s.deps.Drivers.Resolve(p.Target)
	if err != nil || !driver.Describe().Capabilities.List {
		return // nobody can be asked; what is left there is dealt with by the leases, and shown as leaks
	}
	if !s.looksAfter(key, p, driver.Describe()) {
		s.reaper.forget(key)
		return
	}
	began := s.now()
	config, due, err := s.reapConfig(ctx, key, p, began)
	if !due {
		return
	}
	var listed []drivers.ListedRuntime
	if err == nil {
		listed, err = call(ctx, s, reapTimeout, func(ctx context.Context) ([]drivers.ListedRuntime, error) {
			installation, _ := s.identity()
			return drivers.ListRuntimes(ctx, driver, drivers.ListRequest{Installation: installation.String(), Config: config})
		}, func([]drivers.ListedRuntime) {})
	}
	look := Look{Driver: p.Target.Driver, Provider: p.Target.Provider, Listed: len(listed), Err: err}
	if err != nil {
		if s.reaper.fails(key) && ctx.Err() == nil {
			s.log.Warn("the reaper cannot ask a provider", "driver", p.Target.Driver, "provider", p.Target.Provider, "environment", p.Environment, "error", err)
		}
		s.tellLook(look)
		return
	}
	faults.Point("reap.listed")
	v := visit{s: s, place: p, key: key, driver: driver, about: driver.Describe(), config: config, began: began}
	look.Later = v.things(ctx, listed)
	v.leaksGone(ctx, listed, k.leaks[key])
	v.leases(ctx, listed, k.stuck[key])
	s.tellLook(look)
}

func (s *Supervisor) tellLook(l Look) {
	if s.deps.Looked != nil {
		s.deps.Looked(l)
	}
}

// reapConfig is a place's configuration with its secrets. Each reading of a secret is on record, so a place that needs one is
// due more seldom.
func (s *Supervisor) reapConfig(ctx context.Context, key string, p Place, now time.Time) (config json.RawMessage, due bool, err error) {
	need, err := s.need(p.Config, secretread.Read{Purpose: secretread.PurposeList, Lease: p.Lease, Environment: p.Environment})
	if err != nil {
		return nil, true, err
	}
	if len(need.Refs) == 0 {
		return p.Config, true, nil
	}
	if !s.reaper.due(key, now, s.opts.SecretReapInterval) {
		return nil, false, nil
	}
	values, err := s.deps.Commands.ReadSecrets(ctx, s.me(uuid.Nil), p.Company, need)
	if err != nil {
		return nil, true, err
	}
	config, err = commands.ReplaceSecretRefs(p.Config, values)
	return config, true, err
}

// visit is one look at a place that answered.
type visit struct {
	s      *Supervisor
	place  Place
	key    string
	driver drivers.Driver
	about  drivers.Description
	config json.RawMessage
	began  time.Time
}

// things compares what is there with the log.
func (v visit) things(ctx context.Context, listed []drivers.ListedRuntime) (later int) {
	s := v.s
	destroyed := 0
	_, epoch := s.identity()
	defer s.reaper.seen.keep(v.key, v.began)
	for _, r := range listed {
		if ctx.Err() != nil || s.leases.isClosed() {
			return later
		}
		if r.Epoch > epoch {
			later++
			continue
		}
		sighting := v.sighting(r)
		j, err := s.deps.Commands.Judge(ctx, sighting)
		if err != nil {
			s.log.Warn("the reaper could not compare a runtime with the log", "runtime", r.RuntimeID, "error", err)
			if errors.Is(err, eventstore.ErrUnavailable) {
				return later // nor any other one; the next look begins anew
			}
			continue
		}
		if j.Why == "" {
			continue
		}
		first := s.reaper.seen.note(sight{v.key, j.Leak.UUID, identityOf(r)}, v.began)
		sighting.FirstSeen = first
		if done, err := s.deps.Commands.ListLeak(ctx, s.me(uuid.Nil), sighting); err != nil {
			if !refused(err) {
				s.log.Warn("a leak could not be listed", "runtime", r.RuntimeID, "error", err)
			}
			continue
		} else if done.Changed {
			s.log.Warn("a runtime that nobody looks after", "runtime", r.RuntimeID, "provider", v.place.Target.Provider, "leak", j.Leak, "why", j.Why)
		}
		agreed := !v.began.Before(first.Add(s.opts.ReapInterval))
		if !agreed || s.driving() != nil || destroyed == reapBatch {
			continue
		}
		destroyed++
		v.destroy(ctx, sighting, j)
	}
	return later
}

func (v visit) sighting(r drivers.ListedRuntime) commands.Sighting {
	_, prunes := v.driver.(drivers.Pruner)
	installation, _ := v.s.identity()
	return commands.Sighting{
		Installation: installation, Driver: v.place.Target.Driver, Provider: v.place.Target.Provider, RuntimeID: r.RuntimeID,
		ProviderLeaseID: r.ProviderLeaseID, Node: v.node(), Place: v.key, Twice: prunes && v.about.Class != drivers.ClassIdempotent, ListedAt: v.began,
	}
}

// node is where things of this place are, if that is one machine.
func (v visit) node() domain.NodeID {
	if v.about.NodeBound {
		return v.s.deps.Process.Node
	}
	return domain.NodeID{}
}

func identityOf(r drivers.ListedRuntime) string {
	id := ""
	if r.ProviderLeaseID != nil {
		id = *r.ProviderLeaseID
	}
	return r.RuntimeID + "\x00" + id + "\x00" + r.CreatedAt.UTC().Format(time.RFC3339Nano)
}

// destroy ends a thing that two looks agree on.
func (v visit) destroy(ctx context.Context, sighting commands.Sighting, j commands.Judged) {
	s := v.s
	_, epoch := s.identity()
	if _, err := s.deps.Commands.ClaimLeak(ctx, s.me(uuid.Nil), sighting, s.deps.Process.ID); err != nil {
		if !refused(err) {
			s.log.Warn("a leak could not be claimed", "leak", j.Leak, "error", err)
		}
		return
	}
	l := j.Lease
	h := s.handle(j.Holder, l, v.config)
	h.RuntimeID = sighting.RuntimeID
	if h.Fence != 0 && j.Why != leak.WhyExtra {
		h.Fence = fenceIn(epoch, h.Fence)
	}
	if j.Why != leak.WhyExtra && l.ProviderLeaseID == nil {
		h.ProviderLeaseID = sighting.ProviderLeaseID
	}
	_, err := callDriver(ctx, s, v.driver, VerbRelease, s.opts.ReleaseTimeout, func(ctx context.Context) (struct{}, error) {
		faults.Point("driver.reap.before")
		var err error
		if j.Why == leak.WhyExtra {
			h.ProviderLeaseID = sighting.ProviderLeaseID
			err = drivers.Prune(ctx, v.driver, drivers.PruneRequest{Handle: h, Keep: *j.Runtime.ProviderLeaseID})
		} else {
			err = v.driver.Release(ctx, drivers.ReleaseRequest{Handle: h, Attempt: 1})
		}
		faults.Point("driver.reap.after")
		return struct{}{}, err
	}, nothing)
	if err != nil && !errors.Is(err, drivers.ErrGone) {
		f := failureOf("", err)
		s.log.Warn("a leak could not be destroyed", "leak", j.Leak, "code", f.Code, "error", err)
		if _, err := s.deps.Commands.FailLeak(ctx, s.me(uuid.Nil), j.Leak, leak.FailDestroy{Code: f.Code, Message: messageOf(f, err)}); err != nil && !refused(err) {
			s.log.Warn("the failure to destroy a leak could not be recorded", "leak", j.Leak, "error", err)
		}
		return
	}
	s.log.Info("a leak is destroyed", "leak", j.Leak, "runtime", sighting.RuntimeID)
	s.settle(ctx, j.Leak, leak.ProofDestroyed)
}

func (s *Supervisor) settle(ctx context.Context, id domain.LeakID, proof leak.Proof) {
	// It was done, whether anybody waits for it or not; what is not recorded is found by the next look.
	if _, err := s.deps.Commands.SettleLeak(ctx, s.me(uuid.Nil), id, proof); err != nil && !refused(err) {
		s.log.Warn("a leak could not be cleared", "leak", id, "error", err)
	}
}

// leaksGone clears the leaks of this place that two lists do not have.
func (v visit) leaksGone(ctx context.Context, listed []drivers.ListedRuntime, leaks []Leak) {
	there := map[domain.LeakID]bool{}
	for _, r := range listed {
		sighting := v.sighting(r)
		there[leak.OfRuntime(sighting.Runtime())] = true
		there[leak.OfName(sighting.Installation, sighting.Provider, sighting.Name())] = true
	}
	defer v.s.reaper.absent.keep(v.key, v.began)
	for _, l := range leaks {
		if there[l.ID] || l.Found.Node != v.node() {
			continue
		}
		first := v.s.reaper.absent.note(sight{place: v.key, id: l.ID.UUID}, v.began)
		if !v.began.Before(first.Add(v.s.opts.ReapInterval)) {
			v.s.settle(ctx, l.ID, leak.ProofAbsent)
		}
	}
}

// leases ends the cleanup of leases whose runtime two lists do not have, and tries at once what could not be tried while the
// provider was away.
func (v visit) leases(ctx context.Context, listed []drivers.ListedRuntime, stuck []domain.LeaseID) {
	s := v.s
	there := map[string]bool{}
	for _, r := range listed {
		there[r.RuntimeID] = true
	}
	back := s.reaper.answers(v.key)
	defer s.reaper.gone.keep(v.key, v.began)
	for _, id := range stuck {
		l, err := s.deps.Commands.Lease(ctx, id)
		if err != nil || !l.NeedsTeardown() || !l.TeardownFailed || l.Attempting || l.TearingDown {
			continue
		}
		if v.about.NodeBound {
			if origin, err := s.deps.Commands.Origin(ctx, l.Runtime); err != nil || origin.Node != s.deps.Process.Node {
				continue
			}
		}
		switch {
		case there[l.Runtime.String()]:
			if back && l.Quarantined {
				err = ignore(s.deps.Commands.RetryCleanup(ctx, s.me(uuid.Nil), id))
			}
		case v.began.Before(s.reaper.gone.note(sight{place: v.key, id: l.Runtime.UUID}, v.began).Add(s.opts.ReapInterval)):
		default:
			err = ignore(s.deps.Commands.SettleRuntime(ctx, s.me(uuid.Nil), l.Runtime, leak.ProofAbsent))
		}
		if err != nil && !refused(err) {
			s.log.Warn("a stuck lease could not be settled", "lease", id, "error", err)
		}
	}
}

func ignore[T any](_ T, err error) error { return err }

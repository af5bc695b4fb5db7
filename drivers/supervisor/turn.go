package supervisor

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"sync"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/eventstore"
)

// standing is who has what, as far as this process knows. It is read with each beat; what is out of date in it only costs
// time, since the log refuses who acts on a partition that another one has.
type standing struct {
	partitions []eventstore.Partition
	processes  []eventstore.Process
	byID       map[domain.WorkerID]*eventstore.Process
	// watched are the partitions of which this process looks at events and deadlines: its own, and those of owners that
	// lack a driver which it has.
	watched [eventstore.PartitionCount]bool
}

func (t *standing) list() (watched []int) {
	for n, is := range t.watched {
		if is {
			watched = append(watched, n)
		}
	}
	return watched
}

// shareTries bounds how often one look at the partitions is repeated because somebody else was faster.
const shareTries = 5

// share looks at who has what and takes this process's share of the partitions. gained says that it got some.
func (s *Supervisor) share(ctx context.Context) (gained bool, err error) {
	for range shareTries {
		now := &standing{byID: map[domain.WorkerID]*eventstore.Process{}}
		if now.processes, err = s.everyone(ctx); err != nil {
			return gained, err
		}
		if now.partitions, err = s.deps.Partitions.Partitions(ctx); err != nil {
			return gained, err
		}
		for i := range now.processes {
			now.byID[now.processes[i].ID] = &now.processes[i]
		}
		me := s.deps.Process.ID
		for n, p := range now.partitions {
			owner := now.byID[p.Owner]
			now.watched[n] = p.Owner == me || owner != nil && owner.Alive && lacks(owner.Serves, s.serves())
		}
		s.standing.Store(now)
		want := eventstore.Shares(me, now.partitions, now.processes)
		if len(want) == 0 {
			return gained, nil
		}
		taken, err := s.deps.Partitions.TakePartitions(ctx, me, want)
		if err != nil {
			return gained, err
		}
		gained = gained || len(taken) > 0
	}
	return gained, nil
}

// lacks reports whether a list lacks anything of another.
func lacks(list, of []string) bool {
	return slices.ContainsFunc(of, func(what string) bool { return !slices.Contains(list, what) })
}

// serves are the drivers whose runtimes this process can make.
func (s *Supervisor) serves() []string {
	if s.deps.Serves == nil {
		return s.deps.Drivers.Names()
	}
	return s.deps.Serves()
}

// matter is what a stream is about, as far as it decides who acts on it.
type matter struct {
	// of is the lease, or whatever else the stream belongs to.
	of uuid.UUID
	// node is where the runtime is, if it can be driven there only.
	node domain.NodeID
	// target is who drives; the zero one for what needs no driver.
	target drivers.Target
}

// turn reports whether this process is to act on a matter, and by which right: the one whose node the runtime is on; if that
// node is lost, the owner of the partition, which calls no driver. All else is for the owner too, or in its place, if it lacks
// the driver, for one that has it.
func (s *Supervisor) turn(ctx context.Context, m matter) (right *eventstore.Ownership, mine bool, err error) {
	if m.node == s.deps.Process.Node && !m.node.IsZero() {
		return nil, true, nil
	}
	if !m.node.IsZero() {
		where, err := s.whereIs(ctx, m.node)
		if err != nil || where == nodeAlive || where == nodeAway {
			return nil, false, err
		}
		m.target = drivers.Target{} // nobody can drive it
	}
	now := s.standing.Load()
	partition := now.partitions[eventstore.PartitionOf(m.of)]
	right = &eventstore.Ownership{Partition: partition.N, Epoch: partition.Epoch}
	if m.target.Driver == "" {
		return right, partition.Owner == s.deps.Process.ID, nil
	}
	owner := now.byID[partition.Owner]
	if owner == nil || !owner.Alive {
		return nil, false, nil // somebody takes the partition soon
	}
	if has(owner.Serves, m.target) {
		return right, owner.ID == s.deps.Process.ID, nil
	}
	other := now.instead(m)
	if other == nil {
		// One that has it may just have come. If there is none, the owner finds that out.
		if _, err := s.share(ctx); err != nil {
			return nil, false, err
		}
		if other = s.standing.Load().instead(m); other == nil {
			other = owner
		}
	}
	return right, other.ID == s.deps.Process.ID, nil
}

// has reports whether a list of drivers has the one of a target: by its name, by its provider, or by the very version of
// the plugin that made the runtime.
func has(serves []string, t drivers.Target) bool {
	if slices.Contains(serves, t.Driver) {
		return true
	}
	name := t.Driver + "/" + t.Provider
	if t.Plugin.Version == "" {
		return slices.Contains(serves, name)
	}
	return slices.Contains(serves, name+"@"+t.Plugin.Version) || slices.Contains(serves, name+"@*")
}

// instead chooses who acts in place of an owner that lacks the driver: each process that has it gets its part, and all find
// the same one.
func (t *standing) instead(m matter) *eventstore.Process {
	var chosen *eventstore.Process
	var highest [sha256.Size]byte
	for i := range t.processes {
		p := &t.processes[i]
		if !p.Drives() || !has(p.Serves, m.target) {
			continue
		}
		if h := sha256.Sum256(slices.Concat(p.ID.UUID[:], m.of[:])); chosen == nil || bytes.Compare(h[:], highest[:]) > 0 {
			chosen, highest = p, h
		}
	}
	return chosen
}

// errElsewhere says that another process is to act.
var errElsewhere = errors.New("it is another process's turn")

// residents are the leases whose runtimes are on this node and can be driven here only: their events concern this process
// whoever owns their partitions.
type residents struct {
	mu     sync.Mutex
	leases map[uuid.UUID]struct{}
}

func (r *residents) add(lease uuid.UUID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.leases == nil {
		r.leases = map[uuid.UUID]struct{}{}
	}
	r.leases[lease] = struct{}{}
}

func (r *residents) remove(lease uuid.UUID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.leases, lease)
}

func (r *residents) has(lease uuid.UUID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.leases[lease]
	return ok
}

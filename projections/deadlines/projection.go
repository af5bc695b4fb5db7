// Package deadlines is the read model of what is to be done: one row for each lease, command, probe and installation that
// somebody must act on, with what and when.
//
// It is a level, not an edge: whoever reads it acts on what stands there now, so that a lost wake-up only delays, and a
// rebuild repeats nothing. Streams that wait for nobody (a lease in the queue) have a row of kind [KindNone], which no
// question answers with.
package deadlines

import (
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/environment"
	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/install"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/probe"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/projections"
)

// Kind is what is to be done.
type Kind string

// The kinds.
const (
	// KindNone: nothing, for now.
	KindNone Kind = ""
	// KindQueue: a lease that waits for a slot gives up at DueAt.
	KindQueue Kind = "queue"
	// KindProvision: a lease needs its runtime made, or is having it made by Worker until DueAt.
	KindProvision Kind = "provision"
	// KindExpire: an active lease runs out at DueAt, or is to be warned then that it will. Gaps in which nobody could renew
	// move that; see [Expiring].
	KindExpire Kind = "expire"
	// KindRelease: a lease's runtime is to be taken down, or is being taken down by Worker until DueAt.
	KindRelease Kind = "release"
	// KindRetain: a runtime that is kept for another lease goes at DueAt.
	KindRetain Kind = "retain"
	// KindNode: a lease's runtime is to be taken down once its node is back. It is due for that node only; see [Waiting].
	KindNode Kind = "node"
	// KindExec: a command is to be run; or Worker has it, then it is due only by that worker's death.
	KindExec Kind = "exec"
	// KindKill: Worker is to end a command.
	KindKill Kind = "kill"
	// KindProbe: an environment is to be tried, or is being tried by Worker until DueAt.
	KindProbe Kind = "probe"
	// KindInstall: a plugin is to be installed, by the node that has it.
	KindInstall Kind = "install"
	// KindRetire: the leases of an environment are to be taken down, and then it ends.
	KindRetire Kind = "retire"
)

func (k Kind) String() string { return string(k) }

// Deadline is what one stream needs. Exactly one of the states is there; an environment needs none, since its last event
// says all.
type Deadline struct {
	// ID is that of the lease, the command, or what else it is.
	ID      uuid.UUID
	Company domain.CompanyID
	Kind    Kind
	// DueAt is when somebody must act; zero for what is due only by the death of its worker.
	DueAt time.Time
	// Worker has claimed it; zero for nobody.
	Worker domain.WorkerID
	// Partition says whose it is to act, and Node where the runtime is, if it can be driven there only.
	Partition int
	Node      domain.NodeID

	LeaseState   *lease.State
	ExecState    *execution.State
	ProbeState   *probe.State   `json:",omitempty"`
	InstallState *install.State `json:",omitempty"`
}

// Row is a deadline and its place in the log; the category of its stream says what it is of.
type Row = projections.Row[Deadline]

// Model is the read model.
var Model = &projections.Definition[Deadline]{
	Name: "deadlines", Revision: 5,
	Categories: []string{lease.Category, execution.Category, probe.Category, install.Category, environment.Category},
	Columns: []projections.Column[Deadline]{
		{Name: "company_id", Type: "uuid", Of: func(d *Deadline) any { return d.Company.UUID }},
		{Name: "kind", Type: "text NOT NULL", Of: func(d *Deadline) any { return d.Kind.String() }},
		{Name: "due_at", Type: "timestamptz", Of: func(d *Deadline) any { return d.DueAt }},
		{Name: "worker_id", Type: "uuid", Of: func(d *Deadline) any { return d.Worker.UUID }},
		{Name: "used_at", Type: "timestamptz", Of: usedAt},
		{Name: "hard_at", Type: "timestamptz", Of: hardAt},
		{Name: "partition", Type: "bigint NOT NULL", Of: func(d *Deadline) any { return int64(d.Partition) }},
		{Name: "node_id", Type: "uuid", Of: func(d *Deadline) any { return d.Node.UUID }},
	},
	Indexes: []string{
		"(due_at) WHERE kind <> 'expire' AND due_at IS NOT NULL", "(due_at, used_at, hard_at, partition) WHERE kind = 'expire'",
		"(worker_id) WHERE worker_id IS NOT NULL", "(node_id) WHERE node_id IS NOT NULL",
		"(node_id) WHERE kind = 'node'",
	},
	Apply: apply,
	Clone: func(d *Deadline) {
		d.LeaseState, d.ExecState = clone(d.LeaseState), clone(d.ExecState)
		d.ProbeState, d.InstallState = clone(d.ProbeState), clone(d.InstallState)
	},
	Tidy: func(d *Deadline) {
		if d.LeaseState != nil {
			projections.Absent(&d.LeaseState.Config, &d.LeaseState.Metadata)
		}
		if d.ProbeState != nil {
			projections.Absent(&d.ProbeState.Request.Config)
		}
	},
}

func clone[T any](of *T) *T {
	if of == nil {
		return nil
	}
	c := *of
	return &c
}

func apply(d *Deadline, e *projections.Event) (bool, error) {
	var err error
	if d.ID, err = e.Stream.ID(); err != nil {
		return false, err
	}
	d.Kind, d.DueAt, d.Worker = KindNone, time.Time{}, domain.WorkerID{}
	d.Partition = eventstore.PartitionOf(d.ID)
	switch e.Stream.Category() {
	case lease.Category:
		return applyLease(d, e)
	case execution.Category:
		return applyExec(d, e)
	case probe.Category:
		return applyProbe(d, e)
	case environment.Category:
		return applyEnvironment(d, e)
	default:
		return applyInstall(d, e)
	}
}

func applyLease(d *Deadline, e *projections.Event) (bool, error) {
	if d.LeaseState == nil {
		d.LeaseState = &lease.State{}
	}
	s := d.LeaseState
	if err := projections.Take(s, e, lease.Codec, lease.Evolve); err != nil {
		return false, err
	}
	d.Company, d.Node = s.Company, s.Node
	status := s.Status()
	switch {
	case s.Attempting && !status.Ended():
		d.Kind, d.Worker, d.DueAt = KindProvision, s.Worker, s.Deadline
	case s.TearingDown:
		d.Kind, d.Worker, d.DueAt = KindRelease, s.Worker, s.Deadline
	case s.Kept:
		d.Kind, d.DueAt = KindRetain, s.KeptUntil
	case s.Awaiting():
		d.Kind = KindNode
	case s.NeedsTeardown():
		d.Kind, d.DueAt = KindRelease, orNow(s.TeardownRetryAt, e)
	case status == lease.StatusActive:
		d.Kind, d.DueAt = KindExpire, s.NextDeadline()
	case status == lease.StatusRequested && !s.QueueDeadline().IsZero():
		d.Kind, d.DueAt = KindQueue, s.QueueDeadline()
	case status == lease.StatusGranted:
		d.Kind, d.DueAt = KindProvision, e.RecordedAt
	case status == lease.StatusProvisioning:
		d.Kind, d.DueAt = KindProvision, orNow(s.RetryAt, e)
	}
	return !s.Over(), nil
}

// orNow is at, or the time of the event that made it due at once.
func orNow(at time.Time, e *projections.Event) time.Time {
	if at.IsZero() {
		return e.RecordedAt
	}
	return at
}

func applyExec(d *Deadline, e *projections.Event) (bool, error) {
	if d.ExecState == nil {
		d.ExecState = &execution.State{}
	}
	s := d.ExecState
	if err := projections.Take(s, e, execution.Codec, execution.Evolve); err != nil {
		return false, err
	}
	d.Company, d.Node = s.Request.Company, s.Request.Node
	d.Partition = eventstore.PartitionOf(s.Request.Lease.UUID)
	switch s.Status {
	case execution.StatusRequested:
		d.Kind, d.DueAt = KindExec, e.RecordedAt
	case execution.StatusClaimed, execution.StatusRunning:
		d.Kind, d.Worker = KindExec, s.Worker
		if s.Killing {
			d.Kind, d.DueAt = KindKill, e.RecordedAt
		}
	case execution.StatusNone, execution.StatusEnded:
		return false, nil
	}
	return true, nil
}

func applyProbe(d *Deadline, e *projections.Event) (bool, error) {
	if d.ProbeState == nil {
		d.ProbeState = &probe.State{}
	}
	s := d.ProbeState
	if err := projections.Take(s, e, probe.Codec, probe.Evolve); err != nil {
		return false, err
	}
	d.Company = s.Request.Company
	switch s.Status {
	case probe.StatusRequested:
		d.Kind, d.DueAt = KindProbe, e.RecordedAt
	case probe.StatusClaimed:
		d.Kind, d.Worker, d.DueAt = KindProbe, s.Worker, s.Deadline
	case probe.StatusNone, probe.StatusCompleted:
		return false, nil
	}
	return true, nil
}

func applyInstall(d *Deadline, e *projections.Event) (bool, error) {
	if d.InstallState == nil {
		d.InstallState = &install.State{}
	}
	s := d.InstallState
	if err := projections.Take(s, e, install.Codec, install.Evolve); err != nil {
		return false, err
	}
	d.Kind, d.DueAt, d.Node = KindInstall, e.RecordedAt, s.Request.Node
	return s.Status == install.StatusRequested, nil
}

// applyEnvironment looks at the event alone: while an environment retires nothing else happens to it.
func applyEnvironment(d *Deadline, e *projections.Event) (bool, error) {
	var s environment.State
	if err := projections.Take(&s, e, environment.Codec, environment.Evolve); err != nil {
		return false, err
	}
	d.Kind, d.DueAt = KindRetire, e.RecordedAt
	return s.Status.Retiring(), nil
}

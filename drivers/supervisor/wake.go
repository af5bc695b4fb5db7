package supervisor

import (
	"context"
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/environment"
	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/install"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/probe"
	"github.com/tenure-dev/tenure/eventstore"
)

// wakers are the events after which somebody has to act at once. Everything else is for the sweep.
var wakers = func(events ...domain.Event) map[string]bool {
	m := map[string]bool{}
	for _, e := range events {
		m[e.EventName()] = true
	}
	return m
}(
	lease.Granted{}, lease.ReleaseRequested{}, lease.Failed{}, lease.ProvisioningAbandoned{}, lease.RetentionEnded{},
	lease.CleanupRetryRequested{}, lease.NodeLost{},
	execution.Requested{}, execution.KillRequested{}, probe.Requested{}, install.Requested{}, environment.RetirementRequested{},
)

// Notify takes note of an event and returns at once.
func (s *Supervisor) Notify(r eventstore.Recorded) {
	if isForgetting(r) {
		signal(s.gained) // whatever of this process's partitions is there has something to do
	}
	if wakers[r.Name] && s.concerns(r) || s.endedElsewhere(r) {
		s.queueOf(r.Stream).add(r.Stream, r.AppendID)
	}
}

// concerns reports whether an event may be for this process to act on. Whether it is, the step finds out, which knows more;
// here most of what is for others is left out without a look at the log.
func (s *Supervisor) concerns(r eventstore.Recorded) bool {
	now := s.standing.Load()
	if now == nil {
		return false // not started: the first sweep finds it
	}
	of, err := r.Stream.ID()
	if err != nil {
		return false
	}
	switch r.Name {
	case execution.Requested{}.EventName():
		var x execution.Requested
		if json.Unmarshal(r.Payload, &x) != nil || x.Node == s.deps.Process.Node {
			return true
		}
		of = x.Lease.UUID
	case execution.KillRequested{}.EventName(), install.Requested{}.EventName():
		return true // seldom, and the event does not say enough
	}
	return now.watched[eventstore.PartitionOf(of)] || s.residents.has(of)
}

// endedElsewhere reports whether somebody else says that a command which this process runs has ended: it was taken for
// dead, and its claims are another's.
func (s *Supervisor) endedElsewhere(r eventstore.Recorded) bool {
	if r.Name != (execution.Ended{}).EventName() || r.By.Actor == s.actor() {
		return false
	}
	id, err := r.Stream.ID()
	return err == nil && s.execs.has(domain.ExecID{UUID: id})
}

// queueOf keeps leases, commands and the rest apart, so that a kill never waits behind slow provisioning.
func (s *Supervisor) queueOf(stream eventstore.Stream) *queue {
	switch stream.Category() {
	case execution.Category:
		return s.commands
	case probe.Category, install.Category, environment.Category:
		return s.others
	}
	return s.leases
}

func (s *Supervisor) later(stream eventstore.Stream, cause uuid.UUID, at time.Time) {
	s.queueOf(stream).addAfter(stream, cause, max(at.Sub(s.now()), 0))
}

func (s *Supervisor) stepLoop(q *queue) {
	for {
		stream, cause, ok := q.take()
		if !ok {
			return
		}
		s.step(stream, cause)
		q.done(stream)
	}
}

// errorPause is how long a stream rests after its step failed for a reason that is not its own, such as a database that
// is away.
const errorPause = time.Second

func (s *Supervisor) step(stream eventstore.Stream, cause uuid.UUID) {
	if !s.mayStep(stream) {
		s.later(stream, cause, s.now().Add(drivingPause))
		return
	}
	id, err := stream.ID()
	if err == nil {
		switch stream.Category() {
		case lease.Category:
			err = s.stepLease(s.work, domain.LeaseID{UUID: id}, cause)
		case execution.Category:
			err = s.stepExec(s.work, domain.ExecID{UUID: id}, cause)
		case probe.Category:
			err = s.stepProbe(s.work, domain.ProbeID{UUID: id}, cause)
		case environment.Category:
			err = s.stepRetire(s.work, domain.EnvironmentID{UUID: id}, cause)
		case install.Category:
			err = s.stepInstall(s.work, domain.InstallID{UUID: id}, cause)
		}
	}
	if err == nil || refused(err) || s.work.Err() != nil {
		return
	}
	if notDriven(err) {
		s.later(stream, cause, s.now().Add(drivingPause))
		return
	}
	s.log.Warn("a step failed; it will be repeated", "stream", stream, "error", err)
	s.later(stream, cause, s.now().Add(errorPause))
}

// dead reports whether a worker is gone. It asks afresh: a process registers before its first claim.
func (s *Supervisor) dead(ctx context.Context, worker domain.WorkerID) (bool, error) {
	if worker == s.deps.Process.ID {
		return false, nil
	}
	processes, err := s.everyone(ctx)
	if err != nil {
		return false, err
	}
	for _, p := range processes {
		if p.ID == worker {
			return !p.Alive, nil
		}
	}
	return true, nil
}

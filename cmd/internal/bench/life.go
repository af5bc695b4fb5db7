package main

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/eventstore"
)

// fact is an event without a place.
type fact struct {
	name     string
	revision int
	payload  []byte
}

// newLife is the whole life of a lease, decided as the engine does. The payloads name no lease, so one life serves many.
func newLife(run int) ([]fact, error) {
	request := requested()
	request.Run = fmt.Sprintf("run-%d", run)
	runtime, worker := domain.RuntimeID{UUID: newID()}, domain.WorkerID{UUID: newID()}
	now := time.Date(2026, 1, 2, 3, 4, 5, 678_000, time.UTC)
	deadline := now.Add(time.Minute)
	var facts []fact
	state := lease.Decider.Initial()
	for _, c := range []lease.Command{
		lease.Request{Requested: request},
		lease.Grant{Slot: 1},
		lease.StartProvisioning{Runtime: runtime, Worker: worker, Now: now, Deadline: deadline},
		lease.Provision{
			Attempt: 1, Worker: worker, Acquisition: lease.AcquisitionCreated, Now: now,
			Metadata: drivers.Metadata(map[string]any{"driver": noopName, "root": "/srv/work/0190f000"}),
		},
		lease.Renew{Now: deadline},
		lease.Release{Reason: lease.ReasonReleased},
		lease.StartRelease{Worker: worker, Now: deadline, Deadline: deadline.Add(time.Minute)},
		lease.FinishRelease{Attempt: 1, Worker: worker},
	} {
		events, err := lease.Decider.Decide(state, c)
		if err != nil {
			return nil, fmt.Errorf("make up a lease: %T: %w", c, err)
		}
		for _, e := range events {
			name, revision, payload, err := lease.Codec.Encode(e)
			if err != nil {
				return nil, err
			}
			facts = append(facts, fact{name, revision, payload})
			state = lease.Decider.Evolve(state, e, domain.Meta{Position: int64(len(facts)), Version: int64(len(facts)), Epoch: 1, At: now})
		}
	}
	return facts, nil
}

// newLives are lives of different runs.
func newLives() ([][]fact, error) {
	lives := make([][]fact, 16)
	for i := range lives {
		var err error
		if lives[i], err = newLife(i); err != nil {
			return nil, err
		}
	}
	return lives, nil
}

// imported is an append that brings a whole life at once, behind whatever else waits.
func imported(life []fact) eventstore.Append {
	stream := eventstore.StreamOf(lease.Category, newID())
	a := eventstore.Append{
		ID: newID(), Lane: eventstore.LaneBulk, Expect: []eventstore.Expectation{{Stream: stream, Expect: eventstore.NoStream}},
		By: eventstore.Attribution{Request: uuid.New()},
	}
	for _, f := range life {
		a.Events = append(a.Events, eventstore.NewEvent{Stream: stream, Name: f.name, Revision: f.revision, Company: company, Payload: f.payload})
	}
	return a
}

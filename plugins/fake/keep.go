package fake

import (
	"context"
	"fmt"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/fake/program"
)

// hold is who has a runtime.
func (e Entry) hold() drivers.Hold { return drivers.Hold{Fence: e.Fence, Kept: e.Kept} }

// kept finds the very runtime of this name: the provider's own, which no two runtimes ever have.
func (d *Driver) kept(s *state, runtimeID, installation string, id *string) (Entry, error) {
	if id != nil {
		if e, ok := s.live[*id]; ok && e.Provider == KeyOf(d.class) {
			if e.RuntimeID != runtimeID && runtimeID != "" || e.Installation != installation {
				return e, fmt.Errorf("%w: %s is another's", drivers.ErrMismatch, *id)
			}
			return e, nil
		}
	}
	if d.class == drivers.ClassIdempotent {
		for _, e := range d.find(s, runtimeID, nil) {
			return e, fmt.Errorf("%w: it is %s", drivers.ErrMismatch, e.ID)
		}
	}
	return Entry{}, drivers.ErrGone
}

// Keep implements [drivers.Keeper].
func (d *Driver) Keep(ctx context.Context, req drivers.KeepRequest) error {
	c, err := decodeConfig(req.Config)
	if err != nil {
		return drivers.BadConfig(err)
	}
	cl, err := d.world.begin(VerbKeep, d.nameOf(req.Handle), c)
	if err != nil {
		return err
	}
	if err := cl.at(ctx, PlaceBefore); err != nil {
		return err
	}
	var refused error
	var e Entry
	var older []*program.Run
	failed := d.world.ledger.update(func(s *state) []Entry {
		if e, refused = d.kept(s, req.RuntimeID, req.Installation, req.ProviderLeaseID); refused == nil {
			refused = e.hold().Yields(req.Fence)
		}
		older = d.world.running(e.ID) // in one step: no later ones can be of this holder, and none of a newer one
		if refused != nil || e.Kept && e.Fence == req.Fence {
			return nil
		}
		return []Entry{{Op: OpKeep, ID: e.ID, RuntimeID: e.RuntimeID, LeaseID: req.LeaseID, Fence: req.Fence, Kept: true}}
	})
	switch {
	case failed != nil:
		return ledgerFailed(failed)
	case refused != nil:
		return drivers.Lost(refused)
	}
	endAll(older, "lease_released")
	if err := cl.at(ctx, PlaceAfter); err != nil {
		return err
	}
	return cl.at(ctx, PlaceReply)
}

// Resume implements [drivers.Keeper].
func (d *Driver) Resume(ctx context.Context, req drivers.ResumeRequest) (drivers.Runtime, error) {
	c, err := decodeConfig(req.Config)
	if err != nil {
		return drivers.Runtime{}, drivers.BadConfig(err)
	}
	cl, err := d.world.begin(VerbResume, d.nameOf(drivers.Handle{RuntimeID: req.RuntimeID, ProviderLeaseID: req.ProviderLeaseID}), c)
	if err != nil {
		return drivers.Runtime{}, err
	}
	if err := cl.at(ctx, PlaceBefore); err != nil {
		return drivers.Runtime{}, err
	}
	var refused error
	var e Entry
	var older []*program.Run
	failed := d.world.ledger.update(func(s *state) []Entry {
		if e, refused = d.kept(s, req.RuntimeID, req.Installation, req.ProviderLeaseID); refused == nil {
			refused = e.hold().Yields(req.Fence)
		}
		if refused != nil || !e.Kept && e.Fence == req.Fence && e.LeaseID == req.LeaseID {
			return nil
		}
		held := Entry{
			Op: OpHold, ID: e.ID, RuntimeID: e.RuntimeID, LeaseID: req.LeaseID, Epoch: req.Epoch, Fence: req.Fence, RunID: req.RunID,
			Attempt: req.Attempt, Reused: e.Reused || e.LeaseID != req.LeaseID,
		}
		e.Reused = held.Reused
		older = d.world.running(e.ID) // what starts from here on is the new holder's
		return []Entry{held}
	})
	switch {
	case failed != nil:
		return drivers.Runtime{}, ledgerFailed(failed)
	case refused != nil:
		return drivers.Runtime{}, refused
	}
	endAll(older, "lease_released")
	for _, p := range []Place{PlaceAfter, PlaceReply} {
		if err := cl.at(ctx, p); err != nil {
			return drivers.Runtime{}, err
		}
	}
	return e.runtime(true, ""), nil
}

// Lose takes a runtime away by the engine's id or its own, as somebody does who knows nothing of its holders.
func (w *World) Lose(name string) error {
	return w.ledger.update(func(s *state) (entries []Entry) {
		for _, e := range s.Live() {
			if e.RuntimeID == name || e.ID == name {
				entries = append(entries, Entry{Op: OpDestroy, ID: e.ID, RuntimeID: e.RuntimeID})
			}
		}
		return entries
	})
}

// Usurp loses the runtimes of an id and makes something else of that name.
func (w *World) Usurp(runtimeID, id string) error {
	if err := w.Lose(runtimeID); err != nil {
		return err
	}
	return w.ledger.update(func(*state) []Entry {
		return []Entry{{Op: OpCreate, ID: id, Provider: KeyOf(drivers.ClassIdempotent), RuntimeID: runtimeID, Installation: "somebody else"}}
	})
}

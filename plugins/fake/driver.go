package fake

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/drivers"
)

// Driver is the provider of one class.
type Driver struct {
	world *World
	class drivers.Class
}

// Describe implements [drivers.Driver].
func (d *Driver) Describe() drivers.Description {
	return drivers.Description{
		Name: KeyOf(d.class), Provider: KeyOf(d.class), Class: d.class, Isolation: "none",
		Capabilities: drivers.Capabilities{Exec: true, List: d.class != drivers.ClassBlind, CheckConfig: true, Probe: true, Keep: true},
	}
}

// CheckConfig implements [drivers.ConfigChecker].
func (d *Driver) CheckConfig(config json.RawMessage) error {
	_, err := decodeConfig(config)
	return err
}

// Acquire implements [drivers.Driver].
func (d *Driver) Acquire(ctx context.Context, req drivers.AcquireRequest) (drivers.Runtime, error) {
	c, err := decodeConfig(req.Config)
	if err != nil {
		return drivers.Runtime{}, drivers.BadConfig(err)
	}
	if d.class != drivers.ClassBlind && req.RuntimeID == "" {
		return drivers.Runtime{}, &drivers.Failure{
			Outcome: drivers.OutcomeDefinite, Code: "bad_runtime_id", Step: "check_id",
			Remediation: "use a host that speaks the tenure extension, or the provider fake-blind",
			Err:         errors.New("the request names no runtime"),
		}
	}
	if err := context.Cause(ctx); err != nil {
		return drivers.Runtime{}, &drivers.Failure{Outcome: drivers.OutcomeRetryable, Code: "canceled", Step: "acquire", Err: err, Remediation: "ask again, if it is still wanted"}
	}
	cl, err := d.world.begin(VerbAcquire, cmp.Or(req.RuntimeID, req.EnvironmentID+" "+req.RunID), c)
	if err != nil {
		return drivers.Runtime{}, err
	}
	cl.blind = d.class != drivers.ClassIdempotent
	if err := cl.at(ctx, PlaceBefore); err != nil {
		return drivers.Runtime{}, err
	}
	e, resumed, err := d.provide(req, c, cl)
	if err != nil {
		return drivers.Runtime{}, err
	}
	for _, p := range []Place{PlaceAfter, PlaceReply} {
		if err := cl.at(ctx, p); err != nil {
			return drivers.Runtime{}, err
		}
	}
	return e.runtime(resumed, cl.padding()), nil
}

// provide makes a runtime, or finds the one of this id.
func (d *Driver) provide(req drivers.AcquireRequest, c config, cl *call) (e Entry, resumed bool, err error) {
	fresh := Entry{
		Op: OpCreate, ID: "sandbox://fake/" + req.RunID + "/" + uuid.NewString(), Provider: KeyOf(d.class),
		RuntimeID: req.RuntimeID, Installation: req.Installation, LeaseID: req.LeaseID, CompanyID: req.CompanyID,
		EnvironmentID: req.EnvironmentID, RunID: req.RunID, Epoch: req.Epoch, Fence: req.Fence, Attempt: req.Attempt,
		Image: c.Image, ReuseLease: c.ReuseLease, DestroyFails: cl.destroyFails(),
	}
	var refused error
	failed := d.world.ledger.update(func(s *state) []Entry {
		if d.class == drivers.ClassIdempotent {
			if found := d.find(s, req.RuntimeID, nil); len(found) > 0 {
				e, resumed = found[0], true
				return hold(&e, req, &refused)
			}
		}
		e = fresh
		return []Entry{fresh}
	})
	if failed != nil {
		return e, false, ledgerFailed(failed)
	}
	return e, resumed, refused
}

// hold gives a runtime that exists to the holder that asks for it, unless it is a newer one's or another installation's.
func hold(e *Entry, req drivers.AcquireRequest, refused *error) []Entry {
	refuse := func(code, why string) {
		*refused = &drivers.Failure{
			Outcome: drivers.OutcomeAmbiguous, Code: code, Step: "find", Err: errors.New(why),
			Remediation: "look at the ledger of the fake provider and release the runtime if nobody needs it",
		}
	}
	switch {
	case e.Installation != req.Installation:
		refuse("foreign_runtime", "a runtime of this id belongs to another installation")
	case e.Fence > req.Fence:
		refuse(drivers.CodeStaleFence, fmt.Sprintf("the runtime is held with fence %d, newer than %d", e.Fence, req.Fence))
	case e.Fence == req.Fence && e.Kept:
		refuse(drivers.CodeStaleFence, "the runtime was given back by this holder")
	case e.Fence < req.Fence || e.LeaseID != req.LeaseID:
		held := Entry{
			Op: OpHold, ID: e.ID, RuntimeID: e.RuntimeID, LeaseID: req.LeaseID, Epoch: req.Epoch, Fence: req.Fence, RunID: req.RunID,
			Attempt: req.Attempt, Reused: e.Reused || e.LeaseID != req.LeaseID,
		}
		e.Reused = held.Reused
		return []Entry{held}
	}
	return nil
}

// find returns the runtimes of this driver that go by the name: an id of the engine, or, where the class knows none, the
// one that the provider gave.
func (d *Driver) find(s *state, runtimeID string, id *string) (found []Entry) {
	var ids []string
	switch {
	case d.class != drivers.ClassBlind && runtimeID != "":
		ids = s.named[runtimeID]
	case id != nil:
		ids = []string{*id}
	}
	for _, id := range ids {
		if e, ok := s.live[id]; ok && e.Provider == KeyOf(d.class) {
			found = append(found, e)
		}
	}
	return found
}

func (e Entry) runtime(resumed bool, padding string) drivers.Runtime {
	metadata := map[string]any{
		"provider": e.Provider, "image": e.Image, "reuseLease": e.ReuseLease, "resumedLease": e.Reused,
	}
	if padding != "" {
		metadata["padding"] = padding
	}
	return drivers.Runtime{ProviderLeaseID: &e.ID, Metadata: drivers.Metadata(metadata), Resumed: resumed}
}

// Release implements [drivers.Driver]. It takes down every runtime of the name.
func (d *Driver) Release(ctx context.Context, req drivers.ReleaseRequest) error {
	c, err := decodeConfig(req.Config)
	if err != nil {
		return drivers.BadConfig(err)
	}
	if d.class == drivers.ClassBlind && req.ProviderLeaseID == nil {
		return &drivers.Failure{
			Outcome: drivers.OutcomeAmbiguous, Code: "no_name", Step: "find",
			Remediation: "look at the ledger of the fake provider", Err: errors.New("a blind provider knows runtimes only by the name it gave them"),
		}
	}
	cl, err := d.world.begin(VerbRelease, d.nameOf(req.Handle), c)
	if err != nil {
		return err
	}
	if err := cl.at(ctx, PlaceBefore); err != nil {
		return err
	}
	if err := d.takeDown(req.Handle); err != nil {
		return err
	}
	if err := cl.at(ctx, PlaceAfter); err != nil {
		return err
	}
	return cl.at(ctx, PlaceReply)
}

// nameOf is the name by which the driver knows a runtime: the engine's id or, where it knows none, its own.
func (d *Driver) nameOf(h drivers.Handle) string {
	if h.ProviderLeaseID != nil && (h.RuntimeID == "" || d.class == drivers.ClassBlind) {
		return *h.ProviderLeaseID
	}
	return h.RuntimeID
}

func (d *Driver) takeDown(h drivers.Handle) error {
	var ids []string
	stuck := ""
	var refused error
	err := d.world.ledger.update(func(s *state) (entries []Entry) {
		// What belongs to another installation is left alone, whatever its name.
		found := slices.DeleteFunc(d.find(s, h.RuntimeID, h.ProviderLeaseID), func(e Entry) bool {
			return h.Installation != "" && e.Installation != h.Installation
		})
		for _, e := range found {
			if refused = e.hold().Yields(h.Fence); refused != nil && h.Fence != 0 {
				return nil
			}
		}
		refused = nil
		for _, e := range found {
			if s.stuck[e.ID] < e.DestroyFails {
				stuck = e.ID
				entries = append(entries, Entry{Op: OpStuck, ID: e.ID})
				continue
			}
			ids = append(ids, e.ID)
			entries = append(entries, Entry{Op: OpDestroy, ID: e.ID, RuntimeID: e.RuntimeID, LeaseID: h.LeaseID, Fence: h.Fence})
		}
		return entries
	})
	for _, id := range ids {
		d.world.endRuns(id, "lease_released")
	}
	if err != nil {
		return ledgerFailed(err)
	}
	if refused != nil {
		return refused
	}
	if stuck != "" {
		return &drivers.Failure{
			Outcome: drivers.OutcomeRetryable, Code: "destroy_failed", Step: "destroy", Remediation: "the release is tried again",
			Err: fmt.Errorf("the script lets %s stay for now", stuck),
		}
	}
	return nil
}

// ListRuntimes implements [drivers.Lister].
func (d *Driver) ListRuntimes(ctx context.Context, req drivers.ListRequest) ([]drivers.ListedRuntime, error) {
	if d.class == drivers.ClassBlind {
		return nil, drivers.ErrUnsupported
	}
	c, err := decodeConfig(req.Config)
	if err != nil {
		return nil, drivers.BadConfig(err)
	}
	cl, err := d.world.begin(VerbList, req.Installation, c)
	if err != nil {
		return nil, err
	}
	if err := cl.at(ctx, PlaceBefore); err != nil {
		return nil, err
	}
	var listed []drivers.ListedRuntime
	if err := d.world.ledger.update(func(s *state) []Entry {
		for _, e := range s.Live() {
			if e.Installation == req.Installation && e.Provider == KeyOf(d.class) {
				listed = append(listed, drivers.ListedRuntime{
					RuntimeID: e.RuntimeID, ProviderLeaseID: &e.ID, LeaseID: e.LeaseID, Epoch: e.Epoch, CreatedAt: e.At,
				})
			}
		}
		return nil
	}); err != nil {
		return nil, ledgerFailed(err)
	}
	if err := cl.at(ctx, PlaceReply); err != nil {
		return nil, err
	}
	return listed, nil
}

// Probe implements [drivers.Prober].
func (d *Driver) Probe(ctx context.Context, req drivers.ProbeRequest) (drivers.ProbeResult, error) {
	c, err := decodeConfig(req.Config)
	if err != nil {
		return drivers.ProbeResult{}, drivers.BadConfig(err)
	}
	cl, err := d.world.begin(VerbProbe, cmp.Or(req.EnvironmentID, req.CompanyID), c)
	if err != nil {
		return drivers.ProbeResult{}, err
	}
	for _, p := range []Place{PlaceBefore, PlaceAfter, PlaceReply} {
		err := cl.at(ctx, p)
		if f, ok := errors.AsType[*drivers.Failure](err); ok && cl.saysBroken() {
			return drivers.ProbeResult{
				Phase: f.Step, Summary: "the environment does not work: " + f.Err.Error(),
				Diagnostics: []drivers.Diagnostic{{
					Severity: drivers.SeverityError, Code: f.Code, Message: f.Err.Error(), Remediation: f.Remediation,
				}},
			}, nil
		}
		if err != nil {
			return drivers.ProbeResult{}, err
		}
	}
	return drivers.ProbeResult{OK: true, Summary: "the fake provider would make a runtime with image " + c.Image}, nil
}

// saysBroken tells a script that lets an environment be broken from one that lets the probe itself fail.
func (c *call) saysBroken() bool {
	for _, s := range c.steps {
		if s.Action == ActionFail {
			return s.Outcome == ""
		}
	}
	return false
}

var (
	_ drivers.Driver        = (*Driver)(nil)
	_ drivers.Executor      = (*Driver)(nil)
	_ drivers.Keeper        = (*Driver)(nil)
	_ drivers.Lister        = (*Driver)(nil)
	_ drivers.Prober        = (*Driver)(nil)
	_ drivers.ConfigChecker = (*Driver)(nil)
)

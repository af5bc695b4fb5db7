// Package fake is a driver in memory for tests: deterministic, scriptable and honest about its class.
//
// It keeps a ledger of what exists "outside", so that a test can say what an engine left behind. Every verb can be made
// to wait, to fail, or to do its work and lose the answer, through [Hooks]. Its commands are Go functions that write real
// journals; echo, cat, false and sleep are built in.
package fake

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/fake/program"
)

// Options of the driver. The zero value is an idempotent driver called fake that can do everything.
type Options struct {
	// Name is the driver's and its provider's; "" is "fake".
	Name string
	// Class is "" for idempotent. The other classes make a runtime anew on every Acquire.
	Class drivers.Class
	// NoExec, NoList, NoCheckConfig, NoProbe and NoKeep leave out a verb.
	NoExec, NoList, NoCheckConfig, NoProbe, NoKeep bool
	Hooks                                          Hooks
	// Commands are looked up by argv[0], before the built-in ones.
	Commands map[string]Command
	// Now is the clock of the ledger; nil is time.Now.
	Now func() time.Time
}

// Hooks run inside the verbs, outside any lock: they may block on a channel until the test lets them go, heed ctx, and
// return the error that the verb is to fail with. A nil hook does nothing.
type Hooks struct {
	// BeforeAcquire fails an Acquire that made nothing.
	BeforeAcquire func(ctx context.Context, req drivers.AcquireRequest) error
	// AfterAcquire fails an Acquire whose runtime exists all the same: a lost or late answer.
	AfterAcquire func(ctx context.Context, req drivers.AcquireRequest) error
	// BeforeRelease fails a Release that took down nothing.
	BeforeRelease func(ctx context.Context, req drivers.ReleaseRequest) error
	// AfterRelease fails a Release that worked.
	AfterRelease func(ctx context.Context, req drivers.ReleaseRequest) error
	// BeforeKeep and BeforeResume fail a Keep or a Resume that did nothing, AfterKeep and AfterResume one that worked.
	BeforeKeep, AfterKeep     func(ctx context.Context, req drivers.KeepRequest) error
	BeforeResume, AfterResume func(ctx context.Context, req drivers.ResumeRequest) error
	// BeforeExec fails a StartExec.
	BeforeExec func(ctx context.Context, req drivers.ExecRequest) error
	// BeforeList fails a list; AfterList comes between what is listed and the answer.
	BeforeList func(ctx context.Context) error
	AfterList  func(ctx context.Context)
	// Probe answers a probe; nil says that it works.
	Probe func(ctx context.Context, req drivers.ProbeRequest) (drivers.ProbeResult, error)
}

// Instance is one runtime in the ledger.
type Instance struct {
	// Serial counts everything that was ever made, from 1.
	Serial int
	// ProviderLeaseID is the instance's name outside.
	ProviderLeaseID string
	// Request is what the holder asked for last.
	Request   drivers.AcquireRequest
	CreatedAt time.Time
	// Hold is who has it; Stopped says that it was kept to use as little as possible.
	Hold    drivers.Hold
	Stopped bool
}

// Driver is the fake.
type Driver struct {
	opts Options

	mu        sync.Mutex
	live      map[int]Instance
	made      int
	released  int
	execs     map[*program.Run]string // with their runtimes
	nextPID   int
	startTime uint64
}

// New returns a driver with an empty ledger.
func New(opts Options) *Driver {
	opts.Name = cmp.Or(opts.Name, "fake")
	opts.Class = cmp.Or(opts.Class, drivers.ClassIdempotent)
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &Driver{opts: opts, live: make(map[int]Instance), execs: make(map[*program.Run]string)}
}

// Describe implements [drivers.Driver].
func (d *Driver) Describe() drivers.Description {
	return drivers.Description{
		Name: d.opts.Name, Provider: d.opts.Name, Class: d.opts.Class, Isolation: "none",
		Capabilities: drivers.Capabilities{
			Exec: !d.opts.NoExec, List: !d.opts.NoList, CheckConfig: !d.opts.NoCheckConfig, Probe: !d.opts.NoProbe,
			Keep: !d.opts.NoKeep,
		},
	}
}

// Acquire implements [drivers.Driver].
func (d *Driver) Acquire(ctx context.Context, req drivers.AcquireRequest) (drivers.Runtime, error) {
	if err := context.Cause(ctx); err != nil {
		return drivers.Runtime{}, err
	}
	if before := d.opts.Hooks.BeforeAcquire; before != nil {
		if err := before(ctx, req); err != nil {
			return drivers.Runtime{}, err
		}
	}
	rt, err := d.provide(req)
	if err != nil {
		return drivers.Runtime{}, err
	}
	if after := d.opts.Hooks.AfterAcquire; after != nil {
		if err := after(ctx, req); err != nil {
			return drivers.Runtime{}, err
		}
	}
	return rt, nil
}

func (d *Driver) provide(req drivers.AcquireRequest) (drivers.Runtime, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.opts.Class == drivers.ClassIdempotent {
		for serial, i := range d.live {
			if i.Request.RuntimeID == req.RuntimeID {
				if req.Fence < i.Hold.Fence || i.Hold.Kept && req.Fence == i.Hold.Fence {
					return drivers.Runtime{}, &drivers.Failure{
						Outcome: drivers.OutcomeAmbiguous, Code: drivers.CodeStaleFence, Step: "acquire",
						Err:         fmt.Errorf("the runtime is held with fence %d", i.Hold.Fence),
						Remediation: "nothing: the runtime belongs to a newer holder",
					}
				}
				i.Request, i.Hold = req, drivers.Hold{Fence: req.Fence}
				d.live[serial] = i
				return i.runtime(true), nil
			}
		}
	}
	d.made++
	i := Instance{
		Serial: d.made, ProviderLeaseID: fmt.Sprintf("%s://%s/%d", d.opts.Name, req.RuntimeID, d.made), Request: req,
		CreatedAt: d.opts.Now(), Hold: drivers.Hold{Fence: req.Fence},
	}
	d.live[i.Serial] = i
	return i.runtime(false), nil
}

func (i Instance) runtime(resumed bool) drivers.Runtime {
	return drivers.Runtime{
		ProviderLeaseID: &i.ProviderLeaseID, Metadata: drivers.Metadata(map[string]any{"serial": i.Serial}), Resumed: resumed,
	}
}

// Release implements [drivers.Driver]. It takes down every instance of the runtime.
func (d *Driver) Release(ctx context.Context, req drivers.ReleaseRequest) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if before := d.opts.Hooks.BeforeRelease; before != nil {
		if err := before(ctx, req); err != nil {
			return err
		}
	}
	if err := d.takeDown(req); err != nil {
		return err
	}
	if after := d.opts.Hooks.AfterRelease; after != nil {
		return after(ctx, req)
	}
	return nil
}

func (d *Driver) takeDown(req drivers.ReleaseRequest) error {
	d.mu.Lock()
	var found []int
	for serial, i := range d.live {
		if i.Request.RuntimeID != req.RuntimeID {
			continue
		}
		if err := i.Hold.Yields(req.Fence); err != nil && req.Fence != 0 {
			d.mu.Unlock()
			return err
		}
		found = append(found, serial)
	}
	for _, serial := range found {
		delete(d.live, serial)
		d.released++
	}
	running := d.running(req.RuntimeID)
	d.mu.Unlock()
	end(running)
	return nil
}

// ListRuntimes implements [drivers.Lister].
func (d *Driver) ListRuntimes(ctx context.Context, req drivers.ListRequest) ([]drivers.ListedRuntime, error) {
	if before := d.opts.Hooks.BeforeList; before != nil {
		if err := before(ctx); err != nil {
			return nil, err
		}
	}
	var listed []drivers.ListedRuntime
	for _, i := range d.Live() {
		if i.Request.Installation == req.Installation {
			listed = append(listed, drivers.ListedRuntime{
				RuntimeID: i.Request.RuntimeID, ProviderLeaseID: &i.ProviderLeaseID, LeaseID: i.Request.LeaseID, Epoch: i.Request.Epoch, CreatedAt: i.CreatedAt,
			})
		}
	}
	if after := d.opts.Hooks.AfterList; after != nil {
		after(ctx)
	}
	return listed, nil
}

// Probe implements [drivers.Prober].
func (d *Driver) Probe(ctx context.Context, req drivers.ProbeRequest) (drivers.ProbeResult, error) {
	if probe := d.opts.Hooks.Probe; probe != nil {
		return probe(ctx, req)
	}
	return drivers.ProbeResult{OK: true, Summary: "nothing can go wrong here"}, nil
}

// CheckConfig implements [drivers.ConfigChecker]. The only field is image, a string.
func (d *Driver) CheckConfig(config json.RawMessage) error {
	if len(config) == 0 {
		return nil
	}
	problem := func(field, problem string) error {
		return &drivers.ConfigError{Problems: []drivers.FieldProblem{{
			Field: field, Problem: problem, Remediation: `use {} or {"image": "NAME"}`,
		}}}
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(config, &fields); err != nil || fields == nil {
		return problem("config", "is not a JSON object")
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		var image string
		if name != "image" {
			return problem("config."+name, "is unknown to the driver "+d.opts.Name)
		}
		if err := json.Unmarshal(fields[name], &image); err != nil {
			return problem("config.image", "is not a string")
		}
	}
	return nil
}

// Live is what exists outside, oldest first.
func (d *Driver) Live() []Instance {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.SortedFunc(maps.Values(d.live), func(a, b Instance) int { return cmp.Compare(a.Serial, b.Serial) })
}

// Made counts every instance that was ever made.
func (d *Driver) Made() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.made
}

// Released counts every instance that was taken down.
func (d *Driver) Released() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.released
}

// VanishOne removes one instance by its name outside, as somebody does who is no engine; it is not counted as released.
func (d *Driver) VanishOne(providerLeaseID string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.DeleteFunc(d.live, func(_ int, i Instance) bool { return i.ProviderLeaseID == providerLeaseID })
}

var (
	_ drivers.Driver        = (*Driver)(nil)
	_ drivers.Executor      = (*Driver)(nil)
	_ drivers.Lister        = (*Driver)(nil)
	_ drivers.Prober        = (*Driver)(nil)
	_ drivers.ConfigChecker = (*Driver)(nil)
)

package sim

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/cmd/internal/check"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/fake"
)

// outside is one provider: what it has, what runs there, and its ledger. Every engine reaches it by a [driver] of its own.
type outside struct {
	w    *world
	name string
	core *fake.Driver
	// ledger is what it did.
	ledger check.Ledger
	runs   []*run
	pids   int
	// failing is the part of its answers that are failures, lying that of its lists that are old.
	failing, lying float64
	// born is where the log was when a thing was made.
	born map[string]int64
	// before are its former lists.
	before []listing
}

// listing is what there was until a moment.
type listing struct {
	until time.Time
	live  []fake.Instance
}

// newOutside is a provider that is called after its class.
func newOutside(w *world, class drivers.Class) *outside {
	name := string(class)
	return &outside{
		w: w, name: name, born: map[string]int64{}, core: fake.New(fake.Options{Name: name, Class: class, NoList: class == drivers.ClassBlind}),
		failing: w.plan.failing, lying: w.plan.lying,
		ledger: check.Ledger{Provider: name, Class: check.Class(class), Installation: w.installation.String()},
	}
}

func (o *outside) class() drivers.Class { return o.core.Describe().Class }

// change does something to what there is and writes it into the ledger. by is who asked.
func (o *outside) change(op check.Op, by string, h drivers.Handle, do func() error) error {
	before := o.core.Live()
	err := do()
	after := o.core.Live()
	entry := func(op check.Op, h drivers.Handle, i fake.Instance) {
		e := check.Entry{
			Op: op, At: time.Now(), Thing: i.ProviderLeaseID, Runtime: parse(h.RuntimeID), Installation: h.Installation, Lease: parse(h.LeaseID),
			Fence: h.Fence, By: by,
		}
		o.ledger.Entries = append(o.ledger.Entries, e)
		o.w.trace.note(o.name, "%s %s fence %d", op, i.ProviderLeaseID, h.Fence)
	}
	changed := false
	for _, i := range before {
		if !slices.ContainsFunc(after, func(x fake.Instance) bool { return x.Serial == i.Serial }) {
			changed = true
			ends := check.OpDestroy
			if op == check.OpVanish {
				ends = op
			}
			entry(ends, h, i)
			o.endAll(func(r *run) bool { return r.serial == i.Serial })
		}
	}
	for _, i := range after {
		n := slices.IndexFunc(before, func(x fake.Instance) bool { return x.Serial == i.Serial })
		switch {
		case n < 0 && op == check.OpVanish:
			changed = true
			h := h
			h.Installation, h.LeaseID, h.Fence = i.Request.Installation, "", 0
			entry(check.OpAppear, h, i)
		case n < 0:
			changed = true
			entry(check.OpCreate, h, i)
			o.born[i.ProviderLeaseID] = o.w.head()
		case i.Hold == before[n].Hold:
		case i.Hold.Kept:
			entry(check.OpKeep, h, i)
			o.endAll(func(r *run) bool { return r.serial == i.Serial })
		default:
			entry(check.OpHold, h, i)
			o.endAll(func(r *run) bool { return r.serial == i.Serial && r.fence < i.Hold.Fence })
		}
	}
	if changed {
		o.before = append(o.before, listing{until: time.Now(), live: before})
	}
	return err
}

// listed is what a list shows of a moment.
func (o *outside) listed(at time.Time) []fake.Instance {
	for _, l := range o.before {
		if at.Before(l.until) {
			return l.live
		}
	}
	return o.core.Live()
}

// run is a command that runs.
type run struct {
	o      *outside
	id     string
	serial int
	fence  int64
	pid    int
	done   chan struct{}
	result drivers.ExecResult
}

func (o *outside) start(by string, req drivers.ExecRequest) (*run, error) {
	var found *fake.Instance
	for _, i := range o.core.Live() {
		if i.Request.RuntimeID == req.RuntimeID && (found == nil || req.ProviderLeaseID != nil && i.ProviderLeaseID == *req.ProviderLeaseID) {
			found = &i
		}
	}
	if found == nil {
		return nil, &drivers.StartError{Stage: "runtime", Code: "runtime_gone", Remediation: "acquire a new lease", Err: drivers.ErrGone}
	}
	if err := found.Hold.Admit(req.Fence); err != nil {
		return nil, err
	}
	o.pids++
	r := &run{o: o, id: req.ExecID, serial: found.Serial, fence: req.Fence, pid: o.pids, done: make(chan struct{})}
	o.runs = append(o.runs, r)
	o.ledger.Entries = append(o.ledger.Entries, check.Entry{
		Op: check.OpExec, At: time.Now(), Thing: found.ProviderLeaseID, Runtime: parse(req.RuntimeID), Installation: req.Installation,
		Lease: parse(req.LeaseID), Fence: req.Fence, Exec: parse(req.ExecID), By: by,
	})
	o.w.trace.note(o.name, "exec %s in %s fence %d", req.ExecID, found.ProviderLeaseID, req.Fence)
	takes, err := time.ParseDuration(req.Argv[1])
	if err != nil {
		return nil, &drivers.StartError{Stage: "argv", Code: "bad_argument", Remediation: "give a duration", Err: err}
	}
	result := drivers.ExecResult{End: drivers.ExecExited}
	if req.Timeout > 0 && req.Timeout < takes {
		takes, result.End = req.Timeout, drivers.ExecTimedOut
	}
	o.w.sched.add(&item{what: "end of " + req.ExecID, do: func() { r.end(result) }}, takes)
	return r, nil
}

func (r *run) end(result drivers.ExecResult) {
	select {
	case <-r.done:
		return
	default:
	}
	result.Output.State = drivers.OutputComplete
	r.result = result
	close(r.done)
	r.o.runs = slices.DeleteFunc(r.o.runs, func(x *run) bool { return x == r })
}

// endAll ends commands whose lease has no more say in what they run in.
func (o *outside) endAll(which func(*run) bool) {
	for _, r := range slices.Clone(o.runs) {
		if which(r) {
			r.end(drivers.ExecResult{End: drivers.ExecKilled, Why: "lease_released"})
		}
	}
}

// running is a run as an engine sees it.
type running struct {
	*run
	d *driver
}

var _ drivers.Exec = running{}

func (r running) Process() drivers.Process {
	return drivers.Process{PID: r.pid, StartTime: uint64(r.pid), BootID: "sim"}
}

func (r running) Wait(ctx context.Context) (drivers.ExecResult, error) {
	select {
	case <-r.done:
		return r.result, nil
	case <-r.d.a.died:
		return drivers.ExecResult{}, errDead
	case <-ctx.Done():
		return drivers.ExecResult{}, context.Cause(ctx)
	}
}

func (r running) Kill(ctx context.Context, why string) error {
	_, err := put(ctx, r.o.w.sched, r.d.a, "kill "+r.id, func() (struct{}, error) {
		r.end(drivers.ExecResult{End: drivers.ExecKilled, Why: why})
		return struct{}{}, nil
	})
	return err
}

// driver is an engine's way to a provider.
type driver struct {
	o *outside
	a *actor
}

var (
	_ drivers.Driver   = (*driver)(nil)
	_ drivers.Executor = (*driver)(nil)
	_ drivers.Keeper   = (*driver)(nil)
	_ drivers.Lister   = (*driver)(nil)
	_ drivers.Pruner   = (*driver)(nil)
)

func (d *driver) Describe() drivers.Description {
	about := d.o.core.Describe()
	about.Capabilities.CheckConfig, about.Capabilities.Probe = false, false
	return about
}

// errProvider is what a provider says when it fails.
var errProvider = errors.New("the provider does not work today")

// fate is what becomes of a request at a provider.
type fate int

const (
	works fate = iota
	// refuses does nothing and says so; muddles does nothing and does not know; loses does it and says that it failed.
	refuses
	muddles
	loses
)

// call asks the provider: f happens in its turn, or not, and the answer comes late or never.
func call[T any](ctx context.Context, d *driver, what string, settled func(), f func() (T, error)) (T, error) {
	s, o := d.o.w.sched, d.o
	s.mu.Lock()
	heeds, cancels := s.chance.Float64() < 0.8, s.chance.Float64() < 0.5
	s.mu.Unlock()
	q := &question[T]{done: make(chan struct{})}
	var none T
	dead := func() { q.answer(none, errDead) }
	abandoned, happened := false, false
	settle := func() {
		if settled != nil && !d.a.dead {
			go settled()
		}
	}
	it := &item{what: o.name + " " + what, of: d.a, effect: what != "list", lost: dead}
	it.do = func() {
		happened = true
		fate := o.fate()
		v, err := none, errProvider
		if fate == works || fate == loses {
			if v, err = f(); err == nil && fate == loses {
				v, err = none, errLost
			}
		}
		if fate != works && (errors.Is(err, errProvider) || errors.Is(err, errLost)) {
			err = o.failure(fate, what, err)
		}
		if abandoned {
			settle()
		}
		if it.of == nil || abandoned {
			return
		}
		s.add(&item{what: o.name + " answers " + what, of: d.a, lost: dead, do: func() { q.answer(v, err) }}, o.w.delay())
	}
	if d.a.dead {
		return none, errDead
	}
	s.add(it, o.w.delay())
	if !heeds {
		<-q.done
		return q.value, q.err
	}
	if q.wait(ctx, s, d.a) {
		return q.value, q.err
	}
	abandoned = true
	if !happened && cancels {
		s.remove(it)
		happened = true
	}
	if happened {
		settle()
	}
	return none, context.Cause(ctx)
}

// fate decides what becomes of a request.
func (o *outside) fate() fate {
	if o.w.chance.Float64() >= o.failing {
		return works
	}
	o.w.counts["provider_fails"]++
	return refuses + fate(o.w.chance.IntN(3))
}

// failure is an honest word about what happened.
func (o *outside) failure(f fate, what string, err error) error {
	failure := &drivers.Failure{Outcome: drivers.OutcomeAmbiguous, Code: "provider_failed", Err: err, Remediation: "try again"}
	switch {
	case f == refuses && o.w.chance.IntN(8) == 0 && what == "acquire":
		failure.Outcome = drivers.OutcomeDefinite
	case f == refuses:
		failure.Outcome, failure.NothingMade = drivers.OutcomeRetryable, true
		if o.w.chance.IntN(4) == 0 {
			failure.Code = drivers.CodeNoCapacity
		}
	case o.class() != drivers.ClassBlind && o.w.chance.IntN(2) == 0:
		failure.Outcome = drivers.OutcomeRetryable
	}
	return failure
}

func (d *driver) Acquire(ctx context.Context, req drivers.AcquireRequest) (drivers.Runtime, error) {
	return call(ctx, d, "acquire", req.Settled, func() (rt drivers.Runtime, err error) {
		err = d.o.change(check.OpCreate, d.a.name, handleOf(req), func() error {
			rt, err = d.o.core.Acquire(context.Background(), req)
			return err
		})
		return rt, err
	})
}

func (d *driver) Release(ctx context.Context, req drivers.ReleaseRequest) error {
	_, err := call(ctx, d, "release", nil, func() (struct{}, error) {
		return struct{}{}, d.o.change(check.OpDestroy, d.a.name, req.Handle, func() error { return d.o.core.Release(context.Background(), req) })
	})
	return err
}

func (d *driver) Keep(ctx context.Context, req drivers.KeepRequest) error {
	_, err := call(ctx, d, "keep", nil, func() (struct{}, error) {
		return struct{}{}, d.o.change(check.OpKeep, d.a.name, req.Handle, func() error { return d.o.core.Keep(context.Background(), req) })
	})
	return err
}

func (d *driver) Resume(ctx context.Context, req drivers.ResumeRequest) (drivers.Runtime, error) {
	return call(ctx, d, "resume", nil, func() (rt drivers.Runtime, err error) {
		err = d.o.change(check.OpHold, d.a.name, handleOf(req.AcquireRequest), func() error {
			rt, err = d.o.core.Resume(context.Background(), req)
			return err
		})
		return rt, err
	})
}

func (d *driver) Prune(ctx context.Context, req drivers.PruneRequest) error {
	_, err := call(ctx, d, "prune", nil, func() (struct{}, error) {
		return struct{}{}, d.o.change(check.OpDestroy, d.a.name, req.Handle, func() error {
			for _, i := range d.o.core.Live() {
				if i.Request.RuntimeID == req.RuntimeID && i.ProviderLeaseID != req.Keep {
					d.o.core.LoseOne(i.ProviderLeaseID)
				}
			}
			return nil
		})
	})
	return err
}

func (d *driver) ListRuntimes(ctx context.Context, req drivers.ListRequest) ([]drivers.ListedRuntime, error) {
	return call(ctx, d, "list", nil, func() ([]drivers.ListedRuntime, error) {
		at := time.Now()
		if d.o.w.chance.Float64() < d.o.lying {
			at = at.Add(-rand64(d.o.w.chance, staleness))
		}
		var out []drivers.ListedRuntime
		for _, i := range d.o.listed(at) {
			if i.Request.Installation == req.Installation {
				out = append(out, drivers.ListedRuntime{
					RuntimeID: i.Request.RuntimeID, ProviderLeaseID: &i.ProviderLeaseID, LeaseID: i.Request.LeaseID, Epoch: i.Request.Epoch, CreatedAt: i.CreatedAt,
				})
			}
		}
		return out, nil
	})
}

func (d *driver) StartExec(ctx context.Context, req drivers.ExecRequest) (drivers.Exec, error) {
	r, err := call(ctx, d, "exec", nil, func() (*run, error) { return d.o.start(d.a.name, req) })
	if err != nil {
		return nil, err
	}
	return running{r, d}, nil
}

func parse(id string) uuid.UUID {
	u, err := uuid.Parse(id)
	if err != nil {
		return uuid.Nil
	}
	return u
}

// handleOf names what a request is about.
func handleOf(req drivers.AcquireRequest) drivers.Handle {
	return drivers.Handle{RuntimeID: req.RuntimeID, Installation: req.Installation, Fence: req.Fence, LeaseID: req.LeaseID}
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/app"
	"github.com/tenure-dev/tenure/drivers/supervisor"
)

// driverBench is a driver to measure, with whatever stands behind it.
type driverBench struct {
	name, driver string
	config       map[string]any
	change       func(*app.Options)
	// visits is how many leases are measured; 0 is what the sizes say.
	visits int
	stop   func() error
}

// The steps of a lease that a client waits for. first is the time from the start of a command to the first of its output.
const (
	stepAcquire = "acquire"
	stepFirst   = "first"
	stepRelease = "release"
)

var steps = []string{stepAcquire, stepFirst, stepRelease}

// verbOf is the driver's part of a step.
var verbOf = map[string]string{
	stepAcquire: supervisor.VerbAcquire, stepFirst: supervisor.VerbStartExec, stepRelease: supervisor.VerbRelease,
}

// engineAim is how much of a step may be the engine's.
const engineAim = 8

func driverNames(driver string, more ...string) []string {
	var names []string
	for _, step := range steps {
		for _, part := range []string{"engine", "provider"} {
			for _, p := range []string{"p50", "p99"} {
				names = append(names, fmt.Sprintf("driver/%s/%s/%s/%s", driver, step, part, p))
			}
		}
	}
	for _, m := range more {
		names = append(names, "driver/"+driver+"/"+m)
	}
	return names
}

// callLog adds up what drivers took.
type callLog struct {
	mu   sync.Mutex
	took map[string]time.Duration
}

func (l *callLog) called(c supervisor.Call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.took[c.Verb] += c.Took
}

// take returns what the calls of a verb took since it was last asked.
func (l *callLog) take(verb string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	took := l.took[verb]
	l.took[verb] = 0
	return took
}

// driverEngine is an engine with one environment of the driver.
type driverEngine struct {
	*engine
	calls *callLog
}

func (b *bench) driverEngine(ctx context.Context, d driverBench) (*driverEngine, error) {
	calls := &callLog{took: map[string]time.Duration{}}
	e, err := b.engine(ctx, 0, func(o *app.Options) {
		o.DriverCalled = calls.called
		if d.change != nil {
			d.change(o)
		}
	})
	if err != nil {
		return nil, err
	}
	config, err := json.Marshal(d.config)
	if err != nil {
		return nil, errors.Join(err, e.close(ctx))
	}
	in := wire.AddEnvironment{Name: d.name, Driver: d.driver}
	if d.config != nil {
		in.Config = config
	}
	environment, err := e.client.AddEnvironment(ctx, e.company, in)
	if err != nil {
		return nil, errors.Join(err, e.close(ctx))
	}
	e.environments = append(e.environments, environment.ID)
	return &driverEngine{engine: e, calls: calls}, nil
}

// driverTimes measures one client's leases with one command each: what the call of the driver took, and what the client waited
// for beyond it, which is the engine's. One more lease is held all the time, so that what a driver keeps open is open.
func driverTimes(set func(context.Context, *bench) (driverBench, error)) func(context.Context, *bench) error {
	return func(ctx context.Context, b *bench) (err error) {
		d, err := set(ctx, b)
		if err != nil {
			return err
		}
		if d.stop != nil {
			defer func() { err = errors.Join(err, d.stop()) }()
		}
		e, err := b.driverEngine(ctx, d)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, e.close(ctx)) }()
		under, err := newFloor(ctx, e.db.url, 1)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, under.close(ctx)) }()
		held, err := e.acquire(ctx, 0)
		if err != nil {
			return err
		}
		visits := b.sizes.visits
		if d.visits > 0 {
			visits = d.visits
		}
		warmUp := min(5, visits)
		seen, provider := map[string][]time.Duration{}, map[string][]time.Duration{}
		var commits []time.Duration
		for i := range visits + warmUp {
			commit, err := under.writers[0].commit(ctx)
			if err != nil {
				return err
			}
			saw, theirs, err := e.visit(ctx)
			if err != nil {
				return err
			}
			if i < warmUp {
				continue
			}
			commits = append(commits, commit)
			for _, step := range steps {
				seen[step], provider[step] = append(seen[step], saw[step]), append(provider[step], theirs[step])
			}
		}
		if err := e.release(ctx, held.ID); err != nil {
			return err
		}
		b.reportDriver(d.name, seen, provider, commits)
		return nil
	}
}

func (b *bench) reportDriver(name string, seen, provider map[string][]time.Duration, commits []time.Duration) {
	floor := milliseconds(median(commits))
	for _, step := range steps {
		var rest []time.Duration
		for i, saw := range seen[step] {
			rest = append(rest, saw-provider[step][i])
		}
		at := "driver/" + name + "/" + step
		p50 := milliseconds(median(rest))
		b.report.add(entry{Name: at + "/engine/p50", Value: p50, Unit: "ms"}.against(floor, p50/floor).atMost(engineAim))
		p99 := milliseconds(percentile(rest, 99))
		b.report.add(entry{Name: at + "/engine/p99", Value: p99, Unit: "ms"}.against(floor, p99/floor))
		b.report.add(entry{Name: at + "/provider/p50", Value: milliseconds(median(provider[step])), Unit: "ms"})
		b.report.add(entry{Name: at + "/provider/p99", Value: milliseconds(percentile(provider[step], 99)), Unit: "ms"})
	}
	if name == "ssh" {
		const aim = 30
		b.report.add(entry{Name: "driver/ssh/acquire_warm/p50", Value: milliseconds(median(seen[stepAcquire])), Unit: "ms"}.atMost(aim))
	}
}

// visit is one lease and one command. It returns for each step what the client waited for, and the provider's part of it.
func (e *driverEngine) visit(ctx context.Context) (saw, provider map[string]time.Duration, err error) {
	saw, provider = map[string]time.Duration{}, map[string]time.Duration{}
	for _, verb := range verbOf {
		e.calls.take(verb)
	}
	began := time.Now()
	lease, err := e.acquire(ctx, 0)
	if err != nil {
		return nil, nil, err
	}
	saw[stepAcquire] = time.Since(began)
	began = time.Now()
	x, err := e.client.StartExec(ctx, lease.ID, lease.Fence, wire.StartExec{Argv: []string{"echo", "here"}})
	if err != nil {
		return nil, nil, err
	}
	for line, err := range e.client.ExecOutput(ctx, x.ID, client.OutputOptions{Follow: true}) {
		if err != nil {
			return nil, nil, err
		}
		if _, told := saw[stepFirst]; !told && len(line.Data) > 0 {
			saw[stepFirst] = time.Since(began)
		}
	}
	if err := e.exited(ctx, x.ID); err != nil {
		return nil, nil, err
	}
	began = time.Now()
	if err := e.release(ctx, lease.ID); err != nil {
		return nil, nil, err
	}
	saw[stepRelease] = time.Since(began)
	for step, verb := range verbOf {
		// A command may have said something before the driver has told that it runs.
		provider[step] = min(e.calls.take(verb), saw[step])
	}
	return saw, provider, nil
}

// exited waits for the end of a command, and for a good one.
func (t *tenant) exited(ctx context.Context, id uuid.UUID) error {
	x, err := t.client.Exec(ctx, id, client.Wait(patience))
	if err != nil {
		return err
	}
	if r := x.Result; r == nil || r.ExitCode == nil || *r.ExitCode != 0 {
		return fmt.Errorf("command %s is %s: %+v", id, x.Status, x.Result)
	}
	return nil
}

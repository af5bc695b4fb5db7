package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/check"
	"github.com/tenure-dev/tenure/plugins/fake"
)

// buryEvery is how often processes that became our children are looked for; sayEvery how often the run says how it stands.
const (
	buryEvery = 200 * time.Millisecond
	sayEvery  = 5 * time.Second
)

// perform is a whole run. It is one straight line on purpose: what is begun is ended below, whatever happens.
func perform(ctx context.Context, s settings, stderr io.Writer) (report, error) {
	out := report{Report: check.Report{Seed: s.seed, StartedAt: time.Now().UTC(), API: s.api, Workers: s.workers}}
	out.Violations = []check.Violation{}
	if err := becomeSubreaper(); err != nil {
		return out, err
	}
	r, err := newRun(ctx, s, stderr)
	if r == nil {
		return out, err
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	burying := make(chan struct{})
	go func() {
		defer close(burying)
		for pause(life, buryEvery) == nil {
			r.children.bury()
		}
	}()
	if err == nil {
		err = r.play(ctx, life, &out)
	}
	r.fill(&out)
	end()
	<-burying
	return out, errors.Join(err, r.clear())
}

// play is what happens between the first process and the last one. life outlives ctx, which ends when the run is interrupted.
func (r *run) play(ctx, life context.Context, out *report) error {
	r.say("seed %d: %d api, %d workers, %d clients, %s, faults %v", r.seed, r.api, r.workers, r.clients, r.duration, r.faults)
	tending, stopTending := context.WithCancel(life)
	defer r.group.Wait()
	defer r.endAll()
	defer stopTending()
	if err := r.start(ctx, tending); err != nil {
		return err
	}
	if err := r.furnish(ctx); err != nil {
		return err
	}
	r.say("all serve; %d environments", len(r.places))

	began := time.Now()
	working, stopWorking := context.WithCancel(ctx)
	defer stopWorking()
	var clients, deeds, news sync.WaitGroup
	for i := range r.clients {
		a := &actor{run: r, name: fmt.Sprintf("client-%d", i), random: randomOf(r.seed, uint64(i))}
		clients.Go(func() { a.act(working) })
	}
	news.Go(func() { r.report(working) })
	deeds.Go(func() { r.execute(working, plan(r.seed, r.duration, r.faults)) })
	_ = pause(ctx, r.duration)
	r.calm.Store(true)
	stopWorking()
	news.Wait()
	deeds.Wait()
	clients.Wait()
	out.DurationMs = time.Since(began).Milliseconds()
	if err := context.Cause(ctx); err != nil {
		return err
	}

	began = time.Now()
	r.say("faults are over; what was begun comes to rest")
	settled := r.settle(ctx)
	out.SettleMs = time.Since(began).Milliseconds()
	stopTending()
	r.endAll()
	r.group.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return r.judge(ctx, out, settled)
}

// within bounds something by a time.
func within(ctx context.Context, limit time.Duration, do func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it took longer than %s", limit))
	defer cancel()
	return do(ctx)
}

// furnish adds a company and the environments that clients use.
func (r *run) furnish(ctx context.Context) error {
	c := r.clientOf(r.of(verbAPI)[0], r.transport)
	company, err := c.AddCompany(ctx, wire.AddCompany{Name: "chaos"})
	if err != nil {
		return err
	}
	for _, e := range []struct {
		name, provider string
		leases, queued int
		script         []fake.Step
	}{
		{name: "wide", provider: "fake", leases: 30, queued: 80, script: []fake.Step{{Verb: fake.VerbAcquire, Action: fake.ActionDelay, Ms: 30}}},
		{name: "roomy", provider: "fake", leases: 16, queued: 40},
		{name: "narrow", provider: "fake", leases: 2, queued: 8},
		{name: "single", provider: "fake", leases: 1, queued: 5},
		{name: "listable", provider: "fake-listable", leases: 12, queued: 30},
		{name: "flaky", provider: "fake", leases: 10, queued: 20, script: []fake.Step{
			{Verb: fake.VerbAcquire, Attempt: 1, Action: fake.ActionFail},
			{Verb: fake.VerbRelease, Attempt: 1, Action: fake.ActionFail},
			{Verb: fake.VerbKeep, Attempt: 1, Action: fake.ActionFail},
			{Verb: fake.VerbExec, Attempt: 2, Action: fake.ActionDelay, Ms: 300},
		}},
	} {
		config, err := json.Marshal(struct {
			Provider string      `json:"provider"`
			Script   []fake.Step `json:"script,omitempty"`
		}{e.provider, e.script})
		if err != nil {
			return err
		}
		added, err := c.AddEnvironment(ctx, company.ID, wire.AddEnvironment{
			Name: e.name, Driver: "sandbox", Config: config, MaxLeases: e.leases, MaxQueued: &e.queued,
		})
		if err != nil {
			return fmt.Errorf("add environment %s: %w", e.name, err)
		}
		r.places = append(r.places, place{company: company.ID, environment: added.ID})
	}
	return nil
}

// report says from time to time how the run stands.
func (r *run) report(ctx context.Context) {
	for pause(ctx, sayEvery) == nil {
		n, err := r.db.finished(ctx)
		left := "the database is away"
		if err == nil {
			left = fmt.Sprintf("%d leases finished", n)
		}
		up := 0
		for _, node := range r.nodes {
			if node.isReady() {
				up++
			}
		}
		r.mu.Lock()
		r.say("%s, %d calls, %d of %d processes serve, %v", left, len(r.calls.list()), up, len(r.nodes), r.counts)
		r.mu.Unlock()
	}
}

// endAll ends every process.
func (r *run) endAll() {
	var all sync.WaitGroup
	for _, n := range r.nodes {
		all.Go(n.end)
	}
	all.Wait()
}

// clear leaves nothing running, and nothing but what is to be looked at.
func (r *run) clear() error {
	r.transport.CloseIdleConnections()
	var err error
	for _, n := range r.nodes {
		if n.front != nil {
			n.front.close()
		}
		err = errors.Join(err, n.log.Close())
	}
	if r.db != nil {
		err = errors.Join(err, r.db.close(context.Background()))
	}
	left, strays := endStrays()
	for _, p := range left {
		r.say("left behind, and ended: %s", p)
	}
	return errors.Join(err, strays, r.calls.close(), r.events.Close(), os.RemoveAll(r.dir))
}

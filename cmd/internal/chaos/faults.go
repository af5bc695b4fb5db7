package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/plugins/fake"
)

// execute does what is planned, each deed at its time and beside the others, and undoes it.
func (r *run) execute(ctx context.Context, deeds []deed) {
	var all sync.WaitGroup
	defer all.Wait()
	began := time.Now()
	for _, d := range deeds {
		if pause(ctx, time.Until(began.Add(d.at))) != nil {
			return
		}
		random := rand.New(rand.NewPCG(d.seed, 0))
		all.Go(func() {
			how := map[fault]func(context.Context, *rand.Rand) error{
				faultKill: r.doKill, faultStop: r.doStop, faultDrain: r.doDrain, faultPGRestart: r.doPGRestart, faultCut: r.doCut,
				faultClock: r.doClock, faultPlugin: r.doPlugin, faultPromote: r.doPromote, faultClone: r.doClone,
			}[d.fault]
			if err := how(ctx, random); err != nil && ctx.Err() == nil {
				r.wrong(string(d.fault), err)
			}
		})
	}
}

// anyNode is one by chance.
func (r *run) anyNode(random *rand.Rand) *node { return r.nodes[random.IntN(len(r.nodes))] }

func (r *run) doKill(_ context.Context, random *rand.Rand) error {
	n := r.anyNode(random)
	now := time.Now()
	if !n.kill() {
		return nil
	}
	r.count(faultKill)
	r.tell("kill", n.name, "SIGKILL")
	if n.verb == verbWorker {
		r.away.add(now, now.Add(takeOver))
	}
	if n.verb == verbAPI && random.IntN(2) == 0 {
		n.mu.Lock()
		machine := fmt.Sprintf("%s-%d", n.name, n.starts+1)
		n.mu.Unlock()
		return r.equip(n, machine, r.provider)
	}
	return nil
}

func (r *run) doStop(ctx context.Context, random *rand.Rand) error {
	n := r.anyNode(random)
	cmd := n.current()
	if cmd == nil {
		return nil
	}
	d := r.stopTime(random)
	r.count(faultStop)
	r.tell("stop", n.name, "for "+d.Round(time.Millisecond).String())
	now := time.Now()
	if n.verb == verbWorker {
		r.away.add(now, now.Add(min(d, takeOver)))
	}
	n.freeze(ctx, cmd, d)
	return nil
}

// doDrain lets a worker hand over what it has, and end.
func (r *run) doDrain(ctx context.Context, random *rand.Rand) error {
	workers := r.of(verbWorker)
	n := workers[random.IntN(len(workers))]
	n.mu.Lock()
	running := n.cmd != nil && n.ready
	if running {
		n.meant = true
	}
	data := n.dataDir
	n.mu.Unlock()
	if !running {
		return nil
	}
	r.count(faultDrain)
	r.tell("drain", n.name, "tenure worker drain")
	limit, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(limit, r.bin, "worker", "drain", "--data-dir", data)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + r.dir}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	wait, err := r.children.start(cmd)
	if err != nil {
		return err
	}
	// Somebody may kill the worker meanwhile, before it is asked: then there is nobody to drain.
	if err := wait(); err != nil && ctx.Err() == nil && !strings.Contains(said.String(), "not_running") && !strings.Contains(said.String(), "no process runs") {
		r.violate("process", n.name, fmt.Sprintf("tenure worker drain: %v: %s", err, said.String()))
	}
	return nil
}

// doPGRestart crashes Postgres.
func (r *run) doPGRestart(ctx context.Context, random *rand.Rand) error {
	r.db.turn.Lock()
	defer r.db.turn.Unlock()
	if ctx.Err() != nil {
		return nil
	}
	down := time.Duration(random.Int64N(int64(4 * time.Second)))
	r.count(faultPGRestart)
	r.tell("pgRestart", "postgres", "immediate, down for "+down.Round(time.Millisecond).String())
	now := time.Now()
	err := r.db.restart(ctx, down)
	// Who serves has to find out that it is back, and owners to say that they are there.
	r.away.add(now, time.Now().Add(takeOver))
	return err
}

// doCut breaks a way in one of four manners.
func (r *run) doCut(ctx context.Context, random *rand.Rand) error {
	n := r.anyNode(random)
	g, whose := n.database, "its way to Postgres"
	if n.front != nil && random.IntN(2) == 0 {
		g, whose = n.front, "the way of clients to it"
	}
	d := 500*time.Millisecond + time.Duration(random.Int64N(int64(min(8*time.Second, max(time.Second, r.duration/8)))))
	r.count(faultCut)
	manner := []string{"cut", "refused", "silent", "silent, and its links lost"}[random.IntN(4)]
	r.tell("cut", n.name, fmt.Sprintf("%s: %s for %s", whose, manner, d.Round(time.Millisecond)))
	now := time.Now()
	switch manner {
	case "cut":
		g.cut()
		d = 0
	case "refused":
		g.refuseAll(true)
		_ = pause(ctx, d)
		g.refuseAll(false)
	default:
		g.silence(manner != "silent")
		_ = pause(ctx, d)
		g.speak()
	}
	if n.verb == verbWorker {
		// Its row may be renewed on one link while another one, which is dead, is still waited for.
		r.away.add(now, now.Add(d+2*takeOver))
	}
	return nil
}

// doClock sets the clock of a machine for a while.
func (r *run) doClock(ctx context.Context, random *rand.Rand) error {
	n := r.anyNode(random)
	wrong := time.Duration(random.Int64N(int64(4*time.Hour))) - 2*time.Hour
	if random.IntN(2) == 0 {
		wrong /= 600
	}
	wrong = wrong.Round(time.Second)
	r.count(faultClock)
	r.tell("clock", n.name, "wrong by "+wrong.String())
	if err := n.setClock(wrong); err != nil {
		return err
	}
	_ = pause(ctx, time.Second+time.Duration(random.Int64N(int64(20*time.Second))))
	return n.setClock(0)
}

// scripts are what the provider does wrong for a while.
var scripts = map[string][]fake.Step{
	"slow": {
		{Verb: fake.VerbAcquire, Action: fake.ActionDelay, Ms: 1500}, {Verb: fake.VerbRelease, Action: fake.ActionDelay, Ms: 800, At: fake.PlaceAfter},
		{Verb: fake.VerbKeep, Action: fake.ActionDelay, Ms: 500}, {Verb: fake.VerbResume, Action: fake.ActionDelay, Ms: 500},
	},
	"late": {
		{Verb: fake.VerbAcquire, Action: fake.ActionLate, Ms: 8000, Times: 1}, {Verb: fake.VerbRelease, Action: fake.ActionLate, Ms: 8000, Times: 1},
	},
	"failing": {
		{Verb: fake.VerbAcquire, Action: fake.ActionFail, Times: 1}, {Verb: fake.VerbRelease, Action: fake.ActionFail, At: fake.PlaceAfter, Times: 1},
		{Verb: fake.VerbKeep, Action: fake.ActionFail, At: fake.PlaceAfter, Times: 1}, {Verb: fake.VerbResume, Action: fake.ActionFail, Times: 1},
		{Verb: fake.VerbList, Action: fake.ActionFail},
	},
	"crashing": {
		{Verb: fake.VerbAcquire, Action: fake.ActionCrash, At: fake.PlaceAfter, Attempt: 1}, {Verb: fake.VerbRelease, Action: fake.ActionCrash, At: fake.PlaceReply, Attempt: 1},
	},
	"junk": {
		{Verb: fake.VerbAcquire, Action: fake.ActionJunk, At: fake.PlaceReply, Attempt: 1}, {Verb: fake.VerbRelease, Action: fake.ActionJunk, Message: `{"jsonrpc": "2.0", "id"`, Raw: true, Attempt: 1},
	},
	"partial": {{Verb: fake.VerbAcquire, Action: fake.ActionPartial, Attempt: 1, DestroyFails: 1}},
	"silent":  {{Verb: fake.VerbAcquire, Action: fake.ActionSilent, At: fake.PlaceAfter, Attempt: 1}},
	"definite": {
		{Verb: fake.VerbAcquire, Action: fake.ActionFail, Outcome: drivers.OutcomeDefinite}, {Verb: fake.VerbExec, Action: fake.ActionFail},
	},
}

// doPlugin lets the provider's process, or its calls, go wrong.
func (r *run) doPlugin(ctx context.Context, random *rand.Rand) error {
	workers := r.of(verbWorker)
	n := workers[random.IntN(len(workers))]
	d := time.Second + time.Duration(random.Int64N(int64(4*time.Second)))
	if random.IntN(2) == 0 {
		name := slices.Sorted(maps.Keys(scripts))[random.IntN(len(scripts))]
		return r.playScript(ctx, name, d)
	}
	cmd := n.current()
	if cmd == nil {
		return nil
	}
	found, err := below(cmd.Process.Pid)
	if err != nil {
		return err
	}
	for _, p := range found {
		if !strings.HasSuffix(p.command, "__plugin fake") {
			continue
		}
		r.count(faultPlugin)
		if random.IntN(2) == 0 {
			r.tell("plugin", n.name, "its worker is killed")
			_ = unix.Kill(p.pid, unix.SIGKILL)
			return nil
		}
		r.tell("plugin", n.name, "its worker is stopped for "+d.Round(time.Millisecond).String())
		_ = unix.Kill(p.pid, unix.SIGSTOP)
		_ = pause(ctx, d)
		_ = unix.Kill(p.pid, unix.SIGCONT) // an orphan of a killed node ends by itself then
		return nil
	}
	return nil
}

// playScript lets every call of the provider go by a script for a while.
func (r *run) playScript(ctx context.Context, name string, d time.Duration) error {
	if !r.scripted.TryLock() {
		return nil // another one is played
	}
	defer r.scripted.Unlock()
	raw, err := json.Marshal(scripts[name])
	if err != nil {
		return err
	}
	r.count(faultPlugin)
	r.tell("plugin", "all", fmt.Sprintf("script %s for %s", name, d.Round(time.Millisecond)))
	path := fake.ScriptPath(r.provider)
	if err := errors.Join(os.WriteFile(path+".new", raw, 0o644), os.Rename(path+".new", path)); err != nil { //nolint:gosec // its readers are other users
		return err
	}
	_ = pause(ctx, d)
	return os.Remove(path)
}

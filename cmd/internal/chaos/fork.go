package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/check"
	"github.com/tenure-dev/tenure/plugins/fake"
)

// noticed is how long processes that run may take to notice that the log has forked; restLimit is how long calls of drivers that
// were under way may last after that, and rest for how long nothing may be done then.
const (
	noticed   = 90 * time.Second
	restLimit = 25 * time.Second
	rest      = 1500 * time.Millisecond
)

// doPromote lets a standby that lacks the last events take the place of the primary, looks that nothing is driven, and adopts the log.
func (r *run) doPromote(ctx context.Context, random *rand.Rand) error {
	r.db.turn.Lock()
	defer r.db.turn.Unlock()
	if ctx.Err() != nil {
		return nil
	}
	life := context.WithoutCancel(ctx) // begun, it is done to its end
	standby, err := r.db.now().Backup(life)
	if err != nil {
		return err
	}
	if err := standby.Follow(life, nil); err != nil {
		return errors.Join(err, standby.Remove(life))
	}
	_ = pause(ctx, 200*time.Millisecond+time.Duration(random.Int64N(int64(2500*time.Millisecond))))
	r.count(faultPromote)
	began := time.Now()
	lost, err := r.db.replace(life, standby)
	if err != nil {
		return err
	}
	r.tell("promote", "postgres", fmt.Sprintf("%d events were lost", len(lost)))
	r.say("a standby was promoted that lacks %d events", len(lost))
	err = r.adopt(life, len(lost))
	r.away.add(began, time.Now().Add(takeOver))
	return err
}

// adopt waits until a fork is noticed, sees that the drivers are off, and says that the log is good.
func (r *run) adopt(ctx context.Context, lost int) error {
	t := r.transport.Clone()
	defer t.CloseIdleConnections()
	limit, cancel := context.WithTimeoutCause(ctx, noticed, fmt.Errorf("no process said within %s that the log has forked", noticed))
	defer cancel()
	var epoch int64
	var by *client.Client
	err := until(limit, func() bool {
		for _, n := range r.of(verbAPI) {
			c := r.clientOf(n, t)
			ask, cancel := context.WithTimeout(limit, 10*time.Second)
			l, err := c.Log(ask)
			cancel()
			if err == nil && l.State == wire.LogForked {
				epoch, by = l.Epoch, c
				return true
			}
		}
		return false
	})
	if err != nil {
		r.violate(check.RuleForks, "log", fmt.Sprintf("%d events were lost, and %s", lost, err))
		return nil
	}
	r.rests(ctx)
	limit, cancel = context.WithTimeoutCause(ctx, noticed, fmt.Errorf("it took longer than %s", noticed))
	defer cancel()
	var last error
	err = until(limit, func() bool {
		ask, cancel := context.WithTimeout(limit, 10*time.Second)
		defer cancel()
		_, last = by.AdoptLog(ask, wire.AdoptLog{Reason: "a standby took over", Epoch: epoch})
		if last == nil || client.IsCode(last, "log_not_forked") {
			return true
		}
		if l, err := by.Log(ask); err == nil && l.State == wire.LogForked {
			epoch = l.Epoch // somebody remembered more meanwhile
		}
		return false
	})
	if err != nil {
		return fmt.Errorf("adopt the log: %w: %w", err, last)
	}
	r.tell("adopt", "log", fmt.Sprintf("epoch %d", epoch))
	return nil
}

// rests sees that nothing is driven while the log is forked: what was under way may come to its end, and then the provider must
// not hear of anybody for a while.
func (r *run) rests(ctx context.Context) {
	deadline := time.Now().Add(restLimit)
	for {
		before, err := effects(r.provider)
		if err != nil {
			r.wrong("read the ledger", err)
			return
		}
		_ = pause(ctx, rest)
		after, err := effects(r.provider)
		switch {
		case err != nil:
			r.wrong("read the ledger", err)
			return
		case len(after) == len(before):
			return
		case time.Now().After(deadline):
			r.violate(check.RuleForks, "provider", fmt.Sprintf("%s after the fork was noticed it still hears of the engine: %+v", restLimit, after[len(before):]))
			return
		}
	}
}

// doClone starts a copy of the database beside it, with a worker and a provider of its own that knows all that the original's does.
// It must notice what it is, and have no effect.
func (r *run) doClone(ctx context.Context, random *rand.Rand) (err error) {
	r.db.turn.Lock()
	defer r.db.turn.Unlock()
	if ctx.Err() != nil {
		return nil
	}
	life := context.WithoutCancel(ctx)
	r.mu.Lock()
	name := fmt.Sprintf("clone-%d", r.counts[faultClone]+1)
	r.mu.Unlock()
	copied, err := r.db.now().Backup(life)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, copied.Remove(life)) }()
	if err := copied.Start(life); err != nil {
		return err
	}
	provider := filepath.Join(r.dir, name, "provider")
	if err := errors.Join(os.MkdirAll(provider, 0o755), os.Chmod(filepath.Dir(provider), 0o755)); err != nil { //nolint:gosec // another user's process passes
		return err
	}
	known, err := os.ReadFile(fake.LedgerPath(r.provider))
	if err != nil {
		return err
	}
	if err := os.WriteFile(fake.LedgerPath(provider), known, 0o666); err != nil {
		return err
	}
	if err := os.Chmod(fake.LedgerPath(provider), 0o666); err != nil { //nolint:gosec // as above
		return err
	}
	before, err := effects(provider)
	if err != nil {
		return err
	}
	way, err := newGate("unix", copied.Socket())
	if err != nil {
		return err
	}
	defer way.close()
	n, err := r.newNode(name, verbWorker, way, provider)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.log.Close()) }()
	r.count(faultClone)
	r.tell("clone", name, "started")
	tending, stop := context.WithCancel(life)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		n.tend(tending)
	}()
	upLimit, cancel := context.WithTimeout(life, startLimit)
	defer cancel()
	if err := n.up(upLimit); err != nil {
		r.violate(check.RuleForks, name, err.Error())
	} else {
		_ = pause(ctx, 4*time.Second+time.Duration(random.Int64N(int64(4*time.Second))))
	}
	stop()
	n.end()
	<-ended
	after, err := effects(provider)
	if err != nil {
		return err
	}
	log, err := readLog(life, copied, 0)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clones = append(r.clones, check.Clone{Name: name, Log: log, Entries: after[len(before):]})
	return nil
}

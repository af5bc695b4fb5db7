package commands

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/admission"
	"github.com/tenure-dev/tenure/eventstore"
)

// busyFor is how long an environment that had no room is looked at before anybody takes a turn at its admission.
const busyFor = time.Second

// busyBook knows which environments had no room lately. A refusal must rest on the log as it is now, and on the contended
// stream of an admission that means to wait until all that is under way is there; a crowd that is refused would hold up those who
// give slots back. So after a first refusal the others look first, which is in nobody's way.
type busyBook struct {
	mu   sync.Mutex
	seen map[domain.EnvironmentID]time.Time
}

// note takes note of a refusal.
func (b *busyBook) note(env domain.EnvironmentID, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, at := range b.seen {
		if now.Sub(at) > busyFor {
			delete(b.seen, id)
		}
	}
	b.seen[env] = now
}

func (b *busyBook) lately(env domain.EnvironmentID, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	at, ok := b.seen[env]
	return ok && now.Sub(at) <= busyFor
}

// crowded refuses a request of an environment that had no room lately and has none in the log now.
func (c *Commands) crowded(ctx context.Context, a Acquire, scope string) error {
	if !c.busy.lately(a.Environment, c.ledger.Now()) {
		return nil
	}
	var refusal error
	err := eventstore.Observe(ctx, c.ledger, Admissions, a.Environment.UUID, func(l eventstore.Loaded[admission.State]) {
		_, refusal = admission.Decide(l.State, a.enter(scope))
	})
	if err != nil {
		return err
	}
	if r, ok := errors.AsType[*domain.Refusal](refusal); ok && r.Kind == domain.KindBusy {
		return c.busyAt(a.Environment, refusal)
	}
	return nil
}

// busyAt says and notes where there was no room, if that is what the error says.
func (c *Commands) busyAt(env domain.EnvironmentID, err error) error {
	r, ok := errors.AsType[*domain.Refusal](err)
	if !ok || r.Kind != domain.KindBusy {
		return err
	}
	c.busy.note(env, c.ledger.Now())
	return &BusyError{Environment: env, Refusal: r}
}

package runner

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// State is what is going on with a read model.
type State string

// The states.
const (
	StateLive State = "live"
	// StateRebuilding: it answers, and a new generation is being made.
	StateRebuilding State = "rebuilding"
	// StateBuilding: it does not answer yet.
	StateBuilding State = "building"
	// StateStopped: nobody keeps it; Reason says why.
	StateStopped State = "stopped"
)

func (s State) String() string { return string(s) }

// Status is how a read model stands.
type Status struct {
	Name     string
	Revision int
	// Generation answers questions, Previous is the one to go back to; 0 for none.
	Generation, Previous int64
	Position             int64
	// Head is the end of the log, Lag how many events are not in the read model.
	Head, Lag int64
	State     State
	Reason    string
	Parked    int
	// Rebuild is how far a rebuild is; nil for none.
	Rebuild *Progress
	// Mine says that this runner keeps it.
	Mine bool
}

// Status says how the read models stand.
func (r *Runner) Status(ctx context.Context) ([]Status, error) {
	head, err := r.log.Head(ctx)
	if err != nil {
		return nil, err
	}
	names, revisions := keyLists(r.keys())
	rows, err := r.pool.Query(ctx, `
		SELECT u.name, u.revision, coalesce(p.generation, 0), coalesce(p.previous, 0), coalesce(c.position, 0), coalesce(p.stopped, ''),
		       p.owner IS NOT DISTINCT FROM $3,
		       (SELECT count(*) FROM projection_parked k
		         WHERE k.name = p.name AND k.revision = p.revision AND k.generation = p.generation),
		       b.done, b.total, extract(epoch FROM clock_timestamp() - b.started_at)::float8
		  FROM unnest($1::text[], $2::int[]) u(name, revision)
		  LEFT JOIN projection_pointers p ON p.name = u.name AND p.revision = u.revision
		  LEFT JOIN projection_checkpoints c ON c.name = p.name AND c.revision = p.revision AND c.generation = p.generation
		  LEFT JOIN projection_rebuilds b ON b.name = u.name AND b.revision = u.revision
		 ORDER BY u.name, u.revision`, names, revisions, r.owner)
	if err != nil {
		return nil, fmt.Errorf("read the read models' status: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Status, error) { return scanStatus(row, head.Position) })
	if err != nil {
		return nil, fmt.Errorf("read the read models' status: %w", err)
	}
	return list, nil
}

func scanStatus(row pgx.CollectableRow, head int64) (s Status, err error) {
	var done, total *int64
	var seconds *float64
	err = row.Scan(&s.Name, &s.Revision, &s.Generation, &s.Previous, &s.Position, &s.Reason, &s.Mine, &s.Parked, &done, &total, &seconds)
	if err != nil {
		return s, err
	}
	s.Head = max(head, s.Position)
	s.Lag = s.Head - s.Position
	if done != nil && total != nil && seconds != nil {
		p := progressOf(s.Name, *done, *total, time.Duration(*seconds*float64(time.Second)))
		s.Rebuild = &p
	}
	switch {
	case s.Reason != "":
		s.State = StateStopped
	case s.Generation == 0:
		s.State = StateBuilding
	case s.Rebuild != nil:
		s.State = StateRebuilding
	default:
		s.State = StateLive
	}
	return s, nil
}

// Position is how far a read model was when this runner last looked.
func (r *Runner) Position(name string) (int64, error) {
	s, err := r.find(name)
	if err != nil {
		return 0, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return s.position, nil
}

// Wait returns once the named read models (none named: all) have the event at a position, so that who wrote it reads it.
// It fails with a [*StoppedError] when one of them will not get there, and with the reason of ctx. A parked stream is not
// waited for. The runner must run.
func (r *Runner) Wait(ctx context.Context, position int64, names ...string) error {
	picked, err := r.pick(names)
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.waiting++
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.waiting--
		r.mu.Unlock()
	}()
	for nudged := false; ; {
		behind, elsewhere, moved, err := r.behind(picked, position)
		if stopped, ok := errors.AsType[*StoppedError](err); ok {
			// Somebody may just have set it going again, here or in another process, and the runner has not looked yet.
			behind, err = r.goesOn(ctx, stopped)
			elsewhere = behind
		}
		if err != nil || !behind {
			return err
		}
		r.hasten()
		if elsewhere && !nudged {
			r.nudge()
			nudged = true
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("wait for position %d: %w", position, context.Cause(ctx))
		}
	}
}

// goesOn asks the database about a read model that was stopped when the runner last looked. If it still is, stopped is the
// error.
func (r *Runner) goesOn(ctx context.Context, stopped *StoppedError) (bool, error) {
	s, err := r.find(stopped.Name)
	if err != nil {
		return false, err
	}
	var still bool
	err = r.pool.QueryRow(ctx, `SELECT stopped <> '' FROM projection_pointers WHERE name = $1 AND revision = $2`, s.key.Name, s.key.Revision).Scan(&still)
	switch {
	case err != nil:
		return false, fmt.Errorf("look whether %s goes on: %w", s.key, err)
	case still:
		return false, stopped
	}
	return true, nil
}

// hasten ends the gathering of a page.
func (r *Runner) hasten() {
	select {
	case r.hurry <- struct{}{}:
	default:
	}
}

// behind reports whether any of the read models is not yet at a position, and whether such a one is another process's.
func (r *Runner) behind(picked []slot, position int64) (behind, elsewhere bool, moved <-chan struct{}, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range picked {
		s, err := r.find(p.key.Name)
		if err != nil {
			return false, false, nil, err
		}
		if s.position >= position {
			continue
		}
		if s.stopped != "" {
			return false, false, r.moved, &StoppedError{Name: p.key.Name, Reason: s.stopped}
		}
		behind = true
		elsewhere = elsewhere || !s.mine
	}
	return behind, elsewhere, r.moved, nil
}

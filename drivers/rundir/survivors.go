package rundir

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/internal/proc"
)

// endLimit bounds how long Release hunts the processes of a runtime before it fails, to be called again.
const endLimit = 10 * time.Second

// endCommands ends the commands that this process started. Each parent ends its own tree.
func (d *Dir) endCommands(ctx context.Context, runtimeID string) error {
	for _, p := range d.active.Running(runtimeID) {
		if err := p.Kill(ctx, "lease_released"); err != nil {
			return err
		}
	}
	for _, p := range d.active.Running(runtimeID) {
		if _, err := p.Wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// endOthers ends what this process did not start, or did not see end: the commands of exec parents that are on record, and
// then, unless there can be none, whatever carries the runtime's id or works below its directory, wherever l is now.
func (d *Dir) endOthers(ctx context.Context, runtimeID string, l Layout) error {
	records, err := l.records()
	if err != nil {
		return err
	}
	if d.opts.Contained && len(records) == 0 {
		return nil
	}
	if err := d.endRecorded(ctx, records); err != nil {
		return err
	}
	return d.endSurvivors(ctx, runtimeID, l.Dir)
}

// endRecorded ends the commands of exec parents.
func (d *Dir) endRecorded(ctx context.Context, records []string) error {
	var parents []drivers.Process
	for _, path := range records {
		var p drivers.Process
		b, err := os.ReadFile(path)
		if err != nil || json.Unmarshal(b, &p) != nil || !proc.Alive(p) {
			continue // ended, or half a record of a parent that was never told what to run
		}
		parents = append(parents, p)
		if err := proc.Signal(p.PID, p.StartTime, unix.SIGTERM); err != nil {
			return err
		}
	}
	return d.awaitParents(ctx, parents)
}

// awaitParents gives exec parents the time they need to end their trees, then ends them and what is below them.
func (d *Dir) awaitParents(ctx context.Context, parents []drivers.Process) error {
	alive := func() (left int) {
		for _, p := range parents {
			if proc.Alive(p) {
				left++
			}
		}
		return left
	}
	if err := poll(ctx, d.opts.Grace+endLimit, func() (bool, error) { return alive() == 0, nil }); err == nil {
		return nil
	} else if ctx.Err() != nil {
		return err
	}
	return poll(ctx, endLimit, func() (bool, error) {
		for _, p := range parents {
			if !proc.Alive(p) {
				continue
			}
			below, err := proc.Descendants(p.PID)
			if err != nil {
				return false, err
			}
			for _, c := range below {
				if err := proc.Signal(c.PID, c.StartTime, unix.SIGKILL); err != nil {
					return false, err
				}
			}
			if len(below) == 0 {
				if err := proc.Signal(p.PID, p.StartTime, unix.SIGKILL); err != nil {
					return false, err
				}
			}
		}
		return alive() == 0, nil
	})
}

// endSurvivors kills whatever carries the runtime's id or works below dir until a look finds nothing.
func (d *Dir) endSurvivors(ctx context.Context, runtimeID, dir string) error {
	return poll(ctx, endLimit, func() (bool, error) {
		found, err := d.survivors(runtimeID, dir)
		if err != nil {
			return false, err
		}
		for _, p := range found {
			if err := proc.Signal(p.PID, p.StartTime, unix.SIGKILL); err != nil {
				return false, err
			}
		}
		return len(found) == 0, nil
	})
}

// poll calls done until it is true. It fails after limit.
func poll(ctx context.Context, limit time.Duration, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("processes still run after %s", limit))
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// Survivors are the processes that carry a runtime's id or work below its directory.
func (d *Dir) Survivors(runtimeID string) ([]drivers.Process, error) {
	found, err := d.survivors(runtimeID, d.Layout(runtimeID).Dir)
	if err != nil {
		return nil, err
	}
	processes := make([]drivers.Process, 0, len(found))
	for _, r := range found {
		processes = append(processes, drivers.Process{PID: r.PID, StartTime: r.StartTime, BootID: proc.BootID()})
	}
	return processes, nil
}

func (d *Dir) survivors(runtimeID, dir string) ([]resident, error) {
	all, err := d.census.take()
	if err != nil {
		return nil, err
	}
	var found []resident
	for _, r := range all {
		if r.below(dir) || slices.Contains(r.runtimes, runtimeID) {
			found = append(found, r)
		}
	}
	return found, nil
}

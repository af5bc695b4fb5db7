package runner

import (
	"context"
	"time"
)

// meterEvery is how often progress is told.
const meterEvery = 200 * time.Millisecond

// meter tells how far a rebuild is: to its caller, and in the database to everybody else.
type meter struct {
	r        *Runner
	builds   []*building
	total    int64
	progress func(Progress)
	started  time.Time
	told     time.Time
}

func newMeter(r *Runner, builds []*building, total int64, progress func(Progress)) *meter {
	now := time.Now()
	return &meter{r: r, builds: builds, total: total, progress: progress, started: now, told: now}
}

func (m *meter) at(ctx context.Context, done int64) {
	if time.Since(m.told) < meterEvery {
		return
	}
	m.tell(ctx, done)
}

func (m *meter) finish(ctx context.Context) { m.tell(ctx, m.total) }

func (m *meter) tell(ctx context.Context, done int64) {
	m.told = time.Now()
	for _, b := range m.builds {
		if m.progress != nil {
			m.progress(progressOf(b.key.Name, done, m.total, time.Since(m.started)))
		}
		_, err := m.r.pool.Exec(ctx, `
			UPDATE projection_rebuilds SET done = $4 WHERE name = $1 AND revision = $2 AND generation = $3`,
			b.key.Name, b.key.Revision, b.generation, done)
		if err != nil {
			m.r.opts.Logger.Debug("note a rebuild's progress", "error", err)
		}
	}
}

func progressOf(name string, done, total int64, spent time.Duration) Progress {
	p := Progress{Name: name, Done: done, Total: total}
	if seconds := spent.Seconds(); seconds > 0 {
		p.EventsPerSecond = float64(done) / seconds
	}
	if p.EventsPerSecond > 0 {
		p.ETA = time.Duration(float64(total-done) / p.EventsPerSecond * float64(time.Second))
	}
	return p
}

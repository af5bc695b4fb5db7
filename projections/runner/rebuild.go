package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/tenure-dev/tenure/projections"
)

// Progress is how far a rebuild is.
type Progress struct {
	Name string
	// Done and Total are positions of the log.
	Done, Total     int64
	EventsPerSecond float64
	ETA             time.Duration
}

// Rebuilt is what a rebuild or a verification found.
type Rebuilt struct {
	Name string
	// Generation is the new one; 0 after a verification.
	Generation int64
	// Position is where the new generation and the live one were compared.
	Position int64
	Rows     int64
	Events   int64
	// Compared says that there was a live generation to compare with, at the same position.
	Compared bool
	// Differences counts the rows that were not the same, First is the one with the lowest position.
	Differences int64
	First       *Difference
	// Parked is how many streams cannot be folded.
	Parked int
}

// Rebuild makes new generations of the named read models (none named: all) from the log, in one pass, beside those that
// answer, compares, and lets the new ones answer. What differs is reported; the new one counts. One rebuild of a read model
// runs at a time; a second gets [ErrRebuildRunning]. If ctx ends before the switch everything is as it was.
//
// Folding has no effect but rows, so a rebuild repeats nothing outside. It holds at most [Options.MaxFolded] rows of each read
// model in memory.
func (r *Runner) Rebuild(ctx context.Context, names []string, progress func(Progress)) ([]Rebuilt, error) {
	slots, err := r.pick(names)
	if err != nil {
		return nil, err
	}
	lock, err := r.lockBuild(ctx, slots)
	if err != nil {
		return nil, err
	}
	defer lock.release()
	return r.rebuild(ctx, slots, progress)
}

// Verify folds the log anew beside a live read model and compares row by row.
func (r *Runner) Verify(ctx context.Context, name string, progress func(Progress)) (Rebuilt, error) {
	slots, err := r.pick([]string{name})
	if err != nil {
		return Rebuilt{}, err
	}
	lock, err := r.lockBuild(ctx, slots)
	if err != nil {
		return Rebuilt{}, err
	}
	defer lock.release()
	builds, err := r.build(ctx, slots, progress, true)
	defer r.discard(ctx, builds)
	if err != nil {
		return Rebuilt{}, fmt.Errorf("verify %s: %w", name, err)
	}
	report := builds[0].report
	report.Generation = 0
	return report, nil
}

// bootstrap builds read models that have no table yet and are far behind.
func (r *Runner) bootstrap(ctx context.Context, slots []slot) error {
	defer r.nudge()
	lock, err := r.lockBuild(ctx, slots)
	if err != nil {
		return err
	}
	defer lock.release()
	if err := r.refresh(ctx); err != nil {
		return err
	}
	still := r.missing()
	if len(still) == 0 {
		return nil // the other process that held the lock has built them
	}
	_, err = r.rebuild(ctx, still, nil)
	return err
}

func (r *Runner) rebuild(ctx context.Context, slots []slot, progress func(Progress)) ([]Rebuilt, error) {
	builds, err := r.build(ctx, slots, progress, false)
	var reports []Rebuilt
	for len(builds) > 0 && err == nil {
		if err = r.switchTo(ctx, builds[0].target); err != nil {
			break
		}
		reports = append(reports, builds[0].report)
		builds = builds[1:]
	}
	r.discard(ctx, builds)
	r.nudge()
	if err != nil {
		return reports, fmt.Errorf("rebuild: %w", lost(err))
	}
	for _, s := range slots {
		if err := r.sweep(ctx, s.model); err != nil {
			return reports, err
		}
	}
	return reports, nil
}

// building is a generation on its way.
type building struct {
	target
	folding *folding
	// full says that no more rows are held in memory; position is where that was.
	full     bool
	position int64
	report   Rebuilt
}

// build makes complete generations beside the live ones, compared with them. What it has made it returns also with an
// error, for the caller to remove.
func (r *Runner) build(ctx context.Context, slots []slot, progress func(Progress), mustCompare bool) ([]*building, error) {
	for _, s := range slots {
		if err := r.sweep(ctx, s.model); err != nil {
			return nil, err
		}
	}
	head, err := r.log.Head(ctx)
	if err != nil {
		return nil, err
	}
	builds, err := r.start(ctx, slots, head.Position)
	if err != nil {
		return builds, err
	}
	// A generation is compared with the live one at one position, so it must not get ahead of it; unless that one is far
	// behind, which may be why it is rebuilt.
	bound := head.Position
	compared := make(map[projections.Key]bool)
	for _, s := range slots {
		live, ok, err := r.livePosition(ctx, s.key)
		if err != nil {
			return builds, err
		}
		if !ok && mustCompare {
			return builds, fmt.Errorf("%s: %w", s.key.Name, projections.ErrNotBuilt)
		}
		if ok && (mustCompare || head.Position-live <= r.opts.BuildBehind) {
			compared[s.key] = true
			bound = min(bound, live)
		}
	}
	meter := newMeter(r, builds, head.Position, progress)
	if err := r.foldLog(ctx, builds, bound, meter); err != nil {
		return builds, err
	}
	for _, b := range builds {
		if err := r.copyIn(ctx, b); err != nil {
			return builds, err
		}
		if err := r.catchUp(ctx, b, func() (int64, error) {
			live, ok, err := r.livePosition(ctx, b.key)
			if !ok || !compared[b.key] {
				return b.position, err
			}
			return live, err
		}); err != nil {
			return builds, err
		}
		if err := r.compare(ctx, b, compared[b.key]); err != nil {
			return builds, err
		}
	}
	meter.finish(ctx)
	return builds, nil
}

// start makes the empty tables.
func (r *Runner) start(ctx context.Context, slots []slot, total int64) ([]*building, error) {
	var builds []*building
	err := r.inTx(ctx, pgx.ReadCommitted, func(tx pgx.Tx) error {
		for _, s := range slots {
			generation, err := r.create(ctx, tx, s.model, max(total, 1))
			if err != nil {
				return err
			}
			builds = append(builds, &building{
				target: target{model: s.model, key: s.key, generation: generation}, folding: newBuildFolding(s.model),
				report: Rebuilt{Name: s.key.Name, Generation: generation},
			})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, b := range builds {
		rows, err := r.pool.Query(ctx, `SELECT position FROM projection_skips WHERE name = $1 AND revision = $2`, b.key.Name, b.key.Revision)
		if err != nil {
			return builds, err
		}
		if err := b.folding.scanSkips(rows); err != nil {
			return builds, err
		}
	}
	return builds, nil
}

// livePosition is how far the live generation is; ok says whether there is one.
func (r *Runner) livePosition(ctx context.Context, key projections.Key) (position int64, ok bool, err error) {
	position, err = projections.Snapshot(ctx, r.pool, key, func(pgx.Tx, string) error { return nil })
	if errors.Is(err, projections.ErrNotBuilt) {
		return 0, false, nil
	}
	return position, err == nil, err
}

// foldPage is how many events a rebuild reads at once.
const foldPage = 2000

// foldLog reads the log up to a position and hands each page from one read model to the next, so that the models work side
// by side and each event is decoded once, by the first that follows it.
func (r *Runner) foldLog(ctx context.Context, builds []*building, upTo int64, meter *meter) error {
	group, ctx := errgroup.WithContext(ctx)
	pages := make(chan []*projections.Event)
	read := pages
	group.Go(func() error { return r.readLog(ctx, upTo, read) })
	for _, b := range builds {
		from, to := pages, make(chan []*projections.Event)
		group.Go(func() error { return r.foldPages(ctx, b, from, to) })
		pages = to
	}
	for page := range pages {
		meter.at(ctx, page[len(page)-1].Position)
	}
	return group.Wait()
}

func (r *Runner) readLog(ctx context.Context, upTo int64, to chan<- []*projections.Event) error {
	defer close(to)
	limit := int64(foldPage)
	for after := int64(0); after < upTo; {
		page, err := r.log.ReadFacts(ctx, after, int(min(limit, upTo-after)))
		if err != nil {
			return err
		}
		if len(page) == 0 {
			return fmt.Errorf("the log ends at %d, before %d", after, upTo)
		}
		// A page of large events is a short one; asking for more than it takes would be in vain.
		limit = min(2*int64(len(page)), foldPage)
		after = page[len(page)-1].Position
		if err := handOn(ctx, projections.NewEvents(page), to); err != nil {
			return err
		}
	}
	return nil
}

// foldPages folds the pages that come and hands them on.
func (r *Runner) foldPages(ctx context.Context, b *building, from <-chan []*projections.Event, to chan<- []*projections.Event) error {
	defer close(to)
	for page := range from {
		b.fold(page, r.opts.MaxFolded)
		if len(b.folding.fresh) > r.opts.MaxParked {
			p := b.folding.fresh[0]
			return fmt.Errorf("%s: %w; the first is event %d of %s: %s", b.key, ErrTooManyParked, p.position, p.stream, p.reason)
		}
		if err := handOn(ctx, page, to); err != nil {
			return err
		}
	}
	return nil
}

// fold takes a page in, until there are too many rows: what comes after them is taken by pages into the table.
func (b *building) fold(page []*projections.Event, maxRows int) {
	for _, e := range page {
		b.full = b.full || len(b.folding.rows) >= maxRows
		if b.full {
			return
		}
		if b.folding.take(e) {
			b.report.Events++
		}
		b.position = e.Position
	}
}

func handOn(ctx context.Context, page []*projections.Event, to chan<- []*projections.Event) error {
	select {
	case to <- page:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// copyIn writes the rows in memory into the table and makes its indexes.
func (r *Runner) copyIn(ctx context.Context, b *building) error {
	if err := r.copyRows(ctx, b); err != nil {
		return fmt.Errorf("copy rows into generation %d of %s: %w", b.generation, b.key, err)
	}
	err := r.inTx(ctx, pgx.ReadCommitted, func(tx pgx.Tx) error {
		if err := index(ctx, tx, b.model, b.generation); err != nil {
			return err
		}
		batch := &pgx.Batch{}
		for _, p := range b.folding.fresh {
			r.queuePark(batch, b.target, p, 1)
		}
		batch.Queue(`UPDATE projection_checkpoints SET position = $4 WHERE name = $1 AND revision = $2 AND generation = $3`,
			b.key.Name, b.key.Revision, b.generation, b.position)
		return tx.SendBatch(ctx, batch).Close()
	})
	b.folding = nil
	return err
}

// copiers is how many connections copy rows into one table side by side. With that of the lock a build has three.
const copiers = 2

// copyRows writes the rows in memory into the table.
func (r *Runner) copyRows(ctx context.Context, b *building) error {
	rows := b.folding.sorted()
	if len(rows) == 0 {
		return nil
	}
	group, ctx := errgroup.WithContext(ctx)
	for part := range slices.Chunk(rows, (len(rows)+copiers-1)/copiers) {
		group.Go(func() error { return r.copyPart(ctx, b.target, part) })
	}
	return group.Wait()
}

func (r *Runner) copyPart(ctx context.Context, t target, rows []projections.Stored) error {
	conn, err := r.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	from, to := io.Pipe()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		err := writeCopy(ctx, t.model, rows, to)
		return errors.Join(err, to.CloseWithError(err))
	})
	group.Go(func() error {
		_, err := conn.Conn().PgConn().CopyFrom(ctx, from, t.model.Schema().Copy(t.generation))
		return errors.Join(err, from.CloseWithError(err))
	})
	return group.Wait()
}

// catchUp takes pages into a generation that does not answer yet, until it is at most a page behind the goal.
func (r *Runner) catchUp(ctx context.Context, b *building, goal func() (int64, error)) error {
	for {
		upTo, err := goal()
		if err != nil {
			return err
		}
		if upTo-b.position <= int64(r.opts.PageSize) {
			return nil
		}
		for b.position < upTo {
			err := r.inTx(ctx, pgx.ReadCommitted, func(tx pgx.Tx) error { return r.takePage(ctx, tx, b, upTo) })
			if err != nil {
				return err
			}
		}
	}
}

// takePage takes the next page, not beyond a position, into a generation that does not answer.
func (r *Runner) takePage(ctx context.Context, tx pgx.Tx, b *building, upTo int64) error {
	page, err := r.log.ReadFacts(ctx, b.position, int(min(int64(r.opts.PageSize), upTo-b.position)))
	if err != nil {
		return err
	}
	if len(page) == 0 {
		return fmt.Errorf("the log ends at %d, before %d", b.position, upTo)
	}
	_, err = r.advance(ctx, tx, []target{b.target}, b.position, projections.NewEvents(page), false)
	if errors.Is(err, errMoved) {
		return ErrRebuildLost
	}
	if err == nil {
		b.position = page[len(page)-1].Position
	}
	return err
}

// dropTimeout bounds the removal of a half-made generation, also when the caller has given up.
const dropTimeout = 10 * time.Second

// discard removes generations that will not answer. What stays because the database is away is swept later.
func (r *Runner) discard(ctx context.Context, builds []*building) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropTimeout)
	defer cancel()
	for _, b := range builds {
		if err := r.drop(ctx, b.model, b.generation); err != nil {
			r.opts.Logger.Warn("a half-made generation stays for now", "projection", b.key.Name, "error", err)
		}
	}
}

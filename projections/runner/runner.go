// Package runner keeps the read models: it folds the log into their tables, rebuilds and verifies them, and parks what
// they cannot take.
//
//	            ┌───────────── page: lock pointers ► load rows ► fold ► write rows and checkpoints ► commit ──┐
//	log ──wake──┤                                                                                             ├──► readers
//	            └── rebuild: fold the log in memory ► COPY beside ► catch up ► compare ► move the pointer ────┘
//
// A table is one generation of one revision of a read model, and a row of projection_pointers says which generation
// answers questions. Whoever changes a live generation holds that row's lock, so a page, a rebuild's last step, a retry of
// a parked stream and a way back never mix; readers are not held up by it.
//
// One runner keeps a read model at a time: the last one that started. Its token stands in the pointer, and a runner that
// finds another's there stops keeping that model and only follows how far it is. It takes a model back when its owner has
// left it behind the log without a step for a while, and at once when that one ended in order.
//
// If an event cannot be folded, its stream is parked in that read model from that event on and the others go on. A parked
// stream is tried again by itself a few times, with growing pauses, and then waits for an operator.
package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/projections"
)

// Log is what the runner reads.
type Log interface {
	eventstore.Reader
	eventstore.FactReader
	// Changed returns a channel that is closed when there may be more to read than there was at the call.
	Changed() <-chan struct{}
}

// What can happen to a request.
var (
	// ErrUnknown: there is no read model of that name.
	ErrUnknown = errors.New("there is no such read model")
	// ErrRebuildRunning: the read model is being rebuilt or verified already.
	ErrRebuildRunning = errors.New("the read model is being rebuilt or verified already")
	// ErrRebuildLost: somebody removed the generation that was being built; the one that answers is as it was.
	ErrRebuildLost = errors.New("the rebuild lost its generation to another one")
	// ErrTooManyParked: more streams cannot be folded than a read model may have parked.
	ErrTooManyParked = errors.New("too many streams cannot be folded")
	// ErrNoPrevious: there is no generation to go back to.
	ErrNoPrevious = errors.New("there is no generation to go back to")
	// ErrNotParked: the stream is not parked in that read model.
	ErrNotParked = errors.New("the stream is not parked in that read model")
	// ErrStillFails: the parked event still cannot be folded.
	ErrStillFails = errors.New("the event still cannot be folded")
)

// StoppedError says that nobody keeps a read model up to date, and why.
type StoppedError struct{ Name, Reason string }

func (e *StoppedError) Error() string {
	return fmt.Sprintf("read model %s is stopped: %s", e.Name, e.Reason)
}

// Options configure a runner. The zero value of each field is its default.
type Options struct {
	// Logger gets what an operator would want to know; default: nothing.
	Logger *slog.Logger
	// PageSize is how many events are folded in one transaction; default 1000.
	PageSize int
	// Gather is how long after the start of a page that was not full the next one begins, unless somebody waits for a position;
	// default 100 ms.
	Gather time.Duration
	// PollInterval is the longest the runner sleeps although there may be more; default 500 ms.
	PollInterval time.Duration
	// Tries is how often a parked stream is tried by itself, the first time included; default 5.
	Tries int
	// RetryAfter is the pause before the second try; each later one is double the one before; default 1 s.
	RetryAfter time.Duration
	// MaxParked is how many streams of a read model may be parked before it stops; default 100.
	MaxParked int
	// TakeOverAfter is how long another runner may leave a read model behind the log, without a step; default 10 s.
	TakeOverAfter time.Duration
	// BuildBehind is how many events a read model without a table may be behind and still be built by pages; default 10,000.
	BuildBehind int64
	// MaxFolded is how many rows of one read model a rebuild holds in memory; if there are more, the events from there on are
	// taken into its table by pages, which is slower. Default 500,000: about a gigabyte if they are leases.
	MaxFolded int
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.PageSize == 0 {
		o.PageSize = eventstore.PageSize
	}
	if o.Gather == 0 {
		o.Gather = 100 * time.Millisecond
	}
	if o.PollInterval == 0 {
		o.PollInterval = 500 * time.Millisecond
	}
	if o.Tries == 0 {
		o.Tries = 5
	}
	if o.RetryAfter == 0 {
		o.RetryAfter = time.Second
	}
	if o.MaxParked == 0 {
		o.MaxParked = 100
	}
	if o.TakeOverAfter == 0 {
		o.TakeOverAfter = 10 * time.Second
	}
	if o.BuildBehind == 0 {
		o.BuildBehind = 10_000
	}
	if o.MaxFolded == 0 {
		o.MaxFolded = 500_000
	}
	return o
}

// Runner keeps read models. Its questions and requests (Status, Parked, Rebuild …) work in every process on the database,
// whether or not it runs.
type Runner struct {
	pool  *pgxpool.Pool
	log   Log
	opts  Options
	owner uuid.UUID
	// turns has an entry for each build under way, and room for as many as may be.
	turns chan struct{}
	// poke has room for one signal: look again, something was changed beside the log.
	poke chan struct{}
	// hurry has room for one signal: somebody waits for a position.
	hurry chan struct{}

	mu    sync.Mutex
	slots []*slot
	// moved is closed when a slot changes.
	moved chan struct{}
	// waiting counts the calls of Wait under way.
	waiting int
	ready   chan struct{}
}

// slot is what the runner knows of one read model.
type slot struct {
	model      projections.Model
	key        projections.Key
	generation int64
	position   int64
	// mine says that this runner keeps it.
	mine    bool
	stopped string
	// nobodys says that its last owner ended and said so.
	nobodys bool
	cache   *rowCache
	// stillSince is since when another's read model stands at stillAt though there is more; zero when it does not.
	stillSince time.Time
	stillAt    int64
}

func (s *slot) runs() bool { return s.mine && s.generation > 0 && s.stopped == "" }

// New makes a runner of read models.
func New(pool *pgxpool.Pool, log Log, models []projections.Model, opts Options) *Runner {
	r := &Runner{
		pool: pool, log: log, opts: opts.withDefaults(), owner: uuid.New(), turns: make(chan struct{}, turnsOf(pool)),
		poke: make(chan struct{}, 1), hurry: make(chan struct{}, 1), moved: make(chan struct{}), ready: make(chan struct{}),
	}
	for _, m := range models {
		r.slots = append(r.slots, &slot{model: m, key: m.Key(), cache: newRowCache()})
	}
	// Pointers are locked in the order of their names.
	slices.SortFunc(r.slots, func(a, b *slot) int { return compareKeys(a.key, b.key) })
	return r
}

// Ready is closed once every read model that this runner keeps has had the end of the log for the first time, and those that
// others keep are there.
func (r *Runner) Ready() <-chan struct{} { return r.ready }

// Run takes over the read models and keeps them until ctx is done. It is called once.
func (r *Runner) Run(ctx context.Context) error {
	defer r.giveUp(ctx)
	var builds sync.WaitGroup
	defer builds.Wait()
	if err := r.insist(ctx, "take over the read models", r.takeOver); err != nil {
		return nil // the caller ended it
	}
	// building has room for one: the build of those that have no table, at the start or since the log forked.
	building := make(chan struct{}, 1)
	// due is when a parked stream is to be tried; look says to look for what others did beside the log, which was done at looked.
	due, looked, look := time.Now(), time.Now(), false
	for failures, tooLong := 0, 0; ctx.Err() == nil; {
		r.buildMissing(ctx, &builds, building)
		changed, began := r.log.Changed(), time.Now()
		// What is another's, or stopped, moves without a word to this runner, and the log may move all the time.
		if look = look || began.Sub(looked) >= r.lookEvery(); look {
			looked = began
		}
		took, err := r.boundedStep(ctx, &tooLong, &due, look)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			failures++
			r.opts.Logger.Warn("keep the read models: trying again", "error", err, "attempt", failures)
			r.sleep(ctx, nil, backoff(failures))
		case took > 0:
			failures, look = 0, false
			r.gather(ctx, took, began)
		default:
			failures = 0
			r.idle()
			look = r.sleep(ctx, changed, r.pause(due))
		}
	}
	return nil
}

// buildMissing builds what has no table, beside everything else. A fork of the log takes the tables of read models that had
// what it lost.
func (r *Runner) buildMissing(ctx context.Context, builds *sync.WaitGroup, building chan struct{}) {
	missing := r.missing()
	if len(missing) == 0 {
		return
	}
	select {
	case building <- struct{}{}:
	default:
		return
	}
	builds.Go(func() {
		defer func() { <-building }()
		_ = r.insist(ctx, "build the read models that have no table", func(ctx context.Context) error { return r.bootstrap(ctx, missing) })
	})
}

// insist does something until it works or ctx is done.
func (r *Runner) insist(ctx context.Context, what string, do func(context.Context) error) error {
	for failures := 1; ; failures++ {
		err := do(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		r.opts.Logger.Warn(what+": trying again", "error", err, "attempt", failures)
		r.sleep(ctx, nil, backoff(failures))
	}
}

// backoff grows from 100 ms to 5 s.
func backoff(failures int) time.Duration {
	return min(50*time.Millisecond<<min(failures, 10), 5*time.Second)
}

// sleep waits for a change of the log, a poke, the time or the end. Only a change of the log is nothing else to look at.
func (r *Runner) sleep(ctx context.Context, changed <-chan struct{}, limit time.Duration) (look bool) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-changed:
		return false
	case <-ctx.Done():
	case <-r.poke:
	case <-timer.C:
	}
	return true
}

// gather lets events come together after a page that was not full, so that many small appends do not make as many
// transactions. The first event after a quiet time does not wait for others, and nobody waits because of this.
func (r *Runner) gather(ctx context.Context, took int, began time.Time) {
	select {
	case <-r.hurry: // of somebody who is served already, or waits and is seen below
	default:
	}
	limit := r.opts.Gather - time.Since(began)
	if took >= r.opts.PageSize || limit <= 0 || r.awaited() {
		return
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-r.hurry:
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (r *Runner) awaited() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.waiting > 0
}

// pause is how long there may be nothing to do.
func (r *Runner) pause(due time.Time) time.Duration {
	limit := r.opts.PollInterval
	if !due.IsZero() {
		limit = min(limit, max(time.Until(due), time.Millisecond))
	}
	return min(limit, r.lookEvery())
}

// lookEvery is how long what others do beside the log may go unseen: of how far another process is, nobody tells.
func (r *Runner) lookEvery() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting > 0 && r.elsewhere() {
		return min(r.opts.PollInterval, followEvery)
	}
	return r.opts.PollInterval
}

// elsewhere reports whether another runner keeps any read model. The caller holds the mutex.
func (r *Runner) elsewhere() bool {
	return slices.ContainsFunc(r.slots, func(s *slot) bool { return !s.mine })
}

// followEvery is how often another process's checkpoints are looked at while somebody waits for them.
const followEvery = 20 * time.Millisecond

// stepLimit is how long a step may take. On a link that carries nothing it would wait for ever; one that is only slow gets
// double the time after each step that took too long. A step that failed for another reason says nothing of how long one takes.
const stepLimit = 10 * time.Second

var errTooLong = errors.New("the database did not answer in time")

func (r *Runner) boundedStep(ctx context.Context, tooLong *int, due *time.Time, look bool) (took int, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, stepLimit<<min(*tooLong, 5), errTooLong)
	defer cancel()
	took, err = r.step(ctx, due, look)
	if err != nil && errors.Is(context.Cause(ctx), errTooLong) {
		*tooLong++
	} else {
		*tooLong = 0
	}
	return took, err
}

// step does one piece of work: what is parked and due, then one page of those that are farthest behind. It says how many
// events that had.
func (r *Runner) step(ctx context.Context, due *time.Time, look bool) (took int, err error) {
	if !due.IsZero() && !time.Now().Before(*due) {
		if *due, err = r.retryDue(ctx); err != nil {
			*due = time.Now()
			return 0, err
		}
	}
	if look {
		// Another owner, another generation, a skip that lets it run again.
		if err := r.refresh(ctx); err != nil {
			return 0, err
		}
		if err := r.takeAbandoned(ctx); err != nil {
			return 0, err
		}
	}
	group, next := r.farthestBehind()
	if len(group) == 0 {
		return 0, nil
	}
	limit := r.opts.PageSize
	if next > 0 {
		limit = int(min(int64(limit), next-group[0].position))
	}
	page, err := r.log.ReadFacts(ctx, group[0].position, limit)
	if err != nil {
		return 0, err
	}
	if len(page) == 0 {
		return 0, nil
	}
	parked, err := r.livePage(ctx, group, projections.NewEvents(page))
	if parked {
		*due = time.Now()
	}
	if errors.Is(err, errMoved) {
		return len(page), r.refresh(ctx)
	}
	return len(page), err
}

// farthestBehind are copies of the slots at the lowest position, and the next position at which others are; 0 for none.
func (r *Runner) farthestBehind() (group []slot, next int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.slots {
		switch {
		case !s.runs():
		case len(group) == 0 || s.position < group[0].position:
			if len(group) > 0 {
				next = group[0].position
			}
			group = []slot{*s}
		case s.position == group[0].position:
			group = append(group, *s)
		case next == 0 || s.position < next:
			next = s.position
		}
	}
	return group, next
}

// idle notes that all that run have the end of the log.
func (r *Runner) idle() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.slots {
		if s.generation == 0 {
			return // its first build is under way, here or in another process
		}
	}
	select {
	case <-r.ready:
	default:
		close(r.ready)
	}
}

// update changes slots and wakes those who wait.
func (r *Runner) update(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
	close(r.moved)
	r.moved = make(chan struct{})
}

// nudge makes the loop look again.
func (r *Runner) nudge() {
	select {
	case r.poke <- struct{}{}:
	default:
	}
}

func (r *Runner) find(name string) (*slot, error) {
	for _, s := range r.slots {
		if s.key.Name == name {
			return s, nil
		}
	}
	return nil, fmt.Errorf("%w: %q", ErrUnknown, name)
}

// Names are the read models' names.
func (r *Runner) Names() []string {
	names := make([]string, len(r.slots))
	for i, s := range r.slots {
		names[i] = s.key.Name
	}
	return names
}

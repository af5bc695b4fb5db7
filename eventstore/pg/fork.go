package pg

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/epoch"
	"github.com/tenure-dev/tenure/eventstore"
)

// How a fork of the log is noticed, and what follows:
//
//	every append ──► append_events: the epoch? the timeline? the event that the process remembers? ──no──► refused
//	                                                                                                          │
//	start, each new link, every lookInterval ──► look: what is remembered, and the place of the log ◄─────────┘
//	                                               │ all is there            │ something is not
//	                                               ▼                         ▼
//	                                    the log's epoch is taken over   change_log: LogForked, epoch + 1
//
// So nothing is ever appended under an epoch whose events somebody remembers and the log does not have.

// lookInterval is how often a process looks whether the log is still the one that it knows.
const lookInterval = 2 * time.Second

// Identity says which log this is.
type Identity struct {
	// Installation is written on every runtime made for this log.
	Installation uuid.UUID
	Epoch        int64
	// Forked says that the log waits for its adoption and nothing is driven.
	Forked bool
}

// Identity says which log this is, as far as this process knows.
func (s *Store) Identity() Identity { return *s.identity.Load() }

// Epoch is the log's incarnation, as far as this process knows.
func (s *Store) Epoch() int64 { return s.Identity().Epoch }

// IdentityChanged returns a channel that is closed when [Store.Identity] is not what it was at the call.
func (s *Store) IdentityChanged() <-chan struct{} {
	s.looking.Lock()
	defer s.looking.Unlock()
	return s.changedIdentity
}

// Remembered is what this process remembers of the log.
func (s *Store) Remembered() Memory {
	now := s.Identity()
	return Memory{Installation: now.Installation, Epoch: s.memory.knows(now.Epoch), Marks: s.memory.all()}
}

// querier is a pool or a connection.
type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// Look compares the log with what is remembered of it, and begins a new epoch if the log has forked.
func (s *Store) Look(ctx context.Context) error { return s.look(ctx, s.pool) }

// maxLooks bounds how often a look begins anew because another process was faster.
const maxLooks = 5

func (s *Store) look(ctx context.Context, db querier) error {
	s.lookTurn.Lock()
	defer s.lookTurn.Unlock()
	ctx, cancel := s.answerContext(ctx)
	defer cancel()
	for range maxLooks {
		v, err := s.view(ctx, db)
		if err != nil {
			return unavailable(fmt.Errorf("look at the log's place: %w", err))
		}
		forked := v.fork(s.opts.Node, s.memory.knows(s.Epoch()))
		if forked == nil {
			return s.settle(ctx, db, v)
		}
		if err := s.fork(ctx, db, v, *forked); err != nil {
			return unavailable(fmt.Errorf("begin a new epoch of the log: %w", err))
		}
	}
	return fmt.Errorf("%w: the log's epoch changes all the time", eventstore.ErrUnavailable)
}

// view is the log as one look finds it.
type view struct {
	identity Identity
	head     int64
	was, is  epoch.Place
	// state is what the log's own stream says.
	state epoch.State
	// last is the last event that is remembered, missing the last one of those that the log does not have. kept is the last
	// remembered one before all of those, 0 for none.
	last, missing *Mark
	kept          int64
}

func (s *Store) view(ctx context.Context, db querier) (v view, err error) {
	var was, is [6]*string
	err = db.QueryRow(ctx, `
		SELECT l.installation, l.epoch, l.forked, l.system, l.timeline, l.database, l.birth, l.port, l.address,
		       p.system, p.timeline, p.database, p.birth, p.port, p.address,
		       coalesce((SELECT max(e.position) FROM events e), 0)
		  FROM log l, log_place() p`).Scan(&v.identity.Installation, &v.identity.Epoch, &v.identity.Forked,
		&was[0], &was[1], &was[2], &was[3], &was[4], &was[5], &is[0], &is[1], &is[2], &is[3], &is[4], &is[5], &v.head)
	if err != nil {
		return view{}, err
	}
	v.was, v.is = placeOf(was), placeOf(is)
	if err := v.compare(ctx, db, s.memory.all()); err != nil {
		return view{}, err
	}
	if v.identity.Epoch > 1 || v.identity.Forked {
		v.state, err = logState(ctx, s)
	}
	return v, err
}

// logState folds the log's own stream.
func logState(ctx context.Context, s *Store) (state epoch.State, err error) {
	for version := int64(0); ; {
		page, err := s.ReadStream(ctx, stream, version, 0)
		if err != nil {
			return state, err
		}
		if state, err = Kind.Fold(state, page); err != nil {
			return state, err
		}
		if len(page) < eventstore.PageSize {
			return state, nil
		}
		version = page[len(page)-1].Version
	}
}

// Kind is that of the log's own stream.
var Kind = &eventstore.Kind[epoch.State, epoch.Command, epoch.Event]{Category: epoch.Category, Decider: epoch.Decider, Codec: epoch.Codec}

// stream is the log's own stream.
var stream = eventstore.StreamOf(epoch.Category, epoch.ID)

// compare looks for the events of marks, which are in order.
func (v *view) compare(ctx context.Context, db querier, marks []Mark) error {
	if len(marks) == 0 {
		return nil
	}
	positions, hashes := make([]int64, len(marks)), make([][]byte, len(marks))
	for i, m := range marks {
		positions[i], hashes[i] = m.Position, m.Hash
	}
	rows, err := db.Query(ctx, `
		SELECT u.ord
		  FROM unnest($1::bigint[], $2::bytea[]) WITH ORDINALITY u(position, hash, ord)
		  JOIN events e ON e.position = u.position AND e.hash = u.hash`, positions, hashes)
	if err != nil {
		return err
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return err
	}
	v.last = &marks[len(marks)-1]
	for i := range marks {
		switch {
		case !slices.Contains(found, int64(i+1)):
			v.missing = &marks[i]
		case v.missing == nil:
			v.kept = marks[i].Position
		}
	}
	return nil
}

func placeOf(parts [6]*string) epoch.Place {
	text := func(p *string) string {
		if p == nil {
			return ""
		}
		return *p
	}
	return epoch.Place{
		System: text(parts[0]), Timeline: text(parts[1]), Database: text(parts[2]), Birth: text(parts[3]), Port: text(parts[4]), Address: text(parts[5]),
	}
}

// fork is what the view says of a fork, nil if there is none. What a server does not tell is no sign of anything.
func (v view) fork(node domain.NodeID, known int64) *epoch.Forked {
	f := epoch.Forked{FromEpoch: v.identity.Epoch, Head: v.head, Kept: v.kept, Was: v.was, Is: v.is, Node: node}
	found := func(finding epoch.Finding, yes bool) {
		if yes {
			f.Findings = append(f.Findings, finding)
		}
	}
	differ := func(was, is string) bool { return was != "" && is != "" && was != is }
	if m := cmp.Or(v.missing, v.last); m != nil {
		f.Remembered = &epoch.Mark{Epoch: m.Epoch, Position: m.Position, Hash: hex.EncodeToString(m.Hash)}
	}
	// What was lost in a fork that is on record already is no other fork.
	lost := v.missing != nil && (v.missing.Epoch >= v.identity.Epoch || v.missing.Position > v.state.LostTo)
	found(epoch.FindingLost, lost || known > v.identity.Epoch)
	found(epoch.FindingTimeline, differ(v.was.Timeline, v.is.Timeline))
	found(epoch.FindingSystem, differ(v.was.System, v.is.System))
	found(epoch.FindingDatabase, differ(v.was.Database, v.is.Database))
	found(epoch.FindingCopied, differ(v.was.Birth, v.is.Birth))
	// A server may move. Who remembers the log knows it again; who does not, knows it by its place.
	found(epoch.FindingElsewhere, v.last == nil && len(f.Findings) == 0 &&
		(differ(v.was.Port, v.is.Port) || differ(v.was.Address, v.is.Address)))
	if len(f.Findings) == 0 {
		return nil
	}
	return &f
}

// noted is the place that is to be on record: a part that the server does not tell this process stays as it is.
func (v view) noted() epoch.Place {
	return epoch.Place{
		System: cmp.Or(v.is.System, v.was.System), Timeline: cmp.Or(v.is.Timeline, v.was.Timeline), Database: cmp.Or(v.is.Database, v.was.Database),
		Birth: cmp.Or(v.is.Birth, v.was.Birth), Port: cmp.Or(v.is.Port, v.was.Port), Address: cmp.Or(v.is.Address, v.was.Address),
	}
}

// settle takes over what the log says of itself, where nothing speaks against it.
func (s *Store) settle(ctx context.Context, db querier, v view) error {
	if v.noted() != v.was {
		// A part that was not known, or may change, is noted for those who come later.
		var none int
		p := v.noted()
		err := db.QueryRow(ctx, `
			UPDATE log
			   SET system = $2, timeline = $3, database = $4, birth = $5, port = $6, address = $7
			 WHERE epoch = $1
			RETURNING 1`, v.identity.Epoch, orNull(p.System), orNull(p.Timeline), orNull(p.Database), orNull(p.Birth),
			orNull(p.Port), orNull(p.Address)).Scan(&none)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return unavailable(fmt.Errorf("note the log's place: %w", err))
		}
	}
	if v.missing != nil {
		s.opts.Logger.Warn("events that this process remembers were lost when the log forked, which is on record",
			"remembered", v.missing.Position, "kept", v.kept, "epoch", v.identity.Epoch)
		s.memory.forget(v.kept, v.missing.Position)
	}
	if s.Identity() == v.identity {
		return nil
	}
	s.looking.Lock()
	was := s.Identity()
	s.identity.Store(&v.identity)
	close(s.changedIdentity)
	s.changedIdentity = make(chan struct{})
	s.looking.Unlock()
	switch {
	case v.identity.Forked:
		s.opts.Logger.Error(forkedLine,
			"epoch", v.identity.Epoch, "epoch_before", was.Epoch, "findings", findings(v.state), "lost_at_most", v.state.LostAtMost)
	case was.Forked || was.Epoch != v.identity.Epoch:
		s.opts.Logger.Info("the log is adopted", "epoch", v.identity.Epoch, "epoch_before", was.Epoch)
	}
	s.wake.broadcast()
	return nil
}

// forkedLine is what an operator is to find in the logs.
const forkedLine = "THE LOG HAS FORKED: nothing is driven until it is adopted; see `tenure log show`, then `tenure log adopt`"

func findings(s epoch.State) []string {
	var all []string
	for _, f := range s.Forks {
		for _, found := range f.Findings {
			if !slices.Contains(all, found.String()) {
				all = append(all, found.String())
			}
		}
	}
	return all
}

func orNull(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// fork begins a new epoch, unless another process did so meanwhile.
func (s *Store) fork(ctx context.Context, db querier, v view, f epoch.Forked) error {
	to := s.memory.knows(v.identity.Epoch)
	if v.last != nil {
		to = max(to, v.last.Epoch)
	}
	done, err := s.change(ctx, db, change{
		from: v.identity.Epoch, to: to + 1, wasForked: v.identity.Forked, forked: true, event: f,
	})
	if err == nil && done {
		s.memory.knows(to + 1)
		// What is lost is on record now.
		if v.missing != nil {
			s.memory.forget(v.kept, v.missing.Position)
		}
	}
	return err
}

// change is one change of the log's own life.
type change struct {
	from, to          int64
	wasForked, forked bool
	installation      *uuid.UUID
	event             epoch.Event
	by                eventstore.Attribution
}

const callChange = `
	CALL change_log($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22,
	                $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, $40, $41, $42, $43)`

// change changes the log's epoch and what it waits for, with the event that says so. done is false if the log was not as it
// was taken for.
func (s *Store) change(ctx context.Context, db querier, c change) (done bool, err error) {
	name, revision, payload, err := epoch.Codec.Encode(c.event)
	if err != nil {
		return false, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return false, fmt.Errorf("make an id: %w", err)
	}
	salt := eventstore.NewSalt()
	p := &pending{append: eventstore.Append{
		ID: id, By: c.by, Expect: []eventstore.Expectation{{Stream: stream, Expect: eventstore.Any}},
		Events: []eventstore.NewEvent{{Stream: stream, Name: name, Revision: revision, Payload: payload}},
	}, salts: [][]byte{salt}, commitments: [][]byte{eventstore.Commit(salt, payload)}}
	var to *int64
	var status []int
	var first []int64
	var at []time.Time
	args := append([]any{c.from, c.wasForked, c.forked, c.installation}, newArguments(c.to, nil, []*pending{p}).list()...)
	if err := db.QueryRow(ctx, callChange, args...).Scan(&to, &status, &first, &at); err != nil {
		return false, err
	}
	if to == nil {
		return false, nil
	}
	if len(status) != 1 || status[0] != statusDone {
		return false, fmt.Errorf("the log refused %s with status %v", name, status)
	}
	s.wake.appended()
	return true, nil
}

// What can stand in the way of an adoption.
var (
	// ErrNotForked: the log has not forked since it was adopted last.
	ErrNotForked = errors.New("the log has not forked")
	// ErrChangedMeanwhile: the log is not any more what the adoption was asked for.
	ErrChangedMeanwhile = errors.New("the log has forked again meanwhile")
)

// Adoption says how to adopt the log.
type Adoption struct {
	Reason string
	By     eventstore.Attribution
	// Epoch is the one to adopt, as it was shown; 0 for whichever.
	Epoch int64
	// NewInstallation gives the log another id: it is a copy, and the original goes on.
	NewInstallation bool
	// Anyway adopts also a log that no process found forked, by a new epoch: a person knows better.
	Anyway bool
}

// Adopt takes the log as it is: what was lost is lost, and its runtimes are driven again.
func (s *Store) Adopt(ctx context.Context, a Adoption) (epoch.Adopted, error) {
	if err := s.Look(ctx); err != nil {
		return epoch.Adopted{}, err
	}
	now := s.Identity()
	switch {
	case a.Epoch != 0 && a.Epoch != now.Epoch:
		return epoch.Adopted{}, ErrChangedMeanwhile
	case !now.Forked && !a.Anyway:
		return epoch.Adopted{}, ErrNotForked
	}
	state, err := logState(ctx, s)
	if err != nil {
		return epoch.Adopted{}, unavailable(err)
	}
	adopted := epoch.Adopted{Reason: domain.Clean(a.Reason, domain.MaxMessage)}
	if now.Forked {
		adopted.LostAtMost = state.LostAtMost
	}
	c := change{from: now.Epoch, to: now.Epoch, wasForked: now.Forked, by: a.By}
	if !now.Forked {
		c.to++
	}
	if a.NewInstallation {
		fresh, err := uuid.NewRandom()
		if err != nil {
			return epoch.Adopted{}, fmt.Errorf("make an id: %w", err)
		}
		former := now.Installation
		c.installation, adopted.Installation, adopted.Former = &fresh, &fresh, &former
	}
	c.event = adopted
	callCtx, cancel := s.answerContext(ctx)
	defer cancel()
	done, err := s.change(callCtx, s.pool, c)
	if err != nil {
		return epoch.Adopted{}, unavailable(fmt.Errorf("adopt the log: %w", err))
	}
	if !done {
		return epoch.Adopted{}, ErrChangedMeanwhile
	}
	return adopted, s.Look(ctx)
}

// State is what the log's own stream says of it, and where it is.
func (s *Store) State(ctx context.Context) (state epoch.State, place epoch.Place, err error) {
	ctx, cancel := s.answerContext(ctx)
	defer cancel()
	v, err := s.view(ctx, s.pool)
	return v.state, v.is, unavailable(err)
}

// watch looks from time to time, and when somebody asks for it.
func (s *Store) watch(ctx context.Context) {
	ticker := time.NewTicker(lookInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-s.doubt:
		case <-ctx.Done():
			return
		}
		if err := s.Look(ctx); err != nil && ctx.Err() == nil {
			s.opts.Logger.Debug("could not look whether the log is still the one it was", "error", err)
		}
	}
}

// doubted asks for a look soon.
func (s *Store) doubted() {
	select {
	case s.doubt <- struct{}{}:
	default:
	}
}

// saw takes note of events that were read. One of a later epoch is news of a fork.
func (s *Store) saw(events []eventstore.Recorded) {
	s.memory.read(events)
	if n := len(events); n > 0 && events[n-1].Epoch > s.Epoch() {
		s.doubted()
	}
}

// Replication is how the log's server is copied.
type Replication struct {
	// Standbys follow it; Synchronous is the server's setting of which of them a commit waits for, "" for none.
	Standbys    int
	Synchronous string
}

// Replication asks the server. An ordinary role sees how many follow, and not who.
func (s *Store) Replication(ctx context.Context) (r Replication, err error) {
	ctx, cancel := s.answerContext(ctx)
	defer cancel()
	err = s.pool.QueryRow(ctx, `
		SELECT count(*) FILTER (WHERE coalesce(state, 'streaming') IN ('streaming', 'catchup')), current_setting('synchronous_standby_names')
		  FROM pg_stat_replication`).Scan(&r.Standbys, &r.Synchronous)
	return r, unavailable(wrap(err, "look for standbys"))
}

package pg

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/faults"
)

// Statuses of append_events.
const (
	statusDone = iota
	statusDoneBefore
	statusCommandDone
	statusCommandReused
	statusTooLate
	statusEpoch
	statusConflict
	statusForked
	statusNotOwner
)

// outcome is what became of one append.
type outcome struct {
	result eventstore.Result
	err    error
}

// callBatch leaves the procedure's answer to its defaults.
const callBatch = `
	CALL append_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21,
	                  $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39)`

// ask calls a procedure with a batch. Unless an error is an answer of the database, it is not known whether the batch was
// written.
func ask[A any](ctx context.Context, conn *pgx.Conn, batch []*pending, call string, args []any, scan pgx.RowToFunc[A]) (A, error) {
	rows, err := conn.Query(ctx, call, args...)
	if err != nil {
		var none A
		return none, err
	}
	faults.Each("append.sent", batch, firstEvent)
	return pgx.CollectExactlyOneRow(rows, scan)
}

// firstEvent names an append.
func firstEvent(p *pending) string { return p.append.Events[0].Name }

// id is a UUID as pgx takes it in binary; a uuid.UUID would go as text, through its Valuer.
type id = [16]byte

// arguments are the arrays that append_events takes: streams and companies once each, the rest by their place.
type arguments struct {
	epoch int64
	// seen is an event that the log must have.
	seen      *Mark
	appends   struct{ id, actor, key, request, cause []id }
	size      []int32
	notAfter  []*time.Time
	drives    []bool
	streams   index[eventstore.Stream]
	companies index[id]
	expects   struct {
		append, stream []int32
		version        []int64
		by             []*id
	}
	events struct {
		append, stream, company, revision []int32
		name                              []string
		payload, salt, commitment         [][]byte
	}
	commands struct {
		append         []int32
		scope, request [][]byte
		resource       []id
	}
	inputs struct {
		append      []int32
		id, company []id
		subject     []string
		value       [][]byte
	}
	drops struct {
		append []int32
		id     []id
	}
	owners struct {
		append, partition []int32
		epoch             []int64
	}
}

func newArguments(epoch int64, seen *Mark, batch []*pending) *arguments {
	g := &arguments{epoch: epoch, seen: seen}
	for i, p := range batch {
		g.add(int32(i+1), p)
	}
	return g
}

func (g *arguments) add(n int32, p *pending) {
	a := p.append
	g.appends.id = append(g.appends.id, id(a.ID))
	g.appends.actor = append(g.appends.actor, id(a.By.Actor.UUID))
	g.appends.key = append(g.appends.key, id(a.By.Key.UUID))
	g.appends.request = append(g.appends.request, id(a.By.Request))
	g.appends.cause = append(g.appends.cause, id(a.By.Cause))
	g.size = append(g.size, int32(len(a.Events)))
	g.notAfter = append(g.notAfter, optional(a.NotAfter))
	g.drives = append(g.drives, a.Drives)
	for _, x := range a.Expect {
		g.expects.append = append(g.expects.append, n)
		g.expects.stream = append(g.expects.stream, g.streams.place(x.Stream))
		g.expects.version = append(g.expects.version, int64(x.Expect))
		g.expects.by = append(g.expects.by, optionalID(x.By))
	}
	for i, e := range a.Events {
		g.events.append = append(g.events.append, n)
		g.events.stream = append(g.events.stream, g.streams.place(e.Stream))
		g.events.company = append(g.events.company, g.companies.place(id(e.Company.UUID)))
		g.events.name = append(g.events.name, e.Name)
		g.events.revision = append(g.events.revision, int32(e.Revision))
		g.events.payload = append(g.events.payload, e.Payload)
		g.events.salt = append(g.events.salt, p.salts[i])
		g.events.commitment = append(g.events.commitment, p.commitments[i])
	}
	if c := a.Command; c != nil {
		g.commands.append = append(g.commands.append, n)
		g.commands.scope = append(g.commands.scope, commandScope(c))
		g.commands.request = append(g.commands.request, c.RequestHash[:])
		g.commands.resource = append(g.commands.resource, id(c.Resource))
	}
	for _, in := range a.Inputs {
		g.inputs.append = append(g.inputs.append, n)
		g.inputs.id = append(g.inputs.id, id(in.ID))
		g.inputs.company = append(g.inputs.company, id(in.Company.UUID))
		g.inputs.subject = append(g.inputs.subject, string(in.Subject))
		g.inputs.value = append(g.inputs.value, in.Value)
	}
	for _, input := range a.DropInputs {
		g.drops.append = append(g.drops.append, n)
		g.drops.id = append(g.drops.id, id(input))
	}
	if o := a.Owner; o != nil {
		g.owners.append = append(g.owners.append, n)
		g.owners.partition = append(g.owners.partition, int32(o.Partition))
		g.owners.epoch = append(g.owners.epoch, o.Epoch)
	}
}

func (g *arguments) list() []any {
	var seen *int64
	var seenHash []byte
	if g.seen != nil {
		seen, seenHash = &g.seen.Position, g.seen.Hash
	}
	return []any{
		g.epoch, seen, seenHash,
		g.appends.id, g.size, g.notAfter, g.drives,
		g.appends.actor, g.appends.key, g.appends.request, g.appends.cause,
		g.streams.list, g.companies.list,
		g.expects.append, g.expects.stream, g.expects.version, g.expects.by,
		g.events.append, g.events.stream, g.events.company, g.events.name, g.events.revision,
		g.events.payload, g.events.salt, g.events.commitment,
		array(g.commands.append), array(g.commands.scope), array(g.commands.request), array(g.commands.resource),
		array(g.inputs.append), array(g.inputs.id), array(g.inputs.company), array(g.inputs.subject), array(g.inputs.value),
		array(g.drops.append), array(g.drops.id),
		array(g.owners.append), array(g.owners.partition), array(g.owners.epoch),
	}
}

// answer is what append_batch answers: an element for each append, a list of the expectations that failed, and what it saw
// of the log.
type answer struct {
	epoch    int64
	status   []int
	first    []int64
	at       []time.Time
	resource []*uuid.UUID
	failed   struct {
		append, stream []int32
		actual         []int64
	}
	// found is the position of the log's last event before the call, head that event after it.
	found int64
	head  struct {
		position int64
		hash     []byte
		at       *time.Time
	}
	// heads are those of the call's streams and companies after it.
	heads struct {
		version []int64
		hash    [][]byte
		by      []*id
		company []int64
	}
}

func scanAnswer(row pgx.CollectableRow) (r answer, err error) {
	err = row.Scan(&r.epoch, &r.status, &r.first, &r.at, &r.resource, &r.failed.append, &r.failed.stream, &r.failed.actual,
		&r.found, &r.head.position, &r.head.hash, &r.head.at, &r.heads.version, &r.heads.hash, &r.heads.by, &r.heads.company)
	return r, err
}

// outcomes gives each append of the batch its own.
func (g *arguments) outcomes(r answer, batch []*pending) ([]outcome, error) {
	if n := len(batch); len(r.status) != n || len(r.first) != n || len(r.at) != n || len(r.resource) != n {
		return nil, fmt.Errorf("append_batch answered %d of %d appends", len(r.status), n)
	}
	outcomes := make([]outcome, len(batch))
	for i, p := range batch {
		var err error
		if outcomes[i], err = g.outcome(r, i, p.append); err != nil {
			return nil, err
		}
	}
	return outcomes, nil
}

func (g *arguments) outcome(r answer, i int, a eventstore.Append) (outcome, error) {
	first, at := r.first[i], r.at[i].UTC()
	result := eventstore.Result{First: first, Last: first + int64(len(a.Events)) - 1, Epoch: r.epoch, RecordedAt: at}
	switch r.status[i] {
	case statusDone:
		return outcome{result: result}, nil
	case statusDoneBefore:
		result.Replayed = true
		return outcome{result: result}, nil
	case statusCommandDone:
		return outcome{result: eventstore.Result{
			First: first, Last: first, Epoch: r.epoch, RecordedAt: at, CommandReplayed: true, Resource: *r.resource[i],
		}}, nil
	case statusCommandReused:
		return outcome{err: eventstore.ErrCommandReused}, nil
	case statusTooLate:
		return outcome{err: eventstore.ErrTooLate}, nil
	case statusEpoch:
		return outcome{err: fmt.Errorf("%w: it is %d", eventstore.ErrStaleEpoch, r.epoch)}, nil
	case statusForked:
		return outcome{err: eventstore.ErrForked}, nil
	case statusNotOwner:
		return outcome{err: eventstore.ErrNotOwner}, nil
	case statusConflict:
		return outcome{err: g.conflict(r, int32(i+1), a)}, nil
	}
	return outcome{}, fmt.Errorf("append_batch answered status %d", r.status[i])
}

func (g *arguments) conflict(r answer, n int32, a eventstore.Append) error {
	c := &eventstore.ConflictError{}
	for i, place := range r.failed.stream {
		if r.failed.append[i] != n {
			continue
		}
		stream := g.streams.list[place-1]
		for _, x := range a.Expect {
			if x.Stream == stream {
				c.Failed = append(c.Failed, eventstore.Mismatch{Expectation: x, Actual: r.failed.actual[i]})
			}
		}
	}
	return c
}

// index gives each distinct value a place, from 1.
type index[T comparable] struct {
	list   []T
	places map[T]int32
}

func (x *index[T]) place(v T) int32 {
	if n, ok := x.places[v]; ok {
		return n
	}
	if x.places == nil {
		x.places = make(map[T]int32)
	}
	x.list = append(x.list, v)
	n := int32(len(x.list))
	x.places[v] = n
	return n
}

// commandScope is the identity of a command: SHA-256 over company, route and key, each with its length.
func commandScope(c *eventstore.Command) []byte {
	b := make([]byte, 0, 256)
	b = append(b, c.Company.String()...)
	for _, part := range []string{c.Route, c.Key} {
		b = append(b, 0)
		b = strconv.AppendInt(b, int64(len(part)), 10)
		b = append(b, ' ')
		b = append(b, part...)
	}
	sum := sha256.Sum256(b)
	return sum[:]
}

func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func optionalID(u uuid.UUID) *id {
	if u == uuid.Nil {
		return nil
	}
	v := id(u)
	return &v
}

// array sends a nil slice as an empty array, which is not the same as null.
func array[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

package pg

import (
	"crypto/sha256"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenure-dev/tenure/eventstore"
)

// next is a batch that was judged by what is remembered of the log, as append_next and append_one take it: if the log's head
// is where it is remembered, the batch is written as it stands. Anything that is not plainly so (a stream that is not
// remembered, an expectation that does not hold, a command twice) is left to append_batch, which looks at the log itself.
type next struct {
	epoch    int64
	head     logHead
	notAfter *time.Time
	// streams and companies are the heads that the batch leaves.
	streams   map[eventstore.Stream]placed
	companies map[id]int64

	append, actor, key, request, cause []id
	index, revision, follows           []int32
	chained                            bool
	stream, name                       []string
	version, companyPosition           []int64
	company                            []id
	payload, salt, commitment          [][]byte
	before, after, prev                [][]byte

	commands struct {
		scope, request [][]byte
		resource       []id
		position       []int64
	}
	inputs struct {
		id, company []id
		subject     []string
		value       [][]byte
	}
	drops  []id
	owners struct {
		partition []int32
		epoch     []int64
	}
}

// placed is the head of a stream within a batch; row is the last row on it, from 1, or 0 if there is none yet.
type placed struct {
	head streamHead
	row  int32
}

// place gives each event of a batch its place, if all of it is plain.
func (h *heads) place(epoch int64, batch []*pending) (*next, bool) {
	if h.log.hash == nil || h.shared {
		return nil, false
	}
	events := 0
	for _, p := range batch {
		events += len(p.append.Events)
	}
	n := newNext(epoch, h.log, events)
	scopes := make(map[string]bool)
	for _, p := range batch {
		if !n.expects(h, p.append) || !n.addEvents(h, p) || !n.addCommand(p.append, scopes) {
			return nil, false
		}
		n.addRest(p.append)
	}
	return n, true
}

// newNext makes room for a number of events.
func newNext(epoch int64, head logHead, events int) *next {
	n := &next{epoch: epoch, head: head, streams: make(map[eventstore.Stream]placed, events), companies: make(map[id]int64, 1)}
	for _, column := range []*[]id{&n.append, &n.actor, &n.key, &n.request, &n.cause, &n.company} {
		*column = make([]id, 0, events)
	}
	for _, column := range []*[]int32{&n.index, &n.revision, &n.follows} {
		*column = make([]int32, 0, events)
	}
	for _, column := range []*[]string{&n.stream, &n.name} {
		*column = make([]string, 0, events)
	}
	for _, column := range []*[]int64{&n.version, &n.companyPosition} {
		*column = make([]int64, 0, events)
	}
	for _, column := range []*[][]byte{&n.payload, &n.salt, &n.commitment, &n.before, &n.after, &n.prev} {
		*column = make([][]byte, 0, events)
	}
	return n
}

// expects reports whether all that an append expects of streams is remembered and holds.
func (n *next) expects(h *heads, a eventstore.Append) bool {
	for _, x := range a.Expect {
		s, ok := n.streams[x.Stream]
		if !ok {
			if s.head, ok = h.streams.Get(x.Stream); !ok && !begins(a, x) {
				return false
			}
			n.streams[x.Stream] = s
		}
		if !x.Expect.Holds(s.head.version) || x.By != [16]byte{} && x.By != s.head.by {
			return false
		}
	}
	return true
}

// begins reports whether an append begins a stream. That it is new need not be remembered: the table refuses a version twice.
func begins(a eventstore.Append, x eventstore.Expectation) bool {
	if x.Expect != eventstore.NoStream {
		return false
	}
	for _, e := range a.Events {
		if e.Stream == x.Stream {
			return true
		}
	}
	return false
}

func (n *next) addEvents(h *heads, p *pending) bool {
	a := p.append
	for i, e := range a.Events {
		company := id(e.Company.UUID)
		at, ok := n.companies[company]
		if !ok {
			if at, ok = h.companies.Get(company); !ok {
				return false
			}
		}
		n.companies[company] = at + 1
		s := n.streams[e.Stream]
		r := eventstore.Recorded{
			Position: n.head.position + int64(len(n.append)) + 1, Epoch: n.epoch,
			Stream: e.Stream, Version: s.head.version + 1, Name: e.Name, Revision: e.Revision,
			Company: e.Company, CompanyPosition: at + 1, AppendID: a.ID, AppendIndex: i, By: a.By, Commitment: p.commitments[i],
		}
		before, after := eventstore.HashInput(r)
		var prev []byte
		if s.row == 0 {
			prev = s.head.hash[:]
		}
		n.append = append(n.append, id(a.ID))
		n.index = append(n.index, int32(i))
		n.actor = append(n.actor, id(a.By.Actor.UUID))
		n.key = append(n.key, id(a.By.Key.UUID))
		n.request = append(n.request, id(a.By.Request))
		n.cause = append(n.cause, id(a.By.Cause))
		n.stream = append(n.stream, string(e.Stream))
		n.version = append(n.version, r.Version)
		n.name = append(n.name, e.Name)
		n.revision = append(n.revision, int32(e.Revision))
		n.company = append(n.company, company)
		n.companyPosition = append(n.companyPosition, r.CompanyPosition)
		n.payload = append(n.payload, e.Payload)
		n.salt = append(n.salt, p.salts[i])
		n.commitment = append(n.commitment, p.commitments[i])
		n.before = append(n.before, before)
		n.after = append(n.after, after)
		n.prev = append(n.prev, prev)
		n.follows = append(n.follows, s.row)
		n.chained = n.chained || s.row > 0
		n.streams[e.Stream] = placed{head: streamHead{version: r.Version, by: id(a.ID)}, row: int32(len(n.append))}
	}
	return true
}

func (n *next) addCommand(a eventstore.Append, scopes map[string]bool) bool {
	c := a.Command
	if c == nil {
		return true
	}
	scope := commandScope(c)
	if scopes[string(scope)] {
		return false
	}
	scopes[string(scope)] = true
	n.commands.scope = append(n.commands.scope, scope)
	n.commands.request = append(n.commands.request, c.RequestHash[:])
	n.commands.resource = append(n.commands.resource, id(c.Resource))
	n.commands.position = append(n.commands.position, n.head.position+int64(len(n.append)-len(a.Events))+1)
	return true
}

func (n *next) addRest(a eventstore.Append) {
	if o := a.Owner; o != nil {
		n.owners.partition = append(n.owners.partition, int32(o.Partition))
		n.owners.epoch = append(n.owners.epoch, o.Epoch)
	}
	if t := a.NotAfter; !t.IsZero() && (n.notAfter == nil || t.Before(*n.notAfter)) {
		n.notAfter = &t
	}
	for _, in := range a.Inputs {
		n.inputs.id = append(n.inputs.id, id(in.ID))
		n.inputs.company = append(n.inputs.company, id(in.Company.UUID))
		n.inputs.subject = append(n.inputs.subject, string(in.Subject))
		n.inputs.value = append(n.inputs.value, in.Value)
	}
	for _, input := range a.DropInputs {
		n.drops = append(n.drops, id(input))
		n.forgetInput(id(input))
	}
}

// forgetInput takes an input out of the batch that is kept and dropped in it: the procedure drops first.
func (n *next) forgetInput(dropped id) {
	for {
		i := slices.Index(n.inputs.id, dropped)
		if i < 0 {
			return
		}
		n.inputs.id = slices.Delete(n.inputs.id, i, i+1)
		n.inputs.company = slices.Delete(n.inputs.company, i, i+1)
		n.inputs.subject = slices.Delete(n.inputs.subject, i, i+1)
		n.inputs.value = slices.Delete(n.inputs.value, i, i+1)
	}
}

// callNext leaves the procedure's answer to its defaults.
const callNext = `
	CALL append_next($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21,
	                 $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35)`

// callOne does so too.
const callOne = `
	CALL append_one($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21,
	                $22, $23, $24, $25, $26, $27, $28)`

// Results of both that matter here; what else keeps a batch from being written is for append_batch to tell.
const (
	nextDone  = 0
	nextMoved = 1
)

// call is the procedure for the batch, and its arguments.
func (n *next) call() (procedure string, arguments []any) {
	if len(n.append) == 1 && len(n.inputs.id) == 0 && len(n.drops) == 0 {
		return callOne, n.one()
	}
	return callNext, n.list()
}

func (n *next) one() []any {
	k := n.commands
	if len(k.scope) == 0 {
		k.scope, k.request, k.resource = [][]byte{nil}, [][]byte{nil}, []id{{}}
	}
	var partition, epoch any
	if len(n.owners.epoch) > 0 {
		partition, epoch = n.owners.partition[0], n.owners.epoch[0]
	}
	return []any{
		n.epoch, n.head.position, n.head.hash, n.head.at, n.notAfter,
		n.append[0], n.index[0], n.actor[0], n.key[0], n.request[0], n.cause[0],
		n.stream[0], n.version[0], n.name[0], n.revision[0], n.company[0], n.companyPosition[0],
		n.payload[0], n.salt[0], n.commitment[0], n.before[0], n.after[0], n.prev[0],
		k.scope[0], k.request[0], k.resource[0], partition, epoch,
	}
}

func (n *next) list() []any {
	follows := n.follows
	if !n.chained {
		follows = nil
	}
	return []any{
		n.epoch, n.head.position, n.head.hash, n.head.at, n.notAfter,
		n.append, n.index, n.actor, n.key, n.request, n.cause,
		n.stream, n.version, n.name, n.revision, n.company, n.companyPosition,
		n.payload, n.salt, n.commitment, n.before, n.after, n.prev, follows,
		n.commands.scope, n.commands.request, n.commands.resource, n.commands.position,
		n.inputs.id, n.inputs.company, n.inputs.subject, n.inputs.value,
		n.drops, n.owners.partition, n.owners.epoch,
	}
}

// nextAnswer is what both answer.
type nextAnswer struct {
	result int
	at     time.Time
}

func scanNext(row pgx.CollectableRow) (r nextAnswer, err error) {
	err = row.Scan(&r.result, &r.at)
	return r, err
}

// hashes are those of the rows, had they been recorded at a time.
func (n *next) hashes(at time.Time) [][sha256.Size]byte {
	hashes := make([][sha256.Size]byte, len(n.append))
	for i := range hashes {
		prev := n.prev[i]
		if f := n.follows[i]; f > 0 {
			prev = hashes[f-1][:]
		}
		hashes[i] = eventstore.HashAt(n.before[i], at, n.after[i], prev)
	}
	return hashes
}

// outcomes gives each append of the batch its own.
func (n *next) outcomes(batch []*pending, at time.Time) []outcome {
	outcomes := make([]outcome, len(batch))
	position := n.head.position
	for i, p := range batch {
		size := int64(len(p.append.Events))
		outcomes[i].result = eventstore.Result{First: position + 1, Last: position + size, Epoch: n.epoch, RecordedAt: at}
		position += size
	}
	return outcomes
}

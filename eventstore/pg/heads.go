package pg

import (
	"crypto/sha256"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/tenure-dev/tenure/eventstore"
)

// heads is what the writer remembers of the log: where the log's head is, and the heads of streams and companies. If the
// log's head is still there, nobody has appended since, and all of it is still true. The writer alone uses it.
type heads struct {
	log       logHead
	streams   *simplelru.LRU[eventstore.Stream, streamHead]
	companies *simplelru.LRU[id, int64]
	// shared says that another process appends too: it is better to ask than to find that the head has moved.
	shared bool
}

// logHead is the last event of the log; without a hash it is not known.
type logHead struct {
	position int64
	hash     []byte
	at       time.Time
}

// streamHead is the last event of a stream; the zero value is that of a stream without events.
type streamHead struct {
	version int64
	hash    [sha256.Size]byte
	by      id
}

// How many streams and companies are remembered, the last used ones.
const (
	rememberedStreams   = 32_768
	rememberedCompanies = 4_096
)

func newHeads() *heads {
	streams, err := simplelru.NewLRU[eventstore.Stream, streamHead](rememberedStreams, nil)
	if err != nil {
		panic(err) // the size is a constant
	}
	companies, err := simplelru.NewLRU[id, int64](rememberedCompanies, nil)
	if err != nil {
		panic(err) // as above
	}
	return &heads{streams: streams, companies: companies}
}

// forget is called when somebody else has appended.
func (h *heads) forget() {
	h.log = logHead{}
	h.streams.Purge()
	h.companies.Purge()
}

// moved is called when the log's head was not where it was remembered.
func (h *heads) moved() {
	h.forget()
	h.shared = true
}

// learn takes over what append_batch told.
func (h *heads) learn(g *arguments, r answer) {
	if h.log.hash != nil {
		h.shared = r.found != h.log.position
	}
	if h.log.hash == nil || h.shared {
		h.forget()
	}
	if r.epoch != g.epoch || r.head.hash == nil {
		return
	}
	h.log = logHead{r.head.position, r.head.hash, *r.head.at}
	for i, stream := range g.streams.list {
		s := streamHead{version: r.heads.version[i], hash: [sha256.Size]byte(r.heads.hash[i])}
		if by := r.heads.by[i]; by != nil {
			s.by = *by
		}
		h.streams.Add(stream, s)
	}
	for i, company := range g.companies.list {
		h.companies.Add(company, r.heads.company[i])
	}
}

// settle takes over what append_next wrote at a time.
func (h *heads) settle(n *next, at time.Time) {
	hashes := n.hashes(at)
	h.log = logHead{n.head.position + int64(len(hashes)), hashes[len(hashes)-1][:], at}
	for stream, s := range n.streams {
		if s.row > 0 {
			s.head.hash = hashes[s.row-1]
		}
		h.streams.Add(stream, s.head)
	}
	for company, position := range n.companies {
		h.companies.Add(company, position)
	}
}

package eventstore

import (
	"container/list"
	"sync"
)

// cache remembers states of streams, the last used ones. A state is never changed in place: it is a value, or whoever
// evolves it copies.
type cache struct {
	mu      sync.Mutex
	limit   int
	order   *list.List
	entries map[Stream]*list.Element
}

type cached struct {
	stream  Stream
	version int64
	state   any
}

func newCache(limit int) *cache {
	return &cache{limit: limit, order: list.New(), entries: make(map[Stream]*list.Element)}
}

func (c *cache) get(s Stream) (any, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[s]
	if !ok {
		return nil, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*cached).state, true
}

// put remembers a state unless a newer one is there.
func (c *cache) put(s Stream, version int64, state any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.entries[s]; ok {
		old := e.Value.(*cached)
		if version > old.version {
			old.version, old.state = version, state
		}
		c.order.MoveToFront(e)
		return
	}
	c.entries[s] = c.order.PushFront(&cached{stream: s, version: version, state: state})
	if c.order.Len() > c.limit {
		last := c.order.Back()
		c.order.Remove(last)
		delete(c.entries, last.Value.(*cached).stream)
	}
}

func (c *cache) drop(s Stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.entries[s]; ok {
		c.order.Remove(e)
		delete(c.entries, s)
	}
}

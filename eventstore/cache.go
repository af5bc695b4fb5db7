package eventstore

import (
	"container/list"
	"sync"
)

// cache remembers states of streams, the last used ones, and which versions this process was told of. A state is never
// changed in place: it is a value, or whoever evolves it copies.
type cache struct {
	mu      sync.Mutex
	limit   int
	order   *list.List
	entries map[Stream]*list.Element
	// epoch is the log's when what is remembered was read. What was of another one may be what the log lost.
	epoch int64
}

type cached struct {
	stream Stream
	// state is that of version; nil when none is remembered.
	state   any
	version int64
	// told is the highest version that this process was told of.
	told int64
	// Of the versions from first to last everybody has heard.
	first, last int64
}

func newCache(limit int) *cache {
	return &cache{limit: limit, order: list.New(), entries: make(map[Stream]*list.Element)}
}

// at makes the cache one of an epoch: what it remembers of another is dropped. It reports whether there was another.
func (c *cache) at(epoch int64) (changed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if changed = c.epoch != epoch; changed {
		c.epoch = epoch
		c.order.Init()
		clear(c.entries)
	}
	return changed
}

// get returns what is remembered of a stream, nil if nothing is. It is current unless a newer version is known of.
func (c *cache) get(s Stream) (state any, current bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[s]
	if !ok {
		return nil, false
	}
	c.order.MoveToFront(e)
	entry := e.Value.(*cached)
	return entry.state, entry.state != nil && entry.version >= entry.told
}

// put remembers a state unless a newer one is there. That a stream has no events is not worth remembering: it may have
// any moment, and nobody need tell this process. One that was made in another epoch of the log is not remembered.
func (c *cache) put(epoch int64, s Stream, version int64, state any) {
	if version == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if epoch != c.epoch {
		return
	}
	entry := c.entry(s)
	if entry.state == nil || version > entry.version {
		entry.version, entry.state = version, state
	}
}

// saw takes note that a stream has a version.
func (c *cache) saw(s Stream, version int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	entry := c.entry(s)
	entry.told = max(entry.told, version)
}

// hear is saw for a version that everybody is told of; it reports whether that is news.
func (c *cache) hear(s Stream, version int64) (news bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	entry := c.entry(s)
	entry.told = max(entry.told, version)
	switch {
	case entry.first <= version && version <= entry.last:
		return false
	case version == entry.last+1:
		entry.last = version
	default:
		entry.first, entry.last = version, version
	}
	return true
}

// drop forgets a state.
func (c *cache) drop(s Stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.entries[s]; ok {
		entry := e.Value.(*cached)
		entry.state, entry.version = nil, 0
	}
}

func (c *cache) entry(s Stream) *cached {
	if e, ok := c.entries[s]; ok {
		c.order.MoveToFront(e)
		return e.Value.(*cached)
	}
	entry := &cached{stream: s}
	c.entries[s] = c.order.PushFront(entry)
	if c.order.Len() > c.limit {
		last := c.order.Back()
		c.order.Remove(last)
		delete(c.entries, last.Value.(*cached).stream)
	}
	return entry
}

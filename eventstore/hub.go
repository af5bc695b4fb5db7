package eventstore

import "sync"

// Hub tells whoever waits for a stream, or for the log as a whole, that there is more to read. It carries no events: the
// log has them. A signal that nobody has taken yet is not repeated, so that a slow reader holds nobody up.
type Hub struct {
	mu      sync.Mutex
	streams map[Stream]map[chan struct{}]bool
	all     map[chan struct{}]bool
	closed  bool
}

// NewHub makes a hub.
func NewHub() *Hub {
	return &Hub{streams: map[Stream]map[chan struct{}]bool{}, all: map[chan struct{}]bool{}}
}

// Publish signals that an event was recorded.
func (h *Hub) Publish(r Recorded) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for ch := range h.streams[r.Stream] {
		signal(ch)
	}
	for ch := range h.all {
		signal(ch)
	}
}

// Watch returns a channel that gets a signal after each event of the stream. It is closed when the hub is; cancel ends the
// watch. Whoever watches first and reads then misses nothing.
func (h *Hub) Watch(s Stream) (signals <-chan struct{}, cancel func()) {
	ch := make(chan struct{}, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		close(ch)
		return ch, func() {}
	}
	if h.streams[s] == nil {
		h.streams[s] = map[chan struct{}]bool{}
	}
	h.streams[s][ch] = true
	return ch, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.streams[s], ch)
		if len(h.streams[s]) == 0 {
			delete(h.streams, s)
		}
	}
}

// WatchAll is Watch for every event of the log.
func (h *Hub) WatchAll() (signals <-chan struct{}, cancel func()) {
	ch := make(chan struct{}, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		close(ch)
		return ch, func() {}
	}
	h.all[ch] = true
	return ch, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.all, ch)
	}
}

// Interrupt ends every watch that there is, as Close does, and lets new ones begin: the log is not the one any more that they
// were begun on.
func (h *Hub) Interrupt() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	h.end()
	h.streams, h.all = map[Stream]map[chan struct{}]bool{}, map[chan struct{}]bool{}
}

// Close ends every watch. It may be called again.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	h.closed = true
	h.end()
	h.streams, h.all = nil, nil
}

// end closes what is watched by. The caller holds the mutex.
func (h *Hub) end() {
	for _, watchers := range h.streams {
		for ch := range watchers {
			close(ch)
		}
	}
	for ch := range h.all {
		close(ch)
	}
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

package host

import (
	"encoding/json"
	"sync"

	"github.com/tenure-dev/tenure/drivers/provider"
	"github.com/tenure-dev/tenure/plugins/protocol"
)

// relay takes the pieces of one command's output to whom they are for, one at a time. They are advisory: the result repeats
// them. So if they come faster than they are taken, the rest is left out; what was given stays a beginning of the whole.
type relay struct {
	give func(provider.OutputChunk)
	done chan struct{}

	mu     sync.Mutex
	queue  []provider.OutputChunk
	queued int
	total  int
	// cut says that a piece was left out, so that no other may follow.
	cut, closed bool
	wake        chan struct{}
}

const (
	relayChunk = 4_000_000      // a million characters
	relayTotal = 128 << 20      // of one call
	relayQueue = relayChunk * 2 // waiting
)

func newRelay(give func(provider.OutputChunk)) *relay {
	r := &relay{give: give, done: make(chan struct{}), wake: make(chan struct{}, 1)}
	go r.run()
	return r
}

func (r *relay) take(params json.RawMessage) {
	var p protocol.ExecuteLog
	if json.Unmarshal(params, &p) != nil || p.Stream != "stdout" && p.Stream != "stderr" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(p.Chunk)
	if r.cut || r.closed || n > relayChunk || r.total+n > relayTotal || r.queued+n > relayQueue {
		r.cut = true
		return
	}
	r.total += n
	r.queued += n
	r.queue = append(r.queue, provider.OutputChunk{Stream: p.Stream, Data: []byte(p.Chunk)})
	r.poke()
}

func (r *relay) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *relay) run() {
	defer close(r.done)
	for {
		r.mu.Lock()
		queue, closed := r.queue, r.closed
		r.queue, r.queued = nil, 0
		r.mu.Unlock()
		for _, c := range queue {
			r.give(c)
		}
		if len(queue) > 0 {
			continue
		}
		if closed {
			return
		}
		<-r.wake
	}
}

// close waits until everything that was taken has been given.
func (r *relay) close() {
	r.mu.Lock()
	r.closed = true
	r.poke()
	r.mu.Unlock()
	<-r.done
}

package eventstore

import (
	"sync"

	"github.com/google/uuid"
)

// underway holds what the feed tells of appends that this process has under way. The feed may be faster than the goroutine
// that appended; whoever heard of such an event then would read what that goroutine is about to remember.
type underway struct {
	mu      sync.Mutex
	appends map[uuid.UUID][]Recorded
}

func newUnderway() *underway { return &underway{appends: make(map[uuid.UUID][]Recorded)} }

func (u *underway) begin(id uuid.UUID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.appends[id] = nil
}

// hold keeps an event of an append under way until its end, and reports whether it is one.
func (u *underway) hold(r Recorded) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	held, ok := u.appends[r.AppendID]
	if ok {
		u.appends[r.AppendID] = append(held, r)
	}
	return ok
}

// end returns what was held.
func (u *underway) end(id uuid.UUID) []Recorded {
	u.mu.Lock()
	defer u.mu.Unlock()
	held := u.appends[id]
	delete(u.appends, id)
	return held
}

package admission

import (
	"maps"
	"slices"

	"github.com/tenure-dev/tenure/domain"
)

// line is who waits, linked by age and, within a class, by key. What is in it refers to each other by index, so that a copy
// is a copy of slices and maps; index 0 is nobody.
//
// Within a class the keys are served by start-time fair queueing: each key has a tag, the virtual time at which its next
// request is due, and the lowest tag is next. A grant moves the tag on by tick divided by the request's weight. A key that
// comes to wait begins at the present, so that who did not ask for long has saved nothing up. All of it is whole numbers
// that follow from the order of the facts, so a replay has the same order.
type line struct {
	waiters []waiter
	// vacant are the indexes that nobody has, the last vacated first.
	vacant           []int32
	of               map[domain.LeaseID]int32
	oldest, youngest int32
	// arrivals numbers who comes to wait.
	arrivals int64
	// overtook are the arrival numbers of those who were granted before the oldest though they came after it, ascending.
	// Nobody who waits has been overtaken more often than the oldest: whoever overtakes a younger one overtakes it too.
	overtook []int64
	ranks    [len(classes)]rank
}

// waiter is one who waits.
type waiter struct {
	lease   domain.LeaseID
	rank    int32
	key     int32
	weight  int32
	arrival int64
	// older and younger are the neighbors by age; before and after those of the same class and key.
	older, younger, before, after int32
}

// rank is those of one class who wait.
type rank struct {
	keys   []key
	vacant []int32
	of     map[string]int32
	// heap has the keys that somebody waits for, the next one first.
	heap []int32
	// now is the virtual time: the tag of whom fairness picked last.
	now int64
	// idle counts keys that nobody waits for; they are remembered while their tag is ahead of now. idleLimit is how many may
	// be there before those that are not ahead any more are looked for.
	idle, idleLimit int
	waiting         int
}

// key is whom requests of a class count for.
type key struct {
	name        string
	tag         int64
	first, last int32
	// place is where it is in the heap; -1 if nobody waits.
	place int32
}

// tick is the virtual time that a grant of weight 1 takes. Most small weights divide it.
const tick = 720_720

// idleKeys is how many keys that nobody waits for are kept without looking whether they must be.
const idleKeys = 64

func newLine() line {
	l := line{waiters: make([]waiter, 1), of: map[domain.LeaseID]int32{}}
	for i := range l.ranks {
		l.ranks[i] = newRank()
	}
	return l
}

func newRank() rank { return rank{keys: make([]key, 1), of: map[string]int32{}, idleLimit: idleKeys} }

func (l line) clone() line {
	l.waiters, l.vacant = slices.Clone(l.waiters), slices.Clone(l.vacant)
	l.of, l.overtook = maps.Clone(l.of), slices.Clone(l.overtook)
	for i, r := range l.ranks {
		r.keys, r.vacant, r.of, r.heap = slices.Clone(r.keys), slices.Clone(r.vacant), maps.Clone(r.of), slices.Clone(r.heap)
		l.ranks[i] = r
	}
	return l
}

func (l *line) len() int { return len(l.of) }

func (l *line) has(id domain.LeaseID) bool {
	_, ok := l.of[id]
	return ok
}

// next is who is granted next, and by which rule; 0 if nobody waits. bound is how often anybody may be overtaken.
func (l *line) next(bound int) (int32, Rule) {
	for i := range l.ranks {
		r := &l.ranks[i]
		if r.waiting == 0 {
			continue
		}
		best := r.keys[r.heap[0]].first
		switch {
		case best != l.oldest && len(l.overtook) >= bound:
			return l.oldest, RuleBound
		case l.len() == 1:
			return best, RuleOnly
		case r.waiting == 1:
			return best, RuleClass
		}
		return best, l.within(r, best)
	}
	return 0, ""
}

// within is by which rule best is before the next of its class.
func (l *line) within(r *rank, best int32) Rule {
	if l.waiters[best].after != 0 {
		return RuleAge // the next one may be of the same key
	}
	tag := r.keys[r.heap[0]].tag
	for place := 1; place <= 2 && place < len(r.heap); place++ {
		if r.keys[r.heap[place]].tag == tag {
			return RuleAge
		}
	}
	return RuleFairness
}

// add puts somebody at the end of the line.
func (l *line) add(id domain.LeaseID, s Standing) {
	if l.has(id) {
		return
	}
	l.arrivals++
	w := waiter{
		lease: id, rank: int32(s.Class.rank()), weight: int32(min(max(s.Weight, 1), MaxWeight)),
		arrival: l.arrivals, older: l.youngest,
	}
	i := take(&l.waiters, &l.vacant)
	l.of[id] = i
	if l.youngest == 0 {
		l.oldest = i
	} else {
		l.waiters[l.youngest].younger = i
	}
	l.youngest = i
	r := &l.ranks[w.rank]
	r.waiting++
	w.key = r.find(s.Key)
	k := &r.keys[w.key]
	w.before = k.last
	if k.last != 0 {
		l.waiters[k.last].after = i
	}
	k.last = i
	l.waiters[i] = w
	if k.first == 0 {
		k.first, k.tag = i, max(k.tag, r.now)
		l.push(r, w.key)
	}
}

// find is the index of a key, which is made if it is not there.
func (r *rank) find(name string) int32 {
	if i, ok := r.of[name]; ok {
		return i
	}
	i := take(&r.keys, &r.vacant)
	r.keys[i] = key{name: name, place: -1}
	r.of[name] = i
	r.idle++
	return i
}

// remove takes somebody out of the line, who was granted or gave up.
func (l *line) remove(id domain.LeaseID, granted bool) {
	i, ok := l.of[id]
	if !ok {
		return
	}
	w := l.waiters[i]
	r := &l.ranks[w.rank]
	k := &r.keys[w.key]
	if granted {
		if i != l.oldest {
			at, _ := slices.BinarySearch(l.overtook, w.arrival)
			l.overtook = slices.Insert(l.overtook, at, w.arrival)
		}
		r.now = max(r.now, r.keys[r.heap[0]].tag)
		k.tag += tick / int64(w.weight)
	}
	delete(l.of, id)
	r.waiting--
	l.waiters[w.older].younger, l.waiters[w.younger].older = w.younger, w.older
	l.waiters[w.before].after, l.waiters[w.after].before = w.after, w.before
	l.waiters[0], l.waiters[i] = waiter{}, waiter{}
	l.vacant = append(l.vacant, i)
	if k.first == i {
		k.first = w.after
	}
	if k.last == i {
		k.last = w.before
	}
	if l.youngest == i {
		l.youngest = w.older
	}
	if l.oldest == i {
		l.oldest = w.younger
		l.forget()
	}
	switch {
	case r.waiting == 0:
		*r = newRank()
	case k.first == 0:
		l.pop(r, w.key)
		r.forget()
	default:
		l.fix(r, int(k.place))
	}
}

// forget drops those from overtook who came before whom is now the oldest.
func (l *line) forget() {
	if l.oldest == 0 {
		l.overtook = nil
		return
	}
	n, _ := slices.BinarySearch(l.overtook, l.waiters[l.oldest].arrival)
	l.overtook = slices.Delete(l.overtook, 0, n)
}

// forget drops the keys that nobody waits for and whose tag is not ahead, once there are many: a key that is not there
// begins at the present, as these would.
func (r *rank) forget() {
	if r.idle <= r.idleLimit {
		return
	}
	for i := range r.keys {
		k := &r.keys[i]
		if i == 0 || k.first != 0 || k.tag > r.now || r.of[k.name] != int32(i) {
			continue
		}
		delete(r.of, k.name)
		*k = key{}
		r.vacant = append(r.vacant, int32(i))
		r.idle--
	}
	r.idleLimit = 2*r.idle + idleKeys
}

// less orders keys: by tag, then by how long their first one waits.
func (l *line) less(r *rank, a, b int32) bool {
	x, y := &r.keys[a], &r.keys[b]
	if x.tag != y.tag {
		return x.tag < y.tag
	}
	return l.waiters[x.first].arrival < l.waiters[y.first].arrival
}

// The heap is a binary one; each key knows its place in it.

func (l *line) push(r *rank, k int32) {
	r.idle--
	r.heap = append(r.heap, k)
	r.keys[k].place = int32(len(r.heap) - 1)
	l.up(r, len(r.heap)-1)
}

func (l *line) pop(r *rank, k int32) {
	r.idle++
	at, last := int(r.keys[k].place), len(r.heap)-1
	r.swap(at, last)
	r.heap = r.heap[:last]
	r.keys[k].place = -1
	if at < last {
		l.fix(r, at)
	}
}

func (l *line) fix(r *rank, at int) { l.down(r, l.up(r, at)) }

func (l *line) up(r *rank, at int) int {
	for at > 0 {
		parent := (at - 1) / 2
		if !l.less(r, r.heap[at], r.heap[parent]) {
			break
		}
		r.swap(at, parent)
		at = parent
	}
	return at
}

func (l *line) down(r *rank, at int) {
	for {
		least := 2*at + 1
		if least >= len(r.heap) {
			return
		}
		if right := least + 1; right < len(r.heap) && l.less(r, r.heap[right], r.heap[least]) {
			least = right
		}
		if !l.less(r, r.heap[least], r.heap[at]) {
			return
		}
		r.swap(at, least)
		at = least
	}
}

func (r *rank) swap(a, b int) {
	r.heap[a], r.heap[b] = r.heap[b], r.heap[a]
	r.keys[r.heap[a]].place, r.keys[r.heap[b]].place = int32(a), int32(b)
}

// take is an index that nobody has.
func take[T any](all *[]T, vacant *[]int32) int32 {
	if n := len(*vacant); n > 0 {
		i := (*vacant)[n-1]
		*vacant = (*vacant)[:n-1]
		return i
	}
	var none T
	*all = append(*all, none)
	return int32(len(*all) - 1)
}

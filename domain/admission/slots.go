package admission

import "slices"

// slotBook knows which slots are free: those in free, and all from next on. Slots count from 1. Its methods return a new
// book and leave the old one as it was.
type slotBook struct {
	// used is the highest slot ever taken; free are those below that were given back, ascending.
	used int
	free []int
}

// take is the lowest free slot and the book without it.
func (b slotBook) take() (int, slotBook) {
	if len(b.free) > 0 {
		return b.free[0], slotBook{used: b.used, free: b.free[1:]}
	}
	return b.used + 1, slotBook{used: b.used + 1}
}

// give is the book with a slot free again.
func (b slotBook) give(slot int) slotBook {
	i, found := slices.BinarySearch(b.free, slot)
	if found || slot > b.used || slot < 1 {
		return b
	}
	free := make([]int, 0, len(b.free)+1)
	free = append(free, b.free[:i]...)
	free = append(free, slot)
	return slotBook{used: b.used, free: append(free, b.free[i:]...)}
}

// mark is the book with a certain slot taken.
func (b slotBook) mark(slot int) slotBook {
	if i, found := slices.BinarySearch(b.free, slot); found {
		if i == 0 {
			return slotBook{used: b.used, free: b.free[1:]}
		}
		return slotBook{used: b.used, free: slices.Delete(slices.Clone(b.free), i, i+1)}
	}
	if slot <= b.used {
		return b
	}
	free := slices.Clone(b.free)
	for n := b.used + 1; n < slot; n++ {
		free = append(free, n)
	}
	return slotBook{used: slot, free: free}
}

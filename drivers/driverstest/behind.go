package driverstest

import (
	"sync"

	"github.com/tenure-dev/tenure/drivers"
)

// Behind remembers what is behind each driver that a test made, such as the directory of its runtimes.
type Behind[T any] struct{ all sync.Map }

// Add says that it is behind d, and returns d.
func (b *Behind[T]) Add(d drivers.Driver, it T) drivers.Driver {
	b.all.Store(d, it)
	return d
}

// Of is what was added for d.
func (b *Behind[T]) Of(d drivers.Driver) T {
	it, _ := b.all.Load(d)
	return it.(T)
}

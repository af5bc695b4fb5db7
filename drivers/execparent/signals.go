package execparent

import (
	"syscall"
	"unsafe"
)

// sigaction is the kernel's struct sigaction as far as it is used here: the handler comes first, and a struct of zeros
// means the default.
type sigaction struct {
	handler uintptr
	_       [3]uint64
}

const (
	sigIgnore  = 1
	lastSignal = 64
	// sigsetBytes is the size of the kernel's signal set.
	sigsetBytes = 8
)

// defaultSignals gives every ignored signal its default again. Ignored signals survive an exec, so a command would get
// what somebody up the line ignored: nohup ignores SIGHUP, and whatever glibc's posix_spawn started (make, for one)
// ignores signal 32. Signals that have a handler need nothing: an exec resets them.
func defaultSignals() {
	for n := uintptr(1); n <= lastSignal; n++ {
		var old, def sigaction
		if rtSigaction(n, nil, &old) == 0 && old.handler == sigIgnore {
			_ = rtSigaction(n, &def, nil) // it was accepted as ignored, so it is accepted as default
		}
	}
}

func rtSigaction(n uintptr, set, old *sigaction) syscall.Errno {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, n, uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)), sigsetBytes, 0, 0)
	return errno
}

//go:build faults

package faults

import (
	"os"
	"strings"
	"time"
	"unsafe"
)

// Now is the machine's time as its clock has it: wrong by what the file of ClockVariable says at this moment. As on a
// machine whose clock is set, only what the clock shows is wrong; how much time passes is measured by another one.
func Now() time.Time {
	now := time.Now()
	if armed.clock == "" {
		return now
	}
	wrong, err := wrongBy(armed.clock)
	if err != nil {
		refuse(err.Error())
	}
	return show(now, wrong)
}

// wrongBy reads the file, which whoever changes it puts in place as a whole.
func wrongBy(path string) (time.Duration, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return time.ParseDuration(strings.TrimSpace(string(raw)))
}

// show changes what a reading of the clock shows, in whole seconds, and leaves its monotonic part as it is. Package time
// has no door for that: the seconds stand above 30 bits of nanoseconds in its first word.
func show(t time.Time, wrong time.Duration) time.Time {
	*(*uint64)(unsafe.Pointer(&t)) += uint64(wrong/time.Second) << 30
	return t
}

// canShow reports whether package time is still built as show takes it to be.
func canShow() bool {
	now := time.Now()
	for _, wrong := range []time.Duration{time.Hour, -time.Hour} {
		t := show(now, wrong)
		if t.Sub(now) != 0 || t.Round(0).Sub(now.Round(0)) != wrong {
			return false
		}
	}
	return true
}

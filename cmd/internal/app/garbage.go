package app

import (
	"os"
	"runtime/debug"
)

// collectAt is how much the heap may grow, in percent of what lives, before garbage is collected. An engine's heap is small
// and most of what it makes is gone in a moment; at Go's own 100 a quarter of the processor went into collecting.
const collectAt = 200

// tuneGarbage leaves GOGC, if somebody set it, as it is.
func tuneGarbage() {
	if _, set := os.LookupEnv("GOGC"); !set {
		debug.SetGCPercent(collectAt)
	}
}

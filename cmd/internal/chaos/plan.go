package main

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// fault is a way in which something goes wrong.
type fault string

// The faults, named as the report counts them.
const (
	faultKill      fault = "kill"
	faultStop      fault = "stop"
	faultPGRestart fault = "pgRestart"
	faultCut       fault = "cut"
	faultClock     fault = "clock"
	faultPlugin    fault = "plugin"
	faultPromote   fault = "promote"
	faultClone     fault = "clone"
	faultDrain     fault = "drain"
)

// every is how often a fault is done, about. A promotion and a clone are dear: the one lets nothing be driven for seconds, the
// other starts another engine.
var every = map[fault]time.Duration{
	faultKill: 12 * time.Second, faultStop: 14 * time.Second, faultPGRestart: 50 * time.Second, faultCut: 11 * time.Second,
	faultClock: 20 * time.Second, faultPlugin: 9 * time.Second, faultPromote: 240 * time.Second, faultClone: 200 * time.Second,
	faultDrain: 55 * time.Second,
}

// about says what each fault is, for a person.
var about = map[fault]string{
	faultKill:      "kill -9 of a process, in the middle of anything or at a chosen point of its work; it is back after a moment, an api server at times as a new node",
	faultStop:      "SIGSTOP of a process for up to 30 s, also within an append, and SIGCONT",
	faultPGRestart: "pg_ctl -m immediate, as after a crash, and a start",
	faultCut:       "links between a process and Postgres, or between clients and a process: cut, refused, silent for a while, or silent for good",
	faultClock:     "the clock of a process's machine is wrong by up to two hours, and is set right again",
	faultPlugin:    "the worker of the provider fake is killed or stopped, or its calls are slow, late, fail, crash it, or answer junk",
	faultPromote:   "a standby that lacks the last events takes the place of the primary; the log is adopted after a look that nothing is driven before",
	faultClone:     "a copy of the database is started beside it, with a process of its own, and must have no effect at the provider",
	faultDrain:     "tenure worker drain, and a start",
}

// parseFaults reads a list; "all" is every fault, "none" none.
func parseFaults(list string) ([]fault, error) {
	switch list {
	case "all":
		return slices.Sorted(maps.Keys(every)), nil
	case "none", "":
		return nil, nil
	}
	var wanted []fault
	for name := range strings.SplitSeq(list, ",") {
		f := fault(strings.TrimSpace(name))
		if _, ok := every[f]; !ok {
			return nil, fmt.Errorf("there is no fault %q; there are %v, and all", name, slices.Sorted(maps.Keys(every)))
		}
		if !slices.Contains(wanted, f) {
			wanted = append(wanted, f)
		}
	}
	slices.Sort(wanted)
	return wanted, nil
}

// deed is one fault of a plan.
type deed struct {
	at    time.Duration
	fault fault
	// seed decides everything else of it.
	seed uint64
}

// plan is what goes wrong in a run, and when. It follows from the seed, the time and the faults alone. Each fault comes at its own pace,
// and each at least once, unless the time is too short for a word.
func plan(seed uint64, duration time.Duration, wanted []fault) []deed {
	var deeds []deed
	for _, f := range wanted {
		random := randomOf(seed, hash(string(f)))
		pace := min(every[f], duration*2/5)
		for at := part(random, pace); at < duration*9/10; at += part(random, pace) {
			deeds = append(deeds, deed{at: at, fault: f, seed: random.Uint64()})
		}
	}
	slices.SortStableFunc(deeds, func(a, b deed) int { return cmp.Compare(a.at, b.at) })
	return deeds
}

// part is a time around a pace: from half of it to one and a half.
func part(random *rand.Rand, pace time.Duration) time.Duration {
	return pace/2 + time.Duration(random.Int64N(int64(pace)+1))
}

// hash makes a number of a name.
func hash(name string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // it never fails
	return h.Sum64()
}

// randomOf makes a source of chance that follows from a seed, one for each of those who draw from it.
func randomOf(seed, whose uint64) *rand.Rand {
	return rand.New(rand.NewPCG(seed, whose)) //nolint:gosec // it is to be the same again
}

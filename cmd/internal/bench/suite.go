package main

import (
	"context"
	"flag"
	"fmt"
	"regexp"
	"time"
)

// group is benchmarks that are measured together.
type group struct {
	names []string
	run   func(context.Context, *bench) error
	// root says that it needs root; without it is left out.
	root bool
}

// String names the first and says how many more there are.
func (g group) String() string {
	if len(g.names) == 1 {
		return g.names[0]
	}
	return fmt.Sprintf("%s and %d more", g.names[0], len(g.names)-1)
}

// groups are all benchmarks, in the order in which they run: what fills the disk comes last.
var groups = []group{
	{names: []string{"append/1"}, run: appends("append/1", 1, "", 0.7)},
	{names: []string{"append/8"}, run: appends("append/8", 8, "", 0.7)},
	{names: []string{"append/32"}, run: appends("append/32", 32, "", 1.3)},
	{names: []string{"append/128"}, run: appends("append/128", 128, "", 4)},
	{names: []string{"append/8/rtt1ms"}, run: appends("append/8/rtt1ms", 8, "rtt1ms", 0)},
	{names: []string{"wakeup/p50", "wakeup/p99"}, run: wakeups},
	{names: []string{"acquire/c1/p50", "acquire/c1/p99"}, run: acquires},
	{names: []string{"cycles/c1"}, run: cycles("cycles/c1", 1, 0)},
	{names: []string{"cycles/c8"}, run: cycles("cycles/c8", 8, 0)},
	{names: []string{"cycles/c64"}, run: cycles("cycles/c64", 64, 1000)},
	{names: []string{"grants/contended"}, run: grants("grants/contended", 1, 1500)},
	{names: []string{"grants/100envs"}, run: grants("grants/100envs", 100, 0)},
	{names: []string{"renew/p99"}, run: renewals},
	{names: []string{"takeover/kill/p50", "takeover/kill/p99"}, run: takeovers},
	{names: workerNames(), run: throughput},
	{names: []string{"memory/idle10k"}, run: memory},
	{names: []string{"expiry/sweep100k"}, run: sweeps},
	{names: []string{"expiry/idle100k"}, run: idleCost},
	{names: driverNames("local"), run: driverTimes(localBench)},
	{names: driverNames("ssh", "acquire_warm/p50"), run: driverTimes(sshBench)},
	{names: driverNames("fake"), run: driverTimes(fakeBench)},
	{names: driverNames("bubblewrap"), run: driverTimes(bubblewrapBench)},
	{names: []string{"driver/bubblewrap/create_first_exit/p50", "driver/bubblewrap/100_at_once/p99"}, run: sandboxes},
	{names: driverNames("docker"), run: driverTimes(dockerBench), root: true},
	{names: []string{"plugin/roundtrip/p50"}, run: pluginRoundTrip},
	{names: []string{"catchup/1m"}, run: catchup},
	{names: []string{"rebuild/1m"}, run: rebuild},
}

func choose(pattern *regexp.Regexp) ([]group, error) {
	var chosen []group
	var all []string
	for _, g := range groups {
		matches := false
		for _, name := range g.names {
			matches = matches || pattern.MatchString(name)
		}
		if matches {
			chosen = append(chosen, g)
		}
		all = append(all, g.names...)
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("-run %q matches none of %v", pattern, all)
	}
	return chosen, nil
}

// sizes say how much is done. The names of the benchmarks state the full ones.
type sizes struct {
	rounds       int
	round        time.Duration
	wakeups      int
	acquires     int
	environments int
	renewals     int
	importers    int
	visits       int
	atOnce       int
	trips        int
	events       int
	leases       int
	deadlines    int
	kills        int
	parallel     int
	settle       time.Duration
	watch        time.Duration
}

func fullSizes() sizes {
	return sizes{
		rounds: 7, round: 1500 * time.Millisecond, wakeups: 2000, acquires: 1000, environments: 1, renewals: 1000,
		importers: 8, visits: 100, atOnce: 100, trips: 2000, events: 1_000_000, leases: 10_000, deadlines: 100_000, kills: 100, parallel: 1, settle: 5 * time.Second, watch: 66 * time.Second,
	}
}

func shortSizes() sizes {
	return sizes{
		rounds: 1, round: 50 * time.Millisecond, wakeups: 10, acquires: 5, environments: 1, renewals: 5,
		importers: 2, visits: 2, atOnce: 3, trips: 10, events: 2000, leases: 20, deadlines: 100, kills: 1, parallel: 1, settle: 0, watch: 300 * time.Millisecond,
	}
}

func (s *sizes) flags(f *flag.FlagSet) {
	f.IntVar(&s.rounds, "rounds", s.rounds, "rounds of append, cycles, grants and throughput; the figures are medians of them")
	f.DurationVar(&s.round, "round", s.round, "length of a round, and of each floor")
	f.IntVar(&s.wakeups, "wakeups", s.wakeups, "events of wakeup")
	f.IntVar(&s.acquires, "acquires", s.acquires, "leases of acquire")
	f.IntVar(&s.environments, "environments", s.environments, "environments that the leases of cycles are spread over")
	f.IntVar(&s.renewals, "renewals", s.renewals, "renewals of renew")
	f.IntVar(&s.importers, "importers", s.importers, "appends that the import of renew keeps waiting")
	f.IntVar(&s.visits, "visits", s.visits, "leases of driver, each with a command; a fifth of them for docker")
	f.IntVar(&s.atOnce, "at-once", s.atOnce, "sandboxes of 100_at_once")
	f.IntVar(&s.trips, "trips", s.trips, "calls of plugin")
	f.IntVar(&s.events, "events", s.events, "events of catchup and rebuild")
	f.IntVar(&s.leases, "leases", s.leases, "active leases of memory")
	f.IntVar(&s.deadlines, "deadlines", s.deadlines, "leases of expiry")
	f.IntVar(&s.kills, "kills", s.kills, "workers that takeover kills")
	f.IntVar(&s.parallel, "parallel", s.parallel, "leases that each worker of throughput works on at once")
	f.DurationVar(&s.settle, "settle", s.settle, "how long an engine rests before its memory, or what it uses, is read")
	f.DurationVar(&s.watch, "watch", s.watch, "how long an idle engine is watched")
}

package runtimeurl

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"
)

const (
	// maxBody is how much of an answer's body is looked at.
	maxBody = 1024

	// What did not answer is tried again after these pauses, while the budget lasts.
	maxRounds    = 4
	firstPause   = 100 * time.Millisecond
	longestPause = time.Second

	leastPerTry = time.Second
)

var errBudget = errors.New("the budget of the discovery is spent")

// item is a candidate with what became of it.
type item struct {
	candidate
	attempts []attempt
	status   Status
	detail   string
	// timeouts counts the rounds in which nothing answered in time: one more try is enough.
	timeouts int
}

// settled reports whether trying again would be no use.
func (it *item) settled() bool {
	switch it.status {
	case StatusRefused, StatusUnreachable, StatusNotTried:
		return false
	case StatusTimeout:
		return it.timeouts > 1
	case StatusWrongStatus:
		return it.detail < "500" // a server that starts, or a proxy in front of it
	case StatusAnswered, StatusUnresolved, StatusNotOurs, StatusDenied, StatusNoTool, StatusInvalid:
	}
	return true
}

func (it *item) become(status Status, detail string) { it.status, it.detail = status, detail }

// search is one Discover.
type search struct {
	d      *Discoverer
	runner Runner
	// dialer is nil if the runner is none.
	dialer Dialer
	items  []*item
	rounds int
	perTry time.Duration
}

func newSearch(d *Discoverer, r Runner, q Query) *search {
	s := &search{d: d, runner: r}
	s.dialer, _ = r.(Dialer)
	for _, c := range d.candidates(q) {
		s.items = append(s.items, &item{candidate: c, status: StatusNotTried})
	}
	return s
}

// check resolves the names, all at once, and applies the table.
func (s *search) check(ctx context.Context, local bool) {
	ctx, cancel := context.WithTimeout(ctx, s.d.opts.PerTry)
	defer cancel()
	var resolving sync.WaitGroup
	for _, it := range s.items {
		resolving.Go(func() { s.d.checkItem(ctx, it, local) })
	}
	resolving.Wait()
	attempts := 0
	for _, it := range s.items {
		attempts += len(it.attempts)
	}
	s.perTry = min(s.d.opts.PerTry, max(leastPerTry, s.d.opts.Budget/time.Duration(max(attempts, 1))))
}

func (d *Discoverer) checkItem(ctx context.Context, it *item, local bool) {
	if it.problem != "" {
		it.become(StatusInvalid, it.problem)
		return
	}
	addrs := []netip.Addr{it.addr}
	if it.isName() {
		if why := d.table.nameDenied(it.host); why != "" {
			it.become(StatusDenied, why)
			return
		}
		var err error
		if addrs, err = d.opts.Resolve(ctx, it.host); err != nil || len(addrs) == 0 {
			if d.table.names(it.host) {
				it.attempts = []attempt{{item: it}}
			} else {
				it.become(StatusUnresolved, "the engine cannot resolve the name; allow it by name to let the runtime resolve it")
			}
			return
		}
	}
	for _, addr := range addrs {
		addr = addr.Unmap().WithZone("")
		if why := d.table.addrDenied(addr); why != "" {
			it.become(StatusDenied, why)
			return
		}
		written := it.source == SourceEnv || it.source == SourceConfigured
		if addr.IsLoopback() && !local && !written {
			it.become(StatusDenied, "leads to "+addr.String()+", which is the runtime itself")
			return
		}
	}
	it.attempts = attemptsAt(it, addrs)
}

// attemptsAt takes one address of each family, IPv4 first.
func attemptsAt(it *item, addrs []netip.Addr) []attempt {
	var v4, v6 []attempt
	for _, addr := range addrs {
		addr = addr.Unmap().WithZone("")
		if a := (attempt{item: it, addr: addr}); addr.Is4() {
			v4 = append(v4, a)
		} else {
			v6 = append(v6, a)
		}
	}
	return append(v4[:min(1, len(v4))], v6[:min(1, len(v6))]...)
}

// round tries everybody who is not settled, in order, until one answers. It reports whether another round may help.
func (s *search) round(ctx context.Context) bool {
	s.rounds++
	var open []*item
	for _, it := range s.items {
		if !it.settled() {
			open = append(open, it)
		}
	}
	for len(open) > 0 && ctx.Err() == nil {
		n := 1
		if s.dials(open[0]) {
			s.dialFirst(ctx, open[0])
		} else {
			for n < len(open) && !s.dials(open[n]) {
				n++
			}
			s.scriptFirst(ctx, open[:n])
		}
		if s.answered() != nil {
			return false
		}
		open = open[n:]
	}
	again := false
	for _, it := range s.items {
		if it.status == StatusTimeout {
			it.timeouts++
		}
		again = again || !it.settled()
	}
	return again && s.rounds < maxRounds
}

// dials reports whether it is tried by dialing before any script: over http both see the same, and dialing is faster. Over
// https the runtime's own tools also show that the runtime trusts the certificate.
func (s *search) dials(it *item) bool { return s.dialer != nil && it.scheme == "http" }

// dialFirst dials, and runs the script if no connection came about for a reason that may be the dialer's own.
func (s *search) dialFirst(ctx context.Context, it *item) {
	s.dial(ctx, it)
	if it.status != StatusUnreachable || ctx.Err() != nil {
		return
	}
	detail := it.detail
	s.runScript(ctx, []*item{it})
	if it.status == StatusNoTool || it.status == StatusNotTried {
		it.become(StatusUnreachable, detail)
	}
}

// scriptFirst runs the script, and dials for what it had no tool for.
func (s *search) scriptFirst(ctx context.Context, items []*item) {
	s.runScript(ctx, items)
	if s.dialer == nil {
		return
	}
	for _, it := range items {
		if it.status == StatusAnswered || ctx.Err() != nil {
			return
		}
		if it.status == StatusNoTool || it.status == StatusNotTried {
			s.dial(ctx, it)
		}
	}
}

func (s *search) runScript(ctx context.Context, items []*item) {
	var attempts []attempt
	for _, it := range items {
		it.become(StatusNotTried, "")
		attempts = append(attempts, it.attempts...)
	}
	out, err := s.runner.RunScript(ctx, script, scriptInput(s.perTry, attempts))
	for _, r := range parseReplies(out, len(attempts)) {
		it := attempts[r.index].item
		status, detail := r.judge()
		if it.status == StatusNotTried || status == StatusAnswered {
			it.become(status, detail)
		}
	}
	if err == nil {
		return
	}
	detail := "the script did not end: " + clean(err.Error())
	if ctx.Err() != nil {
		detail = errBudget.Error()
	}
	for _, it := range items {
		if it.status == StatusNotTried {
			it.detail = detail
		}
	}
}

func (s *search) answered() *item {
	for _, it := range s.items {
		if it.status == StatusAnswered {
			return it
		}
	}
	return nil
}

func (s *search) result() Result {
	var r Result
	for _, it := range s.items {
		r.Tried = append(r.Tried, Outcome{URL: it.url, Source: it.source, Status: it.status, Detail: it.detail})
		if it.status == StatusAnswered {
			r.URL = it.url
			break
		}
	}
	return r
}

// pause waits; it reports whether there is time left.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

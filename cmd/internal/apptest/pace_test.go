package apptest_test

import (
	"crypto/sha256"
	"time"
)

// pace measures how much slower a busy machine is than it could be, by a piece of work that nothing of ours has a part in. A
// limit that says how fast an engine is holds on a machine that is its own, and is as many times longer on one that is not.
type pace struct {
	fastest, all time.Duration
	times        int
}

// look does the piece of work once.
func (p *pace) look() {
	began := time.Now()
	sha256.Sum256(make([]byte, 4<<20))
	took := time.Since(began)
	if p.times == 0 || took < p.fastest {
		p.fastest = took
	}
	p.all += took
	p.times++
}

// slower is how many times slower the machine was on average.
func (p *pace) slower() float64 { return float64(p.all) / float64(p.times) / float64(p.fastest) }

// stretched is a limit for the machine as it was on average.
func (p *pace) stretched(limit time.Duration) time.Duration {
	return time.Duration(float64(limit) * p.slower())
}

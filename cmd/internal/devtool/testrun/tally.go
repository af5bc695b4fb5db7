package main

import (
	"fmt"
	"slices"
	"strings"
)

// tally counts what ran.
//
// A test is counted where it has no subtests; one that has them is counted through them, and itself only if it failed
// though none of them did. A test that began and never ended (a panic, a timeout, an exit) failed. A package that failed
// without a failed test in it (it does not build, TestMain exits, a process was left) counts as one failure.
type tally struct{ passed, failed, skipped int }

func (t tally) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", t.passed, t.failed, t.skipped)
}

// green says that something passed and nothing else happened. A run of nothing is not green.
func (t tally) green() bool { return t.passed > 0 && t.failed == 0 && t.skipped == 0 }

// verdict is how a test ended.
type verdict string

// The verdicts; running is also that of a test whose package ended under it.
const (
	running verdict = "run"
	passed  verdict = "pass"
	failed  verdict = "fail"
	skipped verdict = "skip"
)

// testRecord is one test or subtest of a package.
type testRecord struct {
	name    string
	verdict verdict
	output  []string
}

// pkgRecord collects what one package said until it ended.
type pkgRecord struct {
	tests  map[string]*testRecord
	order  []string
	output []string
}

func newPkgRecord() *pkgRecord { return &pkgRecord{tests: map[string]*testRecord{}} }

func (p *pkgRecord) test(name string) *testRecord {
	t, ok := p.tests[name]
	if !ok {
		t = &testRecord{name: name, verdict: running}
		p.tests[name] = t
		p.order = append(p.order, name)
	}
	return t
}

// count applies the rule of [tally]; pkgFailed is the verdict on the package as a whole.
func (p *pkgRecord) count(pkgFailed bool) tally {
	parents := map[string]bool{}
	failedBelow := map[string]bool{}
	for name, t := range p.tests {
		for _, up := range ancestors(name) {
			parents[up] = true
			failedBelow[up] = failedBelow[up] || t.verdict == failed || t.verdict == running
		}
	}
	var sum tally
	for name, t := range p.tests {
		bad := t.verdict == failed || t.verdict == running
		switch {
		case bad && !failedBelow[name]:
			sum.failed++
		case parents[name]:
			// Counted through its subtests.
		case t.verdict == skipped:
			sum.skipped++
		case t.verdict == passed:
			sum.passed++
		}
	}
	if pkgFailed && sum.failed == 0 {
		sum.failed++
	}
	return sum
}

// with is the tests that ended with one of the verdicts, in the order they began.
func (p *pkgRecord) with(verdicts ...verdict) []*testRecord {
	var found []*testRecord
	for _, name := range p.order {
		if t := p.tests[name]; slices.Contains(verdicts, t.verdict) {
			found = append(found, t)
		}
	}
	return found
}

// ancestors of "A/b/c" are "A" and "A/b".
func ancestors(name string) []string {
	var up []string
	for i := range len(name) {
		if name[i] == '/' {
			up = append(up, name[:i])
		}
	}
	return up
}

func join(lines []string) string { return strings.Join(lines, "") }

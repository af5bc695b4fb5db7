package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// event is one line of go test -json (go doc test2json, go help buildjson).
type event struct {
	Action      string
	Package     string
	Test        string
	ImportPath  string
	Output      string
	Elapsed     float64
	FailedBuild string
}

// report prints progress as events arrive and keeps the sums.
type report struct {
	out      io.Writer
	tally    tally
	packages map[string]*pkgRecord
	builds   map[string][]string
}

func newReport(out io.Writer) *report {
	return &report{out: out, packages: map[string]*pkgRecord{}, builds: map[string][]string{}}
}

// line takes one line of output. What is no event (a tool's warning on the same stream) is shown as it is.
func (r *report) line(line []byte) {
	var e event
	if err := json.Unmarshal(line, &e); err != nil || e.Action == "" {
		r.print(string(line))
		return
	}
	switch e.Action {
	case "build-output":
		r.builds[e.ImportPath] = append(r.builds[e.ImportPath], e.Output)
		return
	case "build-fail":
		// Its output is printed with the package that needed it; many packages may.
		return
	}
	if e.Test != "" {
		r.testEvent(e)
		return
	}
	r.packageEvent(e)
}

func (r *report) testEvent(e event) {
	t := r.pkg(e.Package).test(e.Test)
	switch e.Action {
	case "output":
		t.output = append(t.output, e.Output)
	case "pass", "fail", "skip":
		t.verdict = verdict(e.Action)
		if t.verdict == passed {
			t.output = nil
		}
	}
}

func (r *report) packageEvent(e event) {
	p := r.pkg(e.Package)
	switch e.Action {
	case "output":
		p.output = append(p.output, e.Output)
	case "pass", "fail", "skip":
		r.packageEnded(e, p)
		delete(r.packages, e.Package)
	}
}

func (r *report) pkg(path string) *pkgRecord {
	p, ok := r.packages[path]
	if !ok {
		p = newPkgRecord()
		r.packages[path] = p
	}
	return p
}

func (r *report) packageEnded(e event, p *pkgRecord) {
	bad := e.Action == "fail"
	sum := p.count(bad)
	r.add(sum)
	if bad {
		r.print(join(r.builds[e.FailedBuild]))
		for _, t := range p.with(failed, running) {
			if t.verdict == running {
				r.print(fmt.Sprintf("--- DID NOT END: %s\n", t.name))
			}
			r.print(join(t.output))
		}
		r.print(join(p.output))
	}
	for _, t := range p.with(skipped) {
		r.print(join(t.output))
	}
	word := map[bool]string{false: "ok  ", true: "FAIL"}[sum.failed > 0 || sum.skipped > 0]
	if e.Action == "skip" && len(p.tests) == 0 {
		return // A package without test files.
	}
	r.print(fmt.Sprintf("%s %s %.1fs: %s\n", word, e.Package, e.Elapsed, sum))
}

// leftBehind reports processes that outlived the tests. They are a failure: they hold ports, files and CI jobs open.
func (r *report) leftBehind(processes []string) {
	if len(processes) == 0 {
		return
	}
	r.tally.failed++
	r.print("FAIL the tests left processes behind (ended now):\n")
	for _, p := range processes {
		r.print("     " + p + "\n")
	}
}

// finish prints what the end of the run adds, and the counts as the last line.
func (r *report) finish(testErr error, needRoot []string) {
	for path, p := range r.packages {
		// The stream ended under this package: go test itself was ended.
		sum := p.count(true)
		r.add(sum)
		r.print(fmt.Sprintf("%sFAIL %s did not end: %s\n", join(p.output), path, sum))
	}
	if testErr != nil && r.tally.failed == 0 {
		r.tally.failed++
		r.print(fmt.Sprintf("FAIL go test: %v\n", testErr))
	}
	for _, path := range needRoot {
		r.print(fmt.Sprintf("not run, needs root: %s\n", path))
	}
	if r.tally == (tally{}) {
		r.print("no test ran, which is no success\n")
	}
	r.print(r.tally.String() + "\n")
}

func (r *report) add(sum tally) {
	r.tally.passed += sum.passed
	r.tally.failed += sum.failed
	r.tally.skipped += sum.skipped
}

// print writes text and closes its last line. A broken standard output must not end the run: the event file and the exit
// status still tell.
func (r *report) print(text string) {
	if text == "" {
		return
	}
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	_, _ = io.WriteString(r.out, text)
}

package seeds

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"

	"github.com/tenure-dev/tenure/cmd/internal/check"
)

// Run is what to run.
type Run struct {
	Program string
	First   uint64
	Seeds   int
	// Jobs is how many processes.
	Jobs int
	// Traces, if set, is where the trace of each seed goes.
	Traces string
}

// ruleCrash is that a story comes to an end at all.
const ruleCrash check.Rule = "crash"

// Each tells each seed's story to hear, which is called by one process at a time and says whether to go on.
func (r Run) Each(ctx context.Context, hear func(Told) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	jobs := min(r.Jobs, r.Seeds)
	var mu sync.Mutex
	enough := false
	hear1 := func(t Told) {
		mu.Lock()
		defer mu.Unlock()
		if !enough && !hear(t) {
			enough = true
			cancel()
		}
	}
	errs := make([]error, jobs)
	var all sync.WaitGroup
	for n := range jobs {
		part := r
		part.First, part.Seeds = r.First+uint64(n), (r.Seeds-n+jobs-1)/jobs
		all.Go(func() { errs[n] = part.process(ctx, jobs, hear1) })
	}
	all.Wait()
	if enough {
		return nil
	}
	return errors.Join(errs...)
}

// process runs every stride-th seed in one process.
func (r Run) process(ctx context.Context, stride int, hear func(Told)) error {
	c := exec.CommandContext(ctx, r.Program,
		"-test.run", "^TestNoStoryBreaksAPromise$", "-test.timeout", "0", "-test.count", "1", "-told",
		"-first", fmt.Sprint(r.First), "-seeds", fmt.Sprint(r.Seeds), "-stride", fmt.Sprint(stride), "-traces", r.Traces,
	)
	// A heap profile would draw on the chance of the runtime.
	c.Env = append(os.Environ(), "GOMAXPROCS=1", "GOGC=off")
	var said, failed bytes.Buffer
	c.Stderr = &failed
	stdout, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		return fmt.Errorf("run the simulation: %w", err)
	}
	next, done := r.First, 0
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		text, ok := strings.CutPrefix(lines.Text(), Prefix)
		if !ok {
			said.WriteString(lines.Text() + "\n")
			continue
		}
		var t Told
		if err := json.Unmarshal([]byte(text), &t); err != nil {
			return fmt.Errorf("read what the simulation says: %w", err)
		}
		next, done = t.Seed+uint64(stride), done+1
		hear(t)
	}
	err = errors.Join(lines.Err(), c.Wait())
	switch {
	case ctx.Err() != nil:
		err = nil // somebody has heard enough, and the process was ended
	case done < r.Seeds:
		// The story itself did not end: the program panicked, or all its goroutines wait for ever.
		hear(Told{Seed: next, Violations: []check.Violation{{Rule: ruleCrash, Subject: "story", Detail: fmt.Sprintf("%v\n%s%s", err, said.Bytes(), failed.Bytes())}}})
		err = nil
	case err != nil:
		err = fmt.Errorf("run the simulation: %w", err)
	}
	return err
}

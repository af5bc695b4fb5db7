package host

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/journal"
	"github.com/tenure-dev/tenure/plugins/protocol"
)

// execution is a command that a worker runs and whose output comes by credit: no more of it is on its way than the window,
// and more is allowed when what came is in the journal.
type execution struct {
	id      string
	child   *child
	journal *journal.Writer
	window  int64
	process drivers.Process
	// release lets go of the secrets that the command was given.
	release func()
	// done is closed when result is set and the output sealed.
	done   chan struct{}
	result drivers.ExecResult

	mu    sync.Mutex
	queue []protocol.ExecOutput
	// owed are bytes that came and for which no credit was given yet. broken says that the worker sent more than it may.
	owed   int64
	broken bool
	end    *drivers.ExecResult
	wake   chan struct{}
}

func (c *child) execution(id string) *execution {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.execs[id]
}

// begin registers a command before it is asked for: its output may come before the answer does.
func (c *child) begin(req drivers.ExecRequest, window int64, release func()) (*execution, error) {
	w, err := journal.Create(req.JournalDir, journal.Options{})
	if err != nil {
		return nil, &drivers.StartError{
			Stage: "journal", Code: "journal_unusable", Remediation: "free some space in the engine's data directory", Err: err,
		}
	}
	e := &execution{
		id: req.ExecID, child: c, journal: w, window: window, release: release, done: make(chan struct{}), wake: make(chan struct{}, 1),
	}
	c.mu.Lock()
	_, twice := c.execs[e.id]
	if !twice {
		c.execs[e.id] = e
	}
	c.mu.Unlock()
	if twice {
		_, err := w.Seal(drivers.OutputLost)
		return nil, &drivers.StartError{
			Stage: "process", Code: "exec_exists", Remediation: "use the id of a command once",
			Err: errors.Join(errors.New("a command with this id runs already"), err),
		}
	}
	go e.write()
	return e, nil
}

// output takes a piece. It runs on the connection's reader.
func (e *execution) output(p protocol.ExecOutput) {
	e.mu.Lock()
	defer e.mu.Unlock()
	stream := journal.Stream(p.Stream)
	switch {
	case e.end != nil, stream != journal.Stdout && stream != journal.Stderr, p.Dropped < 0:
		return
	case e.owed+int64(len(p.Data)) > e.window:
		// It is this command's output that is lost; others have done nothing wrong.
		e.broken = true
		p = protocol.ExecOutput{Stream: p.Stream, Dropped: p.Dropped + int64(len(p.Data))}
	}
	e.owed += int64(len(p.Data))
	if !e.widenGap(p) {
		e.queue = append(e.queue, p)
	}
	e.poke()
}

// widenGap adds a gap to the one of its stream that waits already, if no data came between the two: gaps cost no credit, so
// they must not cost memory. mu is held.
func (e *execution) widenGap(p protocol.ExecOutput) bool {
	for i := len(e.queue) - 1; i >= 0 && len(p.Data)+len(e.queue[i].Data) == 0; i-- {
		if e.queue[i].Stream == p.Stream {
			e.queue[i].Dropped += p.Dropped
			return true
		}
	}
	return false
}

// ended takes the end, once. It runs on the connection's reader.
func (e *execution) ended(raw json.RawMessage) {
	var r drivers.ExecResult
	if json.Unmarshal(raw, &r) != nil || !valid(r) {
		r = drivers.ExecResult{End: drivers.ExecUnknown, Why: "the plugin's worker did not say how it ended"}
		r.Output.State = drivers.OutputLost
	}
	r.Signal, r.Why = e.child.secrets.quote(r.Signal, 100), e.child.secrets.quote(r.Why, 1000)
	e.finish(r)
}

// valid reports whether a worker's result says exactly one thing.
func valid(r drivers.ExecResult) bool {
	switch r.Output.State {
	case drivers.OutputComplete, drivers.OutputTruncated, drivers.OutputAbandoned, drivers.OutputLost:
	default:
		return false
	}
	for _, s := range []drivers.StreamSeal{r.Output.Stdout, r.Output.Stderr} {
		if sum, err := hex.DecodeString(s.SHA256); err != nil || len(sum) != sha256.Size && len(sum) != 0 {
			return false
		}
	}
	switch r.End {
	case drivers.ExecExited:
		return r.ExitCode >= 0 && r.ExitCode <= 255 && r.Leftovers >= 0
	case drivers.ExecSignaled:
		return r.Signal != ""
	case drivers.ExecTimedOut:
		return true
	case drivers.ExecKilled, drivers.ExecUnknown:
		return r.Why != ""
	default:
		return false
	}
}

func (e *execution) finish(r drivers.ExecResult) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.end == nil {
		e.end = &r
		e.poke()
	}
}

func (e *execution) poke() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// write journals what came until the end is there.
func (e *execution) write() {
	for {
		e.mu.Lock()
		queue, end := e.queue, e.end
		e.queue = nil
		e.mu.Unlock()
		for _, p := range queue {
			e.journal.Append(journal.Stream(p.Stream), p.Data)
			e.journal.Drop(journal.Stream(p.Stream), p.Dropped)
			e.allow(int64(len(p.Data)))
		}
		if len(queue) > 0 {
			continue
		}
		if end != nil {
			e.seal(*end)
			return
		}
		<-e.wake
	}
}

// allow gives credit for what is in the journal.
func (e *execution) allow(n int64) {
	if n == 0 {
		return
	}
	e.mu.Lock()
	e.owed -= n
	e.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	// Without credit the worker waits; if it cannot be told, it is about to be ended, and so is this.
	_ = e.child.conn.Notify(ctx, protocol.NotifyExecCredit, protocol.ExecCredit{ExecID: e.id, Bytes: n})
}

func (e *execution) seal(r drivers.ExecResult) {
	if e.broken && r.Output.State == drivers.OutputComplete {
		r.Output.State = drivers.OutputTruncated
	}
	var sealed drivers.OutputSeal
	var err error
	if r.Output.State == drivers.OutputLost {
		sealed, err = e.journal.Seal(drivers.OutputLost)
	} else {
		sealed, err = e.journal.SealAs(r.Output)
	}
	if err != nil {
		sealed.State = drivers.OutputLost
	}
	r.Output = sealed
	e.result = r
	e.forget()
	close(e.done)
}

// forget takes it out of what the child knows.
func (e *execution) forget() {
	e.child.mu.Lock()
	if e.child.execs[e.id] == e {
		delete(e.child.execs, e.id)
	}
	e.child.mu.Unlock()
	e.release()
}

// abort closes a command that did not start: nothing is known under its id and no goroutine is left.
func (e *execution) abort() {
	e.finish(drivers.ExecResult{End: drivers.ExecUnknown, Why: "it did not start", Output: drivers.OutputSeal{State: drivers.OutputLost}})
	<-e.done
}

// endExecs ends what the process took with it: nobody knows how.
func (c *child) endExecs() {
	c.mu.Lock()
	all := make([]*execution, 0, len(c.execs))
	for _, e := range c.execs {
		all = append(all, e)
	}
	c.mu.Unlock()
	for _, e := range all {
		e.finish(unknownEnd("the plugin's worker ended over it: " + c.whyGone()))
		<-e.done
	}
}

func unknownEnd(why string) drivers.ExecResult {
	return drivers.ExecResult{End: drivers.ExecUnknown, Why: why, Output: drivers.OutputSeal{State: drivers.OutputLost}}
}

// Process implements [drivers.Exec].
func (e *execution) Process() drivers.Process { return e.process }

// Wait implements [drivers.Exec].
func (e *execution) Wait(ctx context.Context) (drivers.ExecResult, error) {
	select {
	case <-e.done:
		return e.result, nil
	case <-ctx.Done():
		return drivers.ExecResult{}, context.Cause(ctx)
	}
}

// Kill implements [drivers.Exec].
func (e *execution) Kill(ctx context.Context, why string) error {
	select {
	case <-e.done:
		return nil
	default:
	}
	ctx, cancel := context.WithTimeoutCause(ctx, killTimeout, fmt.Errorf("the worker did not answer within %s", killTimeout))
	defer cancel()
	err := e.child.conn.Call(ctx, protocol.MethodExecKill, protocol.ExecKillParams{ExecID: e.id, Why: why}, nil)
	select {
	case <-e.done:
		return nil // it ended, whoever did it
	default:
	}
	if err != nil {
		return fmt.Errorf("kill command %s: %w", e.id, e.child.cleanError(err))
	}
	return nil
}

const killTimeout = 10 * time.Second

var _ drivers.Exec = (*execution)(nil)

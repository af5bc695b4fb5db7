package provider

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"sync"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/journal"
)

// execution is a command of a worker that runs commands to their end in one call. What arrives while it runs is journaled;
// the result has the last word.
type execution struct {
	journal *journal.Writer
	hidden  hidden
	cancel  context.CancelCauseFunc
	done    chan struct{}
	result  drivers.ExecResult // valid once done is closed

	mu   sync.Mutex
	seen [2]tally
}

// tally is what came of one stream while the command ran.
type tally struct {
	bytes int
	sum   hash.Hash
}

func execute(ctx context.Context, worker Worker, of LeaseRequest, req drivers.ExecRequest, hidden hidden) (*execution, error) {
	if err := plainText(req); err != nil {
		return nil, err
	}
	w, err := journal.Create(req.JournalDir, journal.Options{})
	if err != nil {
		return nil, journal.Unusable(err)
	}
	call, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	x := &execution{
		journal: w, hidden: hidden, cancel: cancel, done: make(chan struct{}), seen: [2]tally{{sum: sha256.New()}, {sum: sha256.New()}},
	}
	go func() {
		defer close(x.done)
		defer cancel(nil)
		got, err := worker.Execute(call, ExecuteRequest{
			LeaseRequest: of, Argv: req.Argv, Cwd: req.Cwd, Env: req.Env, Stdin: req.Stdin, Timeout: req.Timeout, Output: x.output,
		})
		x.finish(call, got, err)
	}()
	return x, nil
}

// output journals what comes while the command runs.
func (x *execution) output(c OutputChunk) {
	stream := streamOf(c.Stream)
	x.mu.Lock()
	defer x.mu.Unlock()
	seen := &x.seen[stream-1]
	seen.bytes += len(c.Data)
	seen.sum.Write(c.Data)
	x.journal.Append(stream, c.Data)
}

func streamOf(name string) journal.Stream {
	if name == "stderr" {
		return journal.Stderr
	}
	return journal.Stdout
}

func (x *execution) finish(ctx context.Context, got ExecuteResult, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.result = endOf(ctx, got, x.hidden.clean(err))
	state := drivers.OutputComplete
	if err != nil {
		state = drivers.OutputTruncated // what came before is all there is
	} else if !x.complete(journal.Stdout, got.Stdout) || !x.complete(journal.Stderr, got.Stderr) {
		state = drivers.OutputTruncated
	}
	seal, sealErr := x.journal.Seal(state)
	if sealErr != nil {
		seal.State = drivers.OutputLost
	}
	x.result.Output = seal
}

// complete journals what of a stream has not come before. It is false if what came is not how the result begins.
func (x *execution) complete(stream journal.Stream, whole []byte) bool {
	seen := x.seen[stream-1]
	if seen.bytes > len(whole) {
		return false
	}
	first := sha256.Sum256(whole[:seen.bytes])
	if !bytes.Equal(first[:], seen.sum.Sum(nil)) {
		return false
	}
	x.journal.Append(stream, whole[seen.bytes:])
	return true
}

func endOf(ctx context.Context, got ExecuteResult, err error) drivers.ExecResult {
	switch {
	case err != nil && context.Cause(ctx) != nil:
		return drivers.ExecResult{End: drivers.ExecUnknown, Why: context.Cause(ctx).Error() + "; the provider cannot end a command, it may run on"}
	case err != nil:
		return drivers.ExecResult{End: drivers.ExecUnknown, Why: err.Error()}
	case got.TimedOut:
		return drivers.ExecResult{End: drivers.ExecTimedOut}
	case got.Signal != "":
		return drivers.ExecResult{End: drivers.ExecSignaled, Signal: got.Signal}
	case got.ExitCode != nil:
		return drivers.ExecResult{End: drivers.ExecExited, ExitCode: *got.ExitCode}
	}
	return drivers.ExecResult{End: drivers.ExecUnknown, Why: "the provider does not say how it ended"}
}

// Process implements [drivers.Exec]. The protocol names no process.
func (x *execution) Process() drivers.Process { return drivers.Process{} }

// Wait implements [drivers.Exec].
func (x *execution) Wait(ctx context.Context) (drivers.ExecResult, error) {
	select {
	case <-x.done:
		return x.result, nil
	case <-ctx.Done():
		return drivers.ExecResult{}, context.Cause(ctx)
	}
}

// Kill implements [drivers.Exec]. The protocol cannot end a command, so nobody waits for it any longer, and its end is
// unknown.
func (x *execution) Kill(_ context.Context, why string) error {
	x.cancel(errors.New(why))
	return nil
}

// run runs one short command of the driver's own and returns what it prints.
func run(ctx context.Context, worker Worker, streams bool, of LeaseRequest, argv []string, stdin []byte) ([]byte, error) {
	if !streams {
		got, err := worker.Execute(ctx, ExecuteRequest{LeaseRequest: of, Argv: argv, Stdin: stdin})
		return got.Stdout, err
	}
	dir, err := os.MkdirTemp("", "tenure-run-")
	if err != nil {
		return nil, fmt.Errorf("run a script in the runtime: %w", err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a directory in TMPDIR
	journalDir := filepath.Join(dir, "output")
	exec, err := worker.StartExec(ctx, StartRequest{LeaseRequest: of, Exec: drivers.ExecRequest{
		ExecID: "script-" + filepath.Base(dir), Argv: argv, Stdin: stdin, JournalDir: journalDir,
	}})
	if err != nil {
		return nil, err
	}
	if _, err := exec.Wait(ctx); err != nil {
		return nil, errors.Join(err, exec.Kill(context.WithoutCancel(ctx), "out_of_time"))
	}
	return journal.ReadStream(journalDir, journal.Stdout, scriptOutput)
}

// scriptOutput bounds what is read of a script's output.
const scriptOutput = 64 << 10

var _ drivers.Exec = (*execution)(nil)

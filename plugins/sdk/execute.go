package sdk

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/journal"
	"github.com/tenure-dev/tenure/plugins/protocol"
)

// maxText bounds what one stream adds to the reply of environmentExecute, whose line is bounded too: six bytes of JSON may
// stand for one of output.
const maxText = 8 << 20

// execute serves the published way to run a command: all of the output in the reply, and while it runs in notifications.
func (s *server) execute(ctx context.Context, p protocol.ExecuteParams, invocation string) (any, error) {
	d, err := s.driver(p.DriverKey)
	if err != nil {
		return nil, err
	}
	req := drivers.ExecRequest{
		Handle: handleOf(protocol.LeaseParams{
			Base: p.Base, ProviderLeaseID: p.Lease.ProviderLeaseID, LeaseMetadata: p.Lease.Metadata, Tenure: p.Tenure,
		}),
		ExecID: "execute-" + uuid.NewString(), Argv: append([]string{p.Command}, p.Args...), Cwd: p.Cwd,
		Timeout: time.Duration(p.TimeoutMs) * time.Millisecond,
	}
	for _, name := range slices.Sorted(maps.Keys(p.Env)) {
		req.Env = append(req.Env, drivers.EnvVar{Name: name, Value: p.Env[name]})
	}
	if p.Stdin != nil {
		req.Stdin = []byte(*p.Stdin)
	}
	e, err := s.begin(ctx, d, req, newCredit(0))
	if err != nil {
		return nil, err
	}
	defer s.forget(e)
	stop := context.AfterFunc(ctx, func() { _ = e.exec.Kill(context.WithoutCancel(ctx), "canceled") })
	defer stop()
	end := s.waitFor(e)
	streams := map[journal.Stream]*collector{
		journal.Stdout: {name: "stdout"}, journal.Stderr: {name: "stderr"},
	}
	tell := func(c *collector, chunk string) error {
		if chunk == "" {
			return nil
		}
		opts := []protocol.CallOption{}
		if invocation != "" {
			opts = append(opts, protocol.WithInvocationID(invocation))
		}
		return s.conn.Notify(s.life, protocol.NotifyExecuteLog, protocol.ExecuteLog{Stream: c.name, Chunk: chunk}, opts...)
	}
	followed := s.follow(e, end.ended, func(f journal.Frame) error {
		c := streams[f.Stream]
		c.dropped += f.Dropped
		return tell(c, c.add(f.Data))
	})
	<-end.ended
	if err := cmp.Or(end.err, followed); err != nil {
		return nil, &drivers.Failure{Outcome: drivers.OutcomeAmbiguous, Code: "output_lost", Step: "execute", Err: err,
			Remediation: "how the command ended is not known; look at its effects"}
	}
	for _, c := range streams {
		_ = tell(c, c.rest()) // the reply has it too
	}
	return executed(end.result, streams[journal.Stdout], streams[journal.Stderr])
}

func executed(r drivers.ExecResult, stdout, stderr *collector) (any, error) {
	result := protocol.ExecuteResult{Stdout: string(stdout.kept), Stderr: string(stderr.kept)}
	switch r.End {
	case drivers.ExecExited:
		result.ExitCode = &r.ExitCode
	case drivers.ExecSignaled:
		result.Signal = &r.Signal
	case drivers.ExecTimedOut:
		result.TimedOut = true
	case drivers.ExecKilled:
		signal := "SIGKILL"
		result.Signal = &signal
	case drivers.ExecUnknown:
		return nil, &drivers.Failure{
			Outcome: drivers.OutcomeAmbiguous, Code: "end_unknown", Step: "execute", Err: unknownEnd(r.Why),
			Remediation: "how the command ended is not known; look at its effects",
		}
	}
	if dropped := stdout.dropped + stderr.dropped; dropped > 0 {
		raw, err := json.Marshal(map[string]int64{"outputDropped": dropped})
		if err != nil {
			return nil, err
		}
		result.Metadata = raw
	}
	return result, nil
}

// unknownEnd says why nobody knows how a command ended.
type unknownEnd string

func (e unknownEnd) Error() string { return "the end of the command is unknown: " + string(e) }

// collector gathers one stream as text. A character that is torn between two pieces is told whole with the second.
type collector struct {
	name    string
	kept    []byte
	torn    []byte
	dropped int64
}

// add keeps data and returns what of it can be told as text.
func (c *collector) add(data []byte) string {
	keep := data[:min(len(data), maxText-len(c.kept))]
	c.kept = append(c.kept, keep...)
	c.dropped += int64(len(data) - len(keep))
	c.torn = append(c.torn, data...)
	whole := len(c.torn)
	for back := 1; back < utf8.UTFMax && back <= whole; back++ {
		if b := c.torn[whole-back]; utf8.RuneStart(b) {
			if !utf8.FullRune(c.torn[whole-back:]) {
				whole -= back
			}
			break
		}
	}
	chunk := string(c.torn[:whole])
	c.torn = append(c.torn[:0], c.torn[whole:]...)
	return chunk
}

// rest is what was held back and will not be completed.
func (c *collector) rest() string {
	chunk := string(c.torn)
	c.torn = nil
	return chunk
}

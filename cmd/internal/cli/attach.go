package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
)

// attachment is a command whose output is being shown. The offset makes it possible to go on after a lost connection
// without losing or repeating a byte.
type attachment struct {
	c      *client.Client
	id     uuid.UUID
	out    sink
	offset int64
}

// sinkError is an error of where the output goes to, as opposed to where it comes from.
type sinkError struct{ err error }

func (e *sinkError) Error() string { return "write the output: " + e.err.Error() }
func (e *sinkError) Unwrap() error { return e.err }

// watch shows the output to its end and returns how the command ended. If the caller is interrupted or the output can go
// nowhere, the command is killed: nobody is left to see what it does.
func (a *attachment) watch(ctx context.Context) (wire.Exec, error) {
	err := a.follow(ctx)
	if err == nil {
		var x wire.Exec
		if x, err = a.ended(ctx); err == nil {
			return x, nil
		}
	}
	_, broken := errors.AsType[*sinkError](err)
	if ctx.Err() == nil && !broken {
		return wire.Exec{}, err
	}
	why := "interrupted"
	if broken {
		why = "its output can go nowhere"
	}
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	if _, killed := a.c.KillExec(clean, a.id, wire.KillExec{Why: why}); killed == nil && !broken {
		// What the command still says on its way out is shown too.
		_ = a.follow(clean)
	}
	return wire.Exec{}, err
}

// follow shows the output from the offset on until it is sealed.
func (a *attachment) follow(ctx context.Context) error {
	for failures := 0; ; {
		var failed error
		for line, err := range a.c.ExecOutput(ctx, a.id, client.OutputOptions{Offset: a.offset, Follow: true}) {
			if err != nil {
				failed = err
				break
			}
			if err := a.out.line(line); err != nil {
				return &sinkError{err}
			}
			if line.Sealed != nil {
				return nil
			}
			failures = 0
			a.offset = line.Offset + int64(len(line.Data))
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		// The stream ended before the output did: the server shuts down, or the connection was cut.
		if failures++; failed != nil && !worthAnotherTry(failed, failures) {
			return failed
		}
		if failures > reconnects {
			return errors.New("the server ends the output again and again before it is complete")
		}
		if err := pause(ctx, shortPause*time.Duration(min(failures, 10))); err != nil {
			return err
		}
	}
}

// ended waits for the end of the command, which the end of its output does not wait for.
func (a *attachment) ended(ctx context.Context) (wire.Exec, error) {
	for failures := 0; ; {
		x, err := a.c.Exec(ctx, a.id, client.Wait(longestPoll))
		switch {
		case ctx.Err() != nil:
			return x, context.Cause(ctx)
		case err == nil && x.Status == wire.ExecEnded && x.Result != nil:
			return x, nil
		case err != nil:
			if failures++; !worthAnotherTry(err, failures) {
				return x, err
			}
		}
		if err := pause(ctx, shortPause); err != nil {
			return x, err
		}
	}
}

// exitOf is the exit of a command as this program's own: nil for 0.
func (r *root) exitOf(x wire.Exec) error {
	if x.Output != nil && x.Output.State != sealComplete {
		r.warn("the output is %s: %d bytes were dropped", x.Output.State, x.Output.Dropped)
	}
	if x.Result.Leftovers > 0 {
		r.warn("%d processes of the command could not be ended", x.Result.Leftovers)
	}
	switch x.Result.End {
	case wire.EndExited:
		if x.Result.ExitCode == nil {
			break
		}
		if *x.Result.ExitCode == 0 {
			return nil
		}
		return exitStatus(*x.Result.ExitCode)
	case wire.EndSignaled:
		if n := unix.SignalNum(text(x.Result.Signal)); n > 0 {
			return exitStatus(exitSignal + int(n))
		}
	case wire.EndTimeout:
		return &plainError{exit: exitTimeout, code: "exec_timeout", message: fmt.Sprintf("the command was ended after its %s", millis(x.TimeoutMs))}
	case wire.EndKilled:
		r.warn("the command was killed%s", because(x.Result.Why))
		return exitStatus(exitSignal + int(unix.SIGKILL))
	case wire.EndStartFailed:
		return &plainError{
			exit: exitOurs, code: orElse(text(x.Result.Code), "start_failed"),
			message: strings.TrimRight(fmt.Sprintf("the command was not started (%s): %s", text(x.Result.Stage), text(x.Result.Message)), ": "),
		}
	}
	return &plainError{
		exit: exitOurs, code: "exec_unknown", message: "nobody saw how the command ended" + because(x.Result.Why),
		mend: "it may have run; look with: tenure exec show " + x.ID.String(),
	}
}

const (
	sealComplete = "complete"
	// exitSignal is added to the number of the signal that ended a command.
	exitSignal = 128
)

func because(why *string) string {
	if text(why) == "" {
		return ""
	}
	return ": " + *why
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func millis(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

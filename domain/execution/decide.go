package execution

import (
	"fmt"

	"github.com/tenure-dev/tenure/domain"
)

// Decide answers a command. Commands that change nothing return no events.
func Decide(s State, cmd Command) ([]Event, error) {
	if c, ok := cmd.(Request); ok {
		return request(s, c)
	}
	if s.Status == StatusNone {
		return nil, domain.NotFound("exec")
	}
	switch c := cmd.(type) {
	case Claim:
		return claim(s, c)
	case Start:
		return start(s, c)
	case RequestKill:
		return requestKill(s, c)
	case Finish:
		return finish(s, c)
	case Abandon:
		return abandon(s, c)
	case Refuse:
		return refuse(s, c)
	}
	return nil, domain.Refuse(domain.KindInvalid, "unknown_command", "the execution does not know this command")
}

func request(s State, c Request) ([]Event, error) {
	if s.Status != StatusNone {
		return nil, domain.Refuse(domain.KindConflict, "exec_exists", "an exec with this id exists already").On("id").
			Mend("choose another id, or leave it out")
	}
	if err := checkRequest(c.Requested); err != nil {
		return nil, err
	}
	return []Event{c.Requested}, nil
}

func checkRequest(r Requested) error {
	switch {
	case r.Company.IsZero():
		return domain.Refuse(domain.KindInvalid, "missing_field", "is missing").On("companyId").Mend("name the company of the lease")
	case r.Lease.IsZero():
		return domain.Refuse(domain.KindInvalid, "missing_field", "is missing").On("leaseId").Mend("name the lease to run in")
	case len(r.Argv) == 0:
		return domain.Refuse(domain.KindInvalid, "missing_field", "is missing").On("argv").
			Mend(`give the command and its arguments, such as ["make", "test"]`)
	case r.Argv[0] == "":
		return domain.Refuse(domain.KindInvalid, "missing_field", "is empty").On("argv[0]").Mend("name the command to run")
	}
	for i, arg := range r.Argv {
		if err := domain.CheckArgument(fmt.Sprintf("argv[%d]", i), arg); err != nil {
			return err
		}
	}
	if err := domain.CheckArgument("cwd", r.Cwd); err != nil {
		return err
	}
	if err := domain.CheckEnvNames("env", r.Env); err != nil {
		return err
	}
	if r.StdinBytes < 0 {
		return domain.Refuse(domain.KindInvalid, "invalid_size", "must not be negative").On("stdin").Mend("give the input, or leave it out")
	}
	if r.TimeoutMs < 0 || r.TimeoutMs > domain.MaxDuration.Milliseconds() {
		return domain.Refuse(domain.KindInvalid, "invalid_duration", "must be between 0 and %d", domain.MaxDuration.Milliseconds()).
			On("timeoutMs").Mend("give milliseconds, or 0 for no limit")
	}
	return nil
}

func claim(s State, c Claim) ([]Event, error) {
	switch {
	case s.Status != StatusRequested:
		return nil, stale("the exec is %s; it is never claimed again", s.Status)
	case c.Worker.IsZero():
		return nil, domain.Refuse(domain.KindInvalid, "missing_field", "is missing").On("workerId").Mend("name the worker that claims it")
	}
	return []Event{Claimed(c)}, nil
}

func start(s State, c Start) ([]Event, error) {
	if err := checkWorker(s, c.Worker); err != nil {
		return nil, err
	}
	if s.Status == StatusRunning {
		if s.Process == c.Started {
			return nil, nil
		}
		return nil, stale("the exec runs as process %d already", s.Process.PID)
	}
	return []Event{c.Started}, nil
}

// requestKill ends at once what nobody claimed: its command shall not run, and no worker is needed to say so.
func requestKill(s State, c RequestKill) ([]Event, error) {
	if err := domain.CheckText("why", c.Why, domain.MaxMessage); err != nil {
		return nil, err
	}
	switch s.Status {
	case StatusRequested:
		return []Event{KillRequested(c), Ended{End: EndKilled, Why: c.Why}, NoOutput}, nil
	case StatusClaimed, StatusRunning:
		if s.Killing {
			return nil, nil
		}
		return []Event{KillRequested(c)}, nil
	case StatusNone, StatusEnded:
	}
	return nil, nil
}

func finish(s State, c Finish) ([]Event, error) {
	if err := checkWorker(s, c.Worker); err != nil {
		return nil, err
	}
	if c.OutputSealed == nil {
		return nil, domain.Refuse(domain.KindInvalid, "missing_field", "is missing").On("sealed").
			Mend("seal the output together with the end")
	}
	if err := checkSeal(*c.OutputSealed); err != nil {
		return nil, err
	}
	ended := c.Ended
	if ended.End == EndKilled && ended.Why == "" {
		ended.Why = s.KillWhy
	}
	if err := checkEnd(s, ended); err != nil {
		return nil, err
	}
	ended.Signal, ended.Stage, ended.Code = domain.CleanWord(ended.Signal), domain.CleanWord(ended.Stage), domain.CleanWord(ended.Code)
	ended.Message = domain.Clean(ended.Message, domain.MaxMessage)
	ended.Why = domain.Clean(ended.Why, domain.MaxMessage)
	return []Event{ended, *c.OutputSealed}, nil
}

// checkEnd refuses an end that contradicts itself or what is known of the start.
func checkEnd(s State, e Ended) error {
	switch e.End {
	case EndExited, EndSignaled, EndTimeout:
		if s.Status != StatusRunning {
			return domain.Refuse(domain.KindConflict, "exec_not_started", "the exec is %s and cannot be %s", s.Status, e.End).
				Mend("record the start first")
		}
	case EndStartFailed:
		if s.Status == StatusRunning {
			return domain.Refuse(domain.KindConflict, "exec_started", "the exec runs as process %d, so its start did not fail", s.Process.PID).
				Mend("record how the process ended")
		}
	case EndKilled, EndUnknown:
	default:
		return domain.Refuse(domain.KindInvalid, "unknown_end", "%q is not an end", e.End).On("end").
			Mend("use exited, signaled, timeout, killed, start_failed or unknown")
	}
	if (e.ExitCode != nil) != (e.End == EndExited) {
		return domain.Refuse(domain.KindInvalid, "invalid_exit_code", "belongs to exited, and only to it").On("exitCode").
			Mend("give the exit code exactly when the process exited")
	}
	if (e.Signal != "") && (e.End == EndExited || e.End == EndStartFailed || e.End == EndUnknown) || e.Signal == "" && e.End == EndSignaled {
		return domain.Refuse(domain.KindInvalid, "invalid_signal", "does not go with %s", e.End).On("signal").
			Mend("name the signal exactly when one ended the process")
	}
	return nil
}

func checkSeal(o OutputSealed) error {
	switch o.State {
	case SealComplete, SealTruncated, SealAbandoned, SealLost:
	default:
		return domain.Refuse(domain.KindInvalid, "unknown_seal", "%q is not a state of an output", o.State).On("sealed.state").
			Mend("use complete, truncated, abandoned or lost")
	}
	if o.Stdout.Bytes < 0 || o.Stderr.Bytes < 0 || o.Dropped < 0 {
		return domain.Refuse(domain.KindInvalid, "invalid_size", "must not be negative").On("sealed").Mend("give counts of bytes")
	}
	return nil
}

func abandon(s State, c Abandon) ([]Event, error) {
	switch s.Status {
	case StatusClaimed, StatusRunning:
		return []Event{Ended{End: EndUnknown, Why: domain.Clean(c.Why, domain.MaxMessage)}, OutputSealed{State: SealLost}}, nil
	case StatusRequested:
		return nil, domain.Refuse(domain.KindConflict, "exec_not_claimed", "no worker has the exec, so none can have lost it").
			Mend("claim it, or refuse it when its lease has ended")
	case StatusNone, StatusEnded:
	}
	return nil, nil
}

func refuse(s State, c Refuse) ([]Event, error) {
	switch s.Status {
	case StatusRequested:
		return []Event{
			Ended{End: EndStartFailed, Stage: domain.CleanWord(c.Stage), Code: domain.CleanWord(c.Code), Message: domain.Clean(c.Message, domain.MaxMessage)},
			NoOutput,
		}, nil
	case StatusClaimed, StatusRunning:
		return nil, stale("the exec is %s and may have run", s.Status)
	case StatusNone, StatusEnded:
	}
	return nil, nil
}

// checkWorker refuses what anybody but the worker that claimed it says of it, and everything after the end.
func checkWorker(s State, worker domain.WorkerID) error {
	switch {
	case s.Status == StatusRequested:
		return stale("the exec is not claimed")
	case s.Worker != worker:
		return stale("the exec is held by another worker")
	case s.Status == StatusEnded:
		return stale("the exec has ended: %s", s.Ended.End)
	}
	return nil
}

func stale(format string, args ...any) *domain.Refusal {
	return domain.Refuse(domain.KindStale, "stale_claim", format, args...)
}

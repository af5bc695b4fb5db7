package rundir

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/drivers"
)

const (
	// trialLimit bounds the one command of a trial.
	trialLimit = 10 * time.Second
	// trialInstallation keeps the runtimes of trials out of every list.
	trialInstallation = "probe"
)

// Trier is a driver whose runtimes are in a Dir.
type Trier interface {
	drivers.Driver
	drivers.Executor
}

// Trial is a probe of d, whose runtimes these are: it makes a runtime, runs true in it and removes it again, and what trials
// left before that a crash cut short. Its error comes with the phase that failed.
func (d *Dir) Trial(ctx context.Context, driver Trier, req drivers.ProbeRequest) (phase string, err error) {
	if err := d.forgetTrials(ctx, driver); err != nil {
		return "acquire", err
	}
	journals, err := os.MkdirTemp("", "tenure-probe-")
	if err != nil {
		return "acquire", err
	}
	defer os.RemoveAll(journals) //nolint:errcheck // it is temporary
	handle := drivers.Handle{RuntimeID: "probe-" + uuid.NewString(), Config: req.Config, Fence: 1}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), trialLimit)
		defer cancel()
		if released := driver.Release(ctx, drivers.ReleaseRequest{Handle: handle, Attempt: 1}); released != nil && err == nil {
			phase, err = "release", released
		}
	}()
	if _, err := driver.Acquire(ctx, drivers.AcquireRequest{
		RuntimeID: handle.RuntimeID, Installation: trialInstallation, Attempt: 1, Fence: handle.Fence,
		CompanyID: req.CompanyID, EnvironmentID: req.EnvironmentID, Config: req.Config,
	}); err != nil {
		return "acquire", err
	}
	e, err := driver.StartExec(ctx, drivers.ExecRequest{
		Handle: handle, ExecID: "probe", Argv: []string{"true"}, Timeout: trialLimit, JournalDir: filepath.Join(journals, "probe"),
	})
	if err != nil {
		if f, ok := errors.AsType[*drivers.StartError](err); ok {
			return f.Stage, err
		}
		return "exec", err
	}
	result, err := e.Wait(ctx)
	if err == nil && (result.End != drivers.ExecExited || result.ExitCode != 0) {
		err = fmt.Errorf("true ended as %s with exit code %d %s %s", result.End, result.ExitCode, result.Signal, result.Why)
	}
	if err != nil {
		return "exec", err
	}
	return "", nil
}

func (d *Dir) forgetTrials(ctx context.Context, driver Trier) error {
	old, err := d.List(trialInstallation)
	if err != nil {
		return err
	}
	for _, r := range old {
		if time.Since(r.CreatedAt) < 10*trialLimit {
			continue // it may be at work
		}
		if err := driver.Release(ctx, drivers.ReleaseRequest{Handle: drivers.Handle{RuntimeID: r.RuntimeID}, Attempt: 1}); err != nil {
			return err
		}
	}
	return nil
}

// FailedTrial is what a trial's error says, for a probe's result.
func FailedTrial(err error) drivers.Diagnostic {
	found := drivers.Diagnostic{Severity: drivers.SeverityError, Code: "probe_failed", Message: err.Error(), Remediation: "probe again"}
	if f, ok := errors.AsType[*drivers.StartError](err); ok {
		found.Code, found.Remediation = f.Code, f.Remediation
	} else if f, ok := errors.AsType[*drivers.Failure](err); ok {
		found.Code, found.Remediation = f.Code, f.Remediation
	}
	return found
}

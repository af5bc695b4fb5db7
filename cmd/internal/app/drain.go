package app

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/cmd/internal/cli"
	"github.com/tenure-dev/tenure/eventstore/embedded"
)

// Drain asks the process of a data directory to end, which hands its part of the work over first, and returns when it has.
func Drain(ctx context.Context, dataDir string) error {
	pid, ok, err := embedded.Holder(dataDir)
	if err != nil {
		return startFailure(err)
	}
	if !ok {
		return &cli.StartError{
			Code: "not_running", What: "no process runs on " + dataDir,
			Remediation: "name the worker's data directory with --data-dir, on the worker's machine",
		}
	}
	if err := unix.Kill(pid, unix.SIGTERM); err != nil && !errors.Is(err, unix.ESRCH) {
		return &cli.StartError{
			Code: "not_allowed", What: "the worker cannot be asked to end", Cause: err, Remediation: "call as the user that runs it",
		}
	}
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		if now, ok, err := embedded.Holder(dataDir); err == nil && (!ok || now != pid) {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

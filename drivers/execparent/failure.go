package execparent

import (
	"encoding/json"
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/drivers/journal"
)

func (f *startFailed) Error() string { return f.Message }

// seeMachine is what to do about what a machine should always be able to do.
const seeMachine = "see whether the engine's machine has processes, memory and open files left, and try again"

func startFailedBy(stage, code string, err error) status {
	f := &startFailed{Stage: stage, Code: code, Message: err.Error(), Remediation: seeMachine}
	orDiskFull(err, &f.Code, &f.Remediation)
	return status{StartFailed: f}
}

// orDiskFull says what to do about a full disk, if that is the reason.
func orDiskFull(err error, code, remediation *string) {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		*code, *remediation = "disk_full", "free some space under the engine's data directory"
	}
}

// startStatus finds the reason in an error of run.
func startStatus(err error) status {
	if f, ok := errors.AsType[*startFailed](err); ok {
		return status{StartFailed: f}
	}
	return startFailedBy("parent", "internal", err)
}

func journalFailed(err error) error {
	f := journal.Unusable(err)
	return &startFailed{Stage: f.Stage, Code: f.Code, Message: f.Err.Error(), Remediation: f.Remediation}
}

// report sends one line. The engine may be gone, which the control pipe will tell; there is nobody else to tell.
func report(w *os.File, s status) {
	b, err := json.Marshal(s)
	if err != nil {
		return
	}
	_, _ = w.Write(append(b, '\n'))
}

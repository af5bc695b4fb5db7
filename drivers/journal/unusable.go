package journal

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/drivers"
)

// Unusable is the error of a command that did not start because its journal could not be made: err is what [Create] said.
func Unusable(err error) *drivers.StartError {
	f := &drivers.StartError{
		Stage: "journal", Code: "journal_unusable", Err: err, Remediation: "let the engine's user write to its data directory",
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		f.Code, f.Remediation = "journal_exists", "a command of this id was started before; it is never started twice"
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		f.Code, f.Remediation = "disk_full", "free some space under the engine's data directory"
	}
	return f
}

package execparent

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tenure-dev/tenure/drivers"
)

// resultSpace is reserved for the result file before the command starts.
const resultSpace = 4096

func resultPath(journalDir string) string { return filepath.Join(journalDir, "result.json") }

// ReadResult returns how the command that wrote to journalDir ended. It is [fs.ErrNotExist] while the command runs, and
// for ever if its parent was killed.
func ReadResult(journalDir string) (drivers.ExecResult, error) {
	var r drivers.ExecResult
	b, err := os.ReadFile(resultPath(journalDir))
	if err != nil {
		return r, fmt.Errorf("read result: %w", err)
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("read result of %s: %w", journalDir, err)
	}
	return r, nil
}

package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tenure-dev/tenure/drivers"
)

// sealRecord is the content of seal.json.
type sealRecord struct {
	// End is the offset after the last journaled byte.
	End    int64              `json:"end"`
	Output drivers.OutputSeal `json:"output"`
}

// sealSpace is reserved for the seal; the record needs less than half of it.
const sealSpace = 1024

func sealPath(dir string) string { return filepath.Join(dir, "seal.json") }

// readSeal reports false when the journal is not sealed.
func readSeal(dir string) (sealRecord, bool, error) {
	b, err := os.ReadFile(sealPath(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return sealRecord{}, false, nil
	}
	if err != nil {
		return sealRecord{}, false, fmt.Errorf("read seal: %w", err)
	}
	var s sealRecord
	if err := json.Unmarshal(b, &s); err != nil || s.Output.State == "" || s.End < 0 {
		return sealRecord{}, false, fmt.Errorf("read seal of %s: %w", dir, ErrCorrupt)
	}
	return s, true, nil
}

// ReadSeal says how the output in dir ended; false while it has not.
func ReadSeal(dir string) (drivers.OutputSeal, bool, error) {
	s, ok, err := readSeal(dir)
	return s.Output, ok, err
}

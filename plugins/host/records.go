package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/process"
)

// record names a running worker for an engine that comes after this one.
type record struct {
	Plugin  string          `json:"plugin"`
	Version string          `json:"version"`
	Process drivers.Process `json:"process"`
}

func recordPath(dir string, p drivers.Process) string {
	return filepath.Join(recordsDir(dir), fmt.Sprintf("%d-%d.json", p.PID, p.StartTime))
}

func writeRecord(dir string, of id, p drivers.Process) error {
	return writeFile(recordPath(dir, p), record{Plugin: of.plugin, Version: of.version, Process: p})
}

func removeRecord(dir string, p drivers.Process) {
	_ = os.Remove(recordPath(dir, p)) // its pid and start time say that it is history
}

// writeFile replaces a file of JSON as a whole.
func writeFile(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// endSurvivors kills the workers that an engine before this one recorded and that still run.
func endSurvivors(dir string, log *slog.Logger) error {
	entries, err := os.ReadDir(recordsDir(dir))
	if err != nil {
		return fmt.Errorf("read the records of workers: %w", err)
	}
	var problems []error
	for _, e := range entries {
		path := filepath.Join(recordsDir(dir), e.Name())
		r, err := readRecord(path)
		if err == nil && process.Alive(r.Process) {
			log.Warn("a plugin's worker has outlived its engine and is ended", "plugin_id", r.Plugin, "pid", r.Process.PID)
			err = endTree(r.Process)
		}
		if err == nil || errors.Is(err, errNoRecord) {
			err = os.Remove(path)
		}
		problems = append(problems, err)
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("end the workers of an earlier engine: %w", err)
	}
	return nil
}

// errNoRecord says that a file is no record: the rest of a write that did not end.
var errNoRecord = errors.New("no record")

func readRecord(path string) (record, error) {
	var r record
	b, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	if json.Unmarshal(b, &r) != nil || r.Process.PID <= 0 {
		return r, errNoRecord
	}
	return r, nil
}

// endTree kills a process and what it has started.
func endTree(p drivers.Process) error {
	all, err := process.Descendants(p.PID)
	if process.Alive(p) {
		_ = unix.Kill(-p.PID, unix.SIGKILL) // its group; whoever leads it is in it
	}
	for _, one := range append([]drivers.Process{p}, all...) {
		err = errors.Join(err, process.Signal(one, unix.SIGKILL))
	}
	return err
}

// methods are what a worker serves.
type methods []string

func (m methods) has(name string) bool { return slices.Contains(m, name) }

// learntPath is where the methods of a plugin's version are kept. They are known only once its worker has run, but are asked
// for before it runs in this engine.
func learntPath(dir string, of id) string {
	return filepath.Join(learntDir(dir), strings.NewReplacer("/", "_", "\x00", "_").Replace(of.plugin+"@"+of.version)+".json")
}

func readLearnt(dir string, of id) methods {
	b, err := os.ReadFile(learntPath(dir, of))
	var m methods
	if err != nil || json.Unmarshal(b, &m) != nil {
		return nil
	}
	return m
}

// learn keeps what a worker has said; p.mu is held.
func (p *plugin) learn(m methods) {
	if slices.Equal(p.learnt, m) {
		return
	}
	p.learnt = m
	if err := writeFile(learntPath(p.opts.Dir, p.installed.id()), m); err != nil && !errors.Is(err, fs.ErrNotExist) {
		p.log.Warn("the methods of a plugin are not kept", "error", err)
	}
}

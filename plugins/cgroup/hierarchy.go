package cgroup

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// The controllers that limits need, by their names in both versions.
const (
	Memory = "memory"
	Pids   = "pids"
	CPU    = "cpu"
)

var controllers = []string{Memory, Pids, CPU}

// Hierarchy is where this process may make groups. The nil one allows none.
type Hierarchy struct {
	// V1 are the directories by controller.
	V1 map[string]string `json:"v1,omitempty"`
	// V2 is the directory of the unified tree, and Controllers are those that its groups have.
	V2          string   `json:"v2,omitempty"`
	Controllers []string `json:"controllers,omitempty"`
}

// Variable is the variable of a worker's environment that holds its hierarchy.
const Variable = "TENURE_CGROUPS"

// Decode returns the hierarchy that an engine passed on as the value of [Variable].
func Decode(value string) (*Hierarchy, error) {
	h := &Hierarchy{}
	if err := json.Unmarshal([]byte(value), h); err != nil {
		return nil, fmt.Errorf("decode %s: %w", Variable, err)
	}
	return h, nil
}

// Find is what a worker does at its start: value, which is that of [Variable], says where its cgroups are; if there is none,
// it uses what it finds.
func Find(value string) (*Hierarchy, error) {
	if value == "" {
		return Detect()
	}
	return Decode(value)
}

// Encode is the value of [Variable] for a worker.
func (h *Hierarchy) Encode() string {
	b, err := json.Marshal(h)
	if err != nil {
		panic("cgroup: a hierarchy that is no JSON: " + err.Error())
	}
	return string(b)
}

// Detect returns what this process may use without anybody's help: its own cgroups, where they can be written.
func Detect() (*Hierarchy, error) {
	m, err := mounts()
	if err != nil {
		return nil, err
	}
	h := &Hierarchy{V1: map[string]string{}}
	for _, c := range controllers {
		if dir, ok := m.v1[c]; ok && writable(dir) {
			h.V1[c] = dir
		}
	}
	if m.v2 != "" && writable(m.v2) {
		// Controllers can be turned on below an inhabited cgroup by moving its processes only, which are not all ours.
		on, err := words(filepath.Join(m.v2, "cgroup.subtree_control"))
		if err == nil && len(on) > 0 {
			h.V2, h.Controllers = m.v2, on
		}
	}
	return h, nil
}

func writable(dir string) bool { return unix.Access(dir, unix.W_OK|unix.X_OK) == nil }

// has reports whether groups can have a controller.
func (h *Hierarchy) has(controller string) bool {
	if h == nil {
		return false
	}
	if dir, ok := h.V1[controller]; ok {
		// A kernel may have the controller without the part that limits.
		return controller != CPU || exists(filepath.Join(dir, "cpu.cfs_quota_us"))
	}
	return slices.Contains(h.Controllers, controller)
}

// Version says in a word which cgroups there are.
func (h *Hierarchy) Version() string {
	switch {
	case h == nil || len(h.V1) == 0 && h.V2 == "":
		return "none"
	case len(h.V1) > 0 && h.V2 != "":
		return "v1 and v2"
	case len(h.V1) > 0:
		return "v1"
	}
	return "v2"
}

// mounted are the directories of this process's own cgroups.
type mounted struct {
	v1 map[string]string
	v2 string
}

// mounts reads where each hierarchy is mounted and where in it this process is.
func mounts() (mounted, error) {
	m := mounted{v1: map[string]string{}}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return m, fmt.Errorf("find cgroups: %w", err)
	}
	paths := map[string]string{} // by controller; "" is v2
	for line := range strings.Lines(string(own)) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 {
			continue
		}
		for name := range strings.SplitSeq(parts[1], ",") {
			paths[name] = parts[2]
		}
	}
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return m, fmt.Errorf("find cgroups: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		place, kind := strings.Fields(before), strings.Fields(after)
		if !ok || len(place) < 5 || len(kind) < 3 {
			continue
		}
		root, at := place[3], place[4]
		switch kind[0] {
		case "cgroup2":
			if dir, ok := below(root, at, paths[""]); ok && m.v2 == "" {
				m.v2 = dir
			}
		case "cgroup":
			for name := range strings.SplitSeq(kind[2], ",") {
				path, known := paths[name]
				if dir, ok := below(root, at, path); ok && known && slices.Contains(controllers, name) {
					m.v1[name] = dir
				}
			}
		}
	}
	return m, lines.Err()
}

// below is where a cgroup is seen through a mount that shows its hierarchy from root on.
func below(root, at, path string) (string, bool) {
	rel, err := filepath.Rel(root, path)
	if err != nil || rel == ".." || strings.HasPrefix(rel, "../") || strings.HasPrefix(root, "/..") {
		return "", false
	}
	return filepath.Join(at, rel), true
}

func words(path string) ([]string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return strings.Fields(string(b)), nil
}

// write writes a control file. The kernel's answer is the error of the one write.
func write(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

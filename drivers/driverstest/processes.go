package driverstest

import (
	"iter"
	"os"
	"path/filepath"
	"strconv"
)

// Processes yields what a file below /proc/PID, such as cmdline, has of each process of this machine. Those that end meanwhile or
// are closed to the caller are left out. It reads the table once and nothing else of a process, so it can be called often.
func Processes(file string) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		table, err := os.Open("/proc")
		if err != nil {
			panic(err) // there is no such thing as a Linux without it
		}
		names, err := table.Readdirnames(0)
		_ = table.Close()
		if err != nil {
			panic(err)
		}
		for _, name := range names {
			pid, err := strconv.Atoi(name)
			if err != nil {
				continue
			}
			if b, err := os.ReadFile(filepath.Join("/proc", name, file)); err == nil && !yield(pid, b) {
				return
			}
		}
	}
}

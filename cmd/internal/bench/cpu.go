package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cpu is processor time used: by this process and by the Postgres of the run. Unlike a rate it does not depend on what
// else the machine does, so it is printed beside the rates.
type cpu struct{ self, server time.Duration }

func (c cpu) since(before cpu) cpu { return cpu{c.self - before.self, c.server - before.server} }

func (c cpu) plus(more cpu) cpu { return cpu{c.self + more.self, c.server + more.server} }

// per is the time for each of n things.
func (c cpu) per(n float64) string {
	if n == 0 {
		return "nothing done"
	}
	return fmt.Sprintf("%.1f µs here, %.1f µs in Postgres", float64(c.self.Microseconds())/n, float64(c.server.Microseconds())/n)
}

// used is what was used so far. What cannot be read counts as nothing: these figures are an aid, no result.
func (b *bench) used() cpu {
	var self unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &self)
	return cpu{
		self:   time.Duration(self.Utime.Nano() + self.Stime.Nano()),
		server: serverTime(b.server.PID()),
	}
}

// tick is the unit of /proc/PID/stat on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// serverTime adds up the postmaster, its children that live and those that ended.
func serverTime(postmaster int) time.Duration {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	var ticks int64
	for _, path := range stats {
		raw, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		// The name, in parentheses, may hold anything; what counts comes after it, from the third field on.
		end := bytes.LastIndexByte(raw, ')')
		fields := strings.Fields(string(raw[end+1:]))
		if end < 0 || len(fields) < 15 {
			continue
		}
		own := path == fmt.Sprintf("/proc/%d/stat", postmaster)
		if !own && fields[1] != strconv.Itoa(postmaster) {
			continue
		}
		for i, field := range fields[11:15] {
			if n, err := strconv.ParseInt(field, 10, 64); err == nil && (own || i < 2) {
				ticks += n
			}
		}
	}
	return time.Duration(ticks) * tick
}

package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// entry is one figure. Floor is the same work without the engine, in the unit of Value; Ratio is Value divided by it.
type entry struct {
	Name  string   `json:"name"`
	Value float64  `json:"value"`
	Unit  string   `json:"unit"`
	Floor *float64 `json:"floor"`
	Ratio *float64 `json:"ratio"`

	aim *aim
}

// aim is what a figure should be, in words and as a verdict.
type aim struct {
	text string
	met  bool
}

// report collects the figures of a run. Those whose names begin with "run/" say on what it ran.
type report struct{ entries []entry }

func (r *report) add(e entry) { r.entries = append(r.entries, e) }

func (r *report) selected(pattern *regexp.Regexp) []entry {
	return slices.DeleteFunc(slices.Clone(r.entries), func(e entry) bool {
		return !strings.HasPrefix(e.Name, "run/") && !pattern.MatchString(e.Name)
	})
}

func number(v float64) *float64 { return &v }

// against sets the floor.
func (e entry) against(floor, ratio float64) entry {
	e.Floor, e.Ratio = number(floor), number(ratio)
	return e
}

// atLeast and atMost set an aim.
func (e entry) atLeast(v, limit float64, what string) entry {
	e.aim = &aim{fmt.Sprintf("≥ %s%s", short(limit), what), v >= limit}
	return e
}

func (e entry) atMost(limit float64) entry {
	e.aim = &aim{fmt.Sprintf("≤ %s %s", short(limit), e.Unit), e.Value <= limit}
	return e
}

func writeJSON(path string, entries []entry) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write the figures: %w", err)
	}
	raw, err := json.MarshalIndent(entries, "", "  ")
	if err != nil {
		return fmt.Errorf("write the figures: %w", err)
	}
	if err := os.WriteFile(path, append(raw, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the figures: %w", err)
	}
	return nil
}

func writeTable(w io.Writer, entries []entry) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "benchmark\tvalue\tunit\tfloor\tratio\taim\t")
	for _, e := range entries {
		floor, ratio, aim, verdict := "-", "-", "-", ""
		if e.Floor != nil {
			floor = short(*e.Floor)
		}
		if e.Ratio != nil {
			ratio = fmt.Sprintf("%.2f", *e.Ratio)
		}
		if e.aim != nil {
			aim, verdict = e.aim.text, "missed"
			if e.aim.met {
				verdict = "met"
			}
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", e.Name, short(e.Value), e.Unit, floor, ratio, aim, verdict)
	}
	return table.Flush()
}

// short prints a number with as many digits as it deserves.
func short(v float64) string {
	switch a := math.Abs(v); {
	case a >= 100 || v == math.Trunc(v):
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// median is the middle one; percentile the one below which that part lies.
func median[T cmp.Ordered](values []T) T { return percentile(values, 50) }

func percentile[T cmp.Ordered](values []T, p float64) T {
	sorted := slices.Sorted(slices.Values(values))
	if len(sorted) == 0 {
		var none T
		return none
	}
	return sorted[min(len(sorted)-1, int(float64(len(sorted))*p/100))]
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// The output formats.
const (
	formatTable  = "table"
	formatWide   = "wide"
	formatJSON   = "json"
	formatNDJSON = "ndjson"
	formatName   = "name"
)

var formats = []string{formatTable, formatWide, formatJSON, formatNDJSON, formatName}

// view says how a thing is shown. The columns of a table are also the lines of a single thing.
type view[T any] struct {
	columns []column[T]
	// name is what other commands take for it.
	name func(T) string
}

type column[T any] struct {
	title string
	// wide columns are left out of a table.
	wide  bool
	value func(T, cell) string
}

// cell says how values are spelled: times relative to now in a table, in full in a wide one.
type cell struct {
	wide bool
	now  time.Time
}

// list shows things: as JSON one array, [] when there are none.
func (v view[T]) list(r *root, items []T) error {
	if items == nil {
		items = []T{}
	}
	var out bytes.Buffer
	switch r.flags.output {
	case formatJSON:
		if err := encode(&out, items); err != nil {
			return err
		}
	case formatNDJSON:
		for _, item := range items {
			if err := encode(&out, item); err != nil {
				return err
			}
		}
	case formatName:
		for _, item := range items {
			fmt.Fprintln(&out, clean(v.name(item)))
		}
	default:
		v.table(&out, items, r.cell())
	}
	return r.write(out.Bytes())
}

// show shows one thing.
func (v view[T]) show(r *root, item T) error {
	var out bytes.Buffer
	switch r.flags.output {
	case formatJSON, formatNDJSON:
		if err := encode(&out, item); err != nil {
			return err
		}
	case formatName:
		fmt.Fprintln(&out, clean(v.name(item)))
	default:
		w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
		for _, c := range v.columns {
			fmt.Fprintf(w, "%s\t%s\n", c.title, orDash(clean(c.value(item, r.cell()))))
		}
		_ = w.Flush()
	}
	return r.write(out.Bytes())
}

// table leaves out the header when there is nothing below it.
func (v view[T]) table(out io.Writer, items []T, how cell) {
	if len(items) == 0 {
		return
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(value func(column[T]) string) {
		var cells []string
		for _, c := range v.columns {
			if how.wide || !c.wide {
				cells = append(cells, value(c))
			}
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	row(func(c column[T]) string { return c.title })
	for _, item := range items {
		row(func(c column[T]) string { return orDash(clean(c.value(item, how))) })
	}
	_ = w.Flush()
}

func (r *root) cell() cell { return cell{wide: r.flags.output == formatWide, now: time.Now()} }

// write is the one way to stdout, so that a closed one is noticed.
func (r *root) write(data []byte) error {
	if _, err := r.Stdout.Write(data); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

// encode writes one line of JSON.
func encode(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("encode the result: %w", err)
	}
	return nil
}

// arrayWriter writes a stream of items as one JSON array, or as a line each.
type arrayWriter struct {
	w     io.Writer
	lines bool
	open  bool
}

func (a *arrayWriter) add(v any) error {
	var item bytes.Buffer
	if err := encode(&item, v); err != nil {
		return err
	}
	line := item.Bytes()
	if !a.lines {
		sep := ","
		if !a.open {
			sep = "["
		}
		line = append([]byte(sep), bytes.TrimSuffix(line, []byte("\n"))...)
	}
	a.open = true
	_, err := a.w.Write(line)
	return err
}

// close ends the array, an empty one too.
func (a *arrayWriter) close() error {
	end := "]\n"
	switch {
	case a.lines:
		return nil
	case !a.open:
		end = "[]\n"
	}
	_, err := io.WriteString(a.w, end)
	return err
}

// clean keeps what a server or a driver says from steering a terminal or from breaking a table.
func clean(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r == '\n' || r == '\t' || r == '\r':
			b.WriteByte(' ')
		default:
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return b.String()
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// time spells a moment.
func (c cell) time(t time.Time) string {
	switch {
	case t.IsZero():
		return ""
	case c.wide:
		return t.UTC().Format(time.RFC3339)
	case t.After(c.now):
		return "in " + roughly(t.Sub(c.now))
	}
	return roughly(c.now.Sub(t)) + " ago"
}

func (c cell) timeOf(t *time.Time) string {
	if t == nil {
		return ""
	}
	return c.time(*t)
}

// roughly spells a duration in its largest unit, as a person would; up to two of a unit it stays with the smaller one.
func roughly(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < 2*time.Minute:
		return strconv.Itoa(int(d/time.Second)) + "s"
	case d < 2*time.Hour:
		return strconv.Itoa(int(d/time.Minute)) + "m"
	case d < 2*day:
		return strconv.Itoa(int(d/time.Hour)) + "h"
	}
	return strconv.Itoa(int(d/day)) + "d"
}

// maybe is what is said of a thing that there may not be; "" without it.
func maybe[T any](thing *T, say func(*T) string) string {
	if thing == nil {
		return ""
	}
	return say(thing)
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func number[N ~int | ~int64](n N) string { return strconv.FormatInt(int64(n), 10) }

func numberOf(n *int64) string {
	if n == nil {
		return ""
	}
	return number(*n)
}

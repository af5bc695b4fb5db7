package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
)

func (r *root) leaseEvents() *cobra.Command {
	var follow bool
	var after int64
	cmd := r.verb(verb{
		use:   "events LEASE",
		short: "Show what happened to a lease, from the log",
		long:  "With --follow it goes on until the lease has ended and nothing of it is left.",
		examples: [2]string{
			"tenure lease events 01890a5d-ac96-774b-bcce-b302099a8057",
			"tenure lease events 01890a5d-ac96-774b-bcce-b302099a8057 --follow -o ndjson",
		},
		exits: exitsOfCalls,
		run: func(ctx context.Context, args []string) error {
			id, err := parseID("LEASE", args[0])
			if err != nil {
				return err
			}
			c, err := r.api(ctx)
			if err != nil {
				return err
			}
			out := r.eventWriter()
			if follow {
				err = followLease(ctx, c, id, after, out)
			} else {
				err = historyOf(ctx, c, id, after, out)
			}
			if err != nil && !out.begun {
				return err
			}
			return errors.Join(err, out.end())
		},
	})
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what happens")
	cmd.Flags().Int64Var(&after, "after", 0, "only events with a larger `position`")
	return cmd
}

func historyOf(ctx context.Context, c *client.Client, id uuid.UUID, after int64, out *eventWriter) error {
	cursor := ""
	if after > 0 {
		cursor = number(after)
	}
	for {
		page, err := c.LeaseEvents(ctx, id, client.Page(cursor, 0))
		if err != nil {
			return err
		}
		for _, e := range page.Items {
			if err := out.add(e); err != nil {
				return err
			}
		}
		if page.Next == nil || *page.Next == cursor {
			return nil
		}
		cursor = *page.Next
	}
}

// endings are the events after which a lease may be over; only then it is asked for.
var endings = []string{"LeaseReleased", "LeaseExpired", "LeaseFailed", "LeaseCanceled", "LeaseCleanupCompleted"}

// followLease shows events until the lease is over. A stream that the server ends in order, or that the network cuts, is
// taken up again after the last event.
func followLease(ctx context.Context, c *client.Client, id uuid.UUID, after int64, out *eventWriter) error {
	for failures := 0; ; {
		var failed error
		for e, err := range c.FollowLeaseEvents(ctx, id, after) {
			if err != nil {
				failed = err
				break
			}
			failures, after = 0, e.Position
			if err := out.add(e); err != nil {
				return err
			}
			if !slices.Contains(endings, e.Name) {
				continue
			}
			lease, err := c.Lease(ctx, id)
			if err != nil {
				return err
			}
			if lease.Ended() && text(lease.CleanupStatus) != "pending" {
				return historyOf(ctx, c, id, after, out)
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if failures++; failed != nil && !worthAnotherTry(failed, failures) {
			return failed
		}
		if err := pause(ctx, shortPause*time.Duration(min(failures, 10))); err != nil {
			return err
		}
	}
}

// reconnects is how often in a row a stream is opened again; with the pauses between, about half a minute.
const reconnects = 20

func worthAnotherTry(err error, failures int) bool {
	if problem, ok := errors.AsType[*client.Problem](err); ok && !problem.Retryable {
		return false
	}
	return failures <= reconnects
}

// eventWriter shows events as they come.
type eventWriter struct {
	format string
	w      io.Writer
	how    cell
	array  arrayWriter
	start  time.Time
	begun  bool
}

func (r *root) eventWriter() *eventWriter {
	return &eventWriter{
		format: r.flags.output, w: r.Stdout, how: r.cell(),
		array: arrayWriter{w: r.Stdout, lines: r.flags.output == formatNDJSON},
	}
}

func (o *eventWriter) add(e wire.Event) error {
	first := !o.begun
	o.begun = true
	if first {
		o.start = e.RecordedAt
	}
	switch o.format {
	case formatJSON, formatNDJSON:
		return o.array.add(e)
	case formatName:
		_, err := fmt.Fprintln(o.w, e.Name)
		return err
	}
	return o.row(e, first)
}

// row has fixed widths, since what comes next is not known.
func (o *eventWriter) row(e wire.Event, first bool) error {
	var line bytes.Buffer
	since := "+" + e.RecordedAt.Sub(o.start).Round(time.Millisecond).String()
	details := clean(summary(e.Data, o.format == formatWide))
	if o.format == formatWide {
		if first {
			fmt.Fprintf(&line, "%-10s  %-24s  %-10s  %-24s  %-7s  %-36s  %s\n", "POSITION", "TIME", "SINCE", "EVENT", "VERSION", "ACTOR", "DETAIL")
		}
		actor := "engine"
		if e.ActorID != nil {
			actor = e.ActorID.String()
		}
		fmt.Fprintf(&line, "%-10d  %-24s  %-10s  %-24s  %-7d  %-36s  %s\n",
			e.Position, e.RecordedAt.UTC().Format("2006-01-02T15:04:05.000Z"), since, clean(e.Name), e.Version, actor, details)
	} else {
		if first {
			fmt.Fprintf(&line, "%-8s  %-9s  %-10s  %-24s  %s\n", "POSITION", "AGE", "SINCE", "EVENT", "DETAIL")
		}
		if runes := []rune(details); len(runes) > detailWidth {
			details = string(runes[:detailWidth]) + "…"
		}
		fmt.Fprintf(&line, "%-8d  %-9s  %-10s  %-24s  %s\n", e.Position, o.how.time(e.RecordedAt), since, clean(e.Name), details)
	}
	_, err := o.w.Write(bytes.TrimRight(line.Bytes(), " "))
	return err
}

const detailWidth = 100

// end closes the document.
func (o *eventWriter) end() error {
	if o.format == formatJSON {
		return o.array.close()
	}
	return nil
}

// summary spells the plain members of an event in their order; what is nested is left to -o json, and ids to a wide table.
func summary(data json.RawMessage, ids bool) string {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return ""
	}
	var parts []string
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			break
		}
		var value any
		if dec.Decode(&value) != nil {
			break
		}
		s := scalar(value)
		if _, err := uuid.Parse(s); err == nil && !ids {
			continue
		}
		if s != "" {
			parts = append(parts, fmt.Sprintf("%v=%s", name, s))
		}
	}
	return strings.Join(parts, " ")
}

func scalar(value any) string {
	switch v := value.(type) {
	case string:
		if strings.ContainsAny(v, " \t\n") {
			return fmt.Sprintf("%q", v)
		}
		return v
	case json.Number:
		return v.String()
	case bool:
		return fmt.Sprint(v)
	}
	return ""
}

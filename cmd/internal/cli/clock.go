package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenure-dev/tenure/api/wire"
)

func (r *root) clockGroup() *cobra.Command {
	return r.group("clock", "The database's clock decides when leases end",
		[2]string{"tenure clock show", "tenure clock confirm --reason 'it was an hour behind'"},
		r.clockShow(), r.clockConfirm())
}

var clockView = view[wire.Clock]{
	name: func(c wire.Clock) string { return c.Now.UTC().Format(time.RFC3339Nano) },
	columns: []column[wire.Clock]{
		{title: "NOW", value: func(c wire.Clock, _ cell) string { return c.Now.UTC().Format(time.RFC3339Nano) }},
		{title: "SURE", value: func(c wire.Clock, _ cell) string {
			if c.Sure {
				return "yes"
			}
			return "no"
		}},
		{title: "JUMP", value: func(c wire.Clock, _ cell) string {
			if c.Sure {
				return ""
			}
			return (time.Duration(c.JumpMs) * time.Millisecond).String()
		}},
		{title: "DOUBTED BY", value: func(c wire.Clock, _ cell) string { return doubters(c) }},
		{title: "RENEWABLE", value: func(c wire.Clock, how cell) string { return how.timeOf(c.RenewableAt) }},
		{title: "LAST GAP", value: func(c wire.Clock, how cell) string {
			if c.LastGap == nil {
				return "none"
			}
			return fmt.Sprintf("%s for %s", how.time(c.LastGap.From), c.LastGap.To.Sub(c.LastGap.From).Round(time.Second))
		}},
		{title: "SHIFT", wide: true, value: func(c wire.Clock, _ cell) string {
			return maybe(c.LastGap, func(g *wire.ClockGap) string { return (time.Duration(g.ShiftMs) * time.Millisecond).String() })
		}},
	},
}

// doubters are the processes that do not know whether the clock is right.
func doubters(c wire.Clock) string {
	var all []string
	for _, p := range c.Processes {
		if !p.Sure {
			all = append(all, fmt.Sprintf("%s %s on %s", p.Role, p.ID, p.Hostname))
		}
	}
	return strings.Join(all, ", ")
}

func (r *root) clockShow() *cobra.Command {
	return r.verb(verb{
		use:   "show",
		short: "Show what time it is, and whether it can be trusted",
		long: "After a jump of the database's clock (--clock-jump of the server) no lease ends by its time in a process that saw it, until\n" +
			"later readings agree for a while (--clock-settle), or: tenure clock confirm. It tells of every process that lives.",
		examples: [2]string{"tenure clock show", "tenure clock show -o json"},
		exits:    exitsOfCalls,
		run: func(ctx context.Context, _ []string) error {
			c, err := r.api(ctx)
			if err != nil {
				return err
			}
			clock, err := c.Clock(ctx)
			if err != nil {
				return err
			}
			return clockView.show(r, clock)
		},
	})
}

func (r *root) clockConfirm() *cobra.Command {
	var in wire.ConfirmClock
	cmd := r.verb(verb{
		use:   "confirm",
		short: "Say that the database's clock is right after a jump",
		long:  "Leases whose time is over end again, in every process. Without a jump it changes nothing but the history.",
		examples: [2]string{
			"tenure clock confirm",
			"tenure clock confirm --reason 'the host was an hour behind'",
		},
		exits: exitsOfCalls,
		run: func(ctx context.Context, _ []string) error {
			c, err := r.api(ctx)
			if err != nil {
				return err
			}
			clock, err := c.ConfirmClock(ctx, in)
			if err != nil {
				return err
			}
			return clockView.show(r, clock)
		},
	})
	cmd.Flags().StringVar(&in.Reason, "reason", "", "`text` that goes into the history")
	return cmd
}

// clock says whether the server trusts the database's clock, and since when leases can be renewed.
func (d *examination) clock(ctx context.Context) {
	clock, err := d.c.Clock(ctx)
	switch {
	case err != nil:
		d.trouble("clock", err)
	case !clock.Sure:
		d.say("clock", findFail, "see what time it is there; then wait, or: tenure clock confirm",
			"the database's clock jumped by %s, and no lease ends by its time until that is settled", time.Duration(clock.JumpMs)*time.Millisecond)
	case clock.LastGap != nil && clock.Now.Sub(clock.LastGap.To) < oldGap:
		d.say("clock", findWarn, "", "no lease could be renewed for %s, %s ago; idle deadlines moved",
			clock.LastGap.To.Sub(clock.LastGap.From).Round(time.Second), roughly(clock.Now.Sub(clock.LastGap.To)))
	default:
		d.say("clock", findOK, "", "the database's clock is trusted, and leases can be renewed")
	}
}

// oldGap is how long a time without renewals is worth a word.
const oldGap = time.Hour

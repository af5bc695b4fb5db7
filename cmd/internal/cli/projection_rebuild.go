package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/tenure-dev/tenure/api/wire"
)

func (r *root) projectionRebuild() *cobra.Command {
	var every, detach bool
	cmd := r.verb(verb{
		use:   "rebuild [NAME]",
		short: "Fold a read model anew from the log, while it is being read",
		long: "Readers see the old rows until the new ones are complete. Interrupting this command does not stop the rebuild;\n" +
			"tenure projection list shows how far it is.",
		examples: [2]string{"tenure projection rebuild leases", "tenure projection rebuild --all"},
		exits:    exitsOfCalls,
		run: func(ctx context.Context, args []string) error {
			if every == (len(args) == 1) {
				return usagef("name either one projection or --all").mendBy("tenure projection list has the names")
			}
			name := "all"
			if !every {
				name = args[0]
			}
			c, err := r.api(ctx)
			if err != nil {
				return err
			}
			if detach {
				started, err := c.RebuildProjection(ctx, name)
				if err != nil {
					return err
				}
				rebuilds := make([]wire.Rebuild, len(started.Projections))
				for i, p := range started.Projections {
					rebuilds[i] = wire.Rebuild{Name: p, State: wire.RebuildRunning}
				}
				return rebuildView.list(r, rebuilds)
			}
			bar := r.rebuildBar()
			last := newLatest()
			for line, err := range c.FollowRebuild(ctx, name) {
				if err != nil {
					bar.close(false)
					return err
				}
				last.put(line)
				bar.show(last.lines())
			}
			bar.close(last.err() == nil)
			if err := rebuildView.list(r, last.lines()); err != nil {
				return err
			}
			return last.err()
		},
	})
	cmd.Flags().BoolVar(&every, "all", false, "rebuild every projection")
	cmd.Flags().BoolVarP(&detach, "detach", "d", false, "start the rebuild and do not wait for it")
	return cmd
}

var rebuildView = view[wire.Rebuild]{
	name: func(b wire.Rebuild) string { return b.Name },
	columns: []column[wire.Rebuild]{
		{title: "NAME", value: func(b wire.Rebuild, _ cell) string { return b.Name }},
		{title: "STATE", value: func(b wire.Rebuild, _ cell) string { return b.State }},
		{title: "POSITION", value: func(b wire.Rebuild, _ cell) string { return number(b.Position) }},
		{title: "EVENTS/S", value: func(b wire.Rebuild, _ cell) string {
			if b.EventsPerSecond == 0 {
				return ""
			}
			return fmt.Sprintf("%.0f", b.EventsPerSecond)
		}},
		{title: "ROWS", value: func(b wire.Rebuild, _ cell) string { return numberOf(b.Rows) }},
		{title: "DIFFERENCES", value: func(b wire.Rebuild, _ cell) string { return numberOf(b.Differences) }},
		{title: "ERROR", value: func(b wire.Rebuild, _ cell) string { return text(b.Error) }},
	},
}

// latest keeps the last line of each rebuild, in the order in which they began.
type latest struct {
	order []string
	by    map[string]wire.Rebuild
}

func newLatest() *latest { return &latest{by: map[string]wire.Rebuild{}} }

func (l *latest) put(line wire.Rebuild) {
	if _, known := l.by[line.Name]; !known {
		l.order = append(l.order, line.Name)
	}
	l.by[line.Name] = line
}

func (l *latest) lines() []wire.Rebuild {
	lines := make([]wire.Rebuild, 0, len(l.order))
	for _, name := range l.order {
		lines = append(lines, l.by[name])
	}
	return lines
}

func (l *latest) err() error {
	if len(l.order) == 0 {
		return &plainError{exitFailed, "rebuild_unknown", "the server ended before it said how the rebuild is", "see: tenure projection list"}
	}
	for _, line := range l.lines() {
		switch line.State {
		case wire.RebuildFailed:
			return &plainError{exitFailed, "rebuild_failed", fmt.Sprintf("the rebuild of %s failed: %s", line.Name, text(line.Error)), "readers still see the old rows; see: tenure projection parked " + line.Name}
		case wire.RebuildRunning:
			return &plainError{exitFailed, "rebuild_unknown", fmt.Sprintf("the server ended while %s was being rebuilt", line.Name), "see: tenure projection list"}
		}
	}
	return nil
}

// rebuildBar shows how far the rebuilds are, all of them in one bar: on a terminal, and nowhere else.
type rebuildBar struct {
	w   io.Writer
	bar *progressbar.ProgressBar
}

func (r *root) rebuildBar() *rebuildBar { return &rebuildBar{w: r.progress()} }

func (p *rebuildBar) show(rebuilds []wire.Rebuild) {
	if p.w == io.Discard {
		return
	}
	var position, target int64
	for _, b := range rebuilds {
		position += min(b.Position, b.Target)
		target += b.Target
	}
	if p.bar == nil {
		p.bar = progressbar.NewOptions64(max(target, 1),
			progressbar.OptionSetWriter(p.w),
			progressbar.OptionShowCount(),
			progressbar.OptionShowIts(),
			progressbar.OptionSetItsString("events"),
			progressbar.OptionSetPredictTime(true),
			progressbar.OptionFullWidth(),
			progressbar.OptionThrottle(50*time.Millisecond))
	}
	name := rebuilds[0].Name
	if len(rebuilds) > 1 {
		name = fmt.Sprintf("%d projections", len(rebuilds))
	}
	p.bar.Describe(name)
	p.bar.ChangeMax64(max(target, 1))
	// A full bar takes no more news, and another projection may still report.
	_ = p.bar.Set64(max(0, min(position, target-1)))
}

// close leaves the bar standing, full if all went well.
func (p *rebuildBar) close(done bool) {
	if p.bar == nil {
		return
	}
	if done {
		_ = p.bar.Finish()
	} else {
		_ = p.bar.Exit()
	}
	fmt.Fprintln(p.w)
}

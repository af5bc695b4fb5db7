package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenure-dev/tenure/api/wire"
)

func (r *root) logGroup() *cobra.Command {
	return r.group("log", "The log of all events: its epoch, and what to do after a failover or a restore",
		[2]string{"tenure log show", "tenure log adopt --reason failover"},
		r.logShow(), r.logAdopt())
}

var logView = view[wire.Log]{
	name: func(l wire.Log) string { return l.Installation.String() },
	columns: []column[wire.Log]{
		{title: "INSTALLATION", value: func(l wire.Log, _ cell) string { return l.Installation.String() }},
		{title: "EPOCH", value: func(l wire.Log, _ cell) string { return number(l.Epoch) }},
		{title: "POSITION", value: func(l wire.Log, _ cell) string { return number(l.Position) }},
		{title: "STATE", value: func(l wire.Log, _ cell) string { return l.State }},
		{title: "FOUND", value: func(l wire.Log, _ cell) string { return strings.Join(foundOf(l), ", ") }},
		{title: "LOST AT MOST", value: func(l wire.Log, _ cell) string { return number(l.LostAtMost) }},
		{title: "REMEMBERED", value: func(l wire.Log, _ cell) string { return rememberedOf(l) }},
		{title: "TRY", value: func(l wire.Log, _ cell) string { return adviceOf(l) }},
		{title: "ADOPTED", value: func(l wire.Log, _ cell) string {
			if l.Adopted == nil {
				return ""
			}
			return orElse(l.Adopted.Reason, "without a reason")
		}},
		{title: "STANDBYS", wide: true, value: func(l wire.Log, _ cell) string { return number(l.Standbys) }},
		{title: "SYNCHRONOUS", wide: true, value: func(l wire.Log, _ cell) string { return orElse(l.SynchronousStandbys, "none") }},
		{title: "TIMELINE", wide: true, value: func(l wire.Log, _ cell) string { return text(l.Place.Timeline) }},
		{title: "SYSTEM", wide: true, value: func(l wire.Log, _ cell) string { return text(l.Place.System) }},
	},
}

// findingTexts say in words what a sign of a fork is.
var findingTexts = map[string]string{
	"lost":      "events that a process remembers are not in the log",
	"timeline":  "a standby was promoted, or a backup recovered",
	"system":    "another database cluster",
	"database":  "another database of the cluster",
	"copied":    "the database's files are a copy",
	"elsewhere": "the database is elsewhere, and nobody here knew it before",
}

// foundOf are the signs of the log's forks, each once.
func foundOf(l wire.Log) (found []string) {
	for _, f := range l.Forks {
		for _, finding := range f.Findings {
			say := orElse(findingTexts[finding], finding)
			if !slices.Contains(found, say) {
				found = append(found, say)
			}
		}
	}
	return found
}

// rememberedOf is the last event that anybody remembers, and up to where the log has what was remembered.
func rememberedOf(l wire.Log) string {
	var last *wire.LogMark
	kept := int64(0)
	for _, f := range l.Forks {
		if f.Remembered != nil && (last == nil || f.Remembered.Position > last.Position) {
			last, kept = f.Remembered, f.Kept
		}
	}
	if last == nil {
		return ""
	}
	return fmt.Sprintf("position %d of epoch %d; the log has it up to %d", last.Position, last.Epoch, kept)
}

// adviceOf is what to do about a log that has forked.
func adviceOf(l wire.Log) string {
	if l.State != wire.LogForked {
		return ""
	}
	return "make sure that no other copy of this log is in use, then: tenure log adopt; for a copy beside its original: tenure log adopt --new-installation"
}

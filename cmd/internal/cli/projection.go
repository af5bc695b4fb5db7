package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tenure-dev/tenure/api/wire"
)

func (r *root) projectionGroup() *cobra.Command {
	return r.group("projection", "Projections are read models, folded from the log",
		[2]string{"tenure projection list", "tenure projection rebuild leases"},
		r.projectionList(), r.projectionRebuild(), r.projectionParked(), r.projectionRetry(), r.projectionSkip())
}

var projectionView = view[wire.Projection]{
	name: func(p wire.Projection) string { return p.Name },
	columns: []column[wire.Projection]{
		{title: "NAME", value: func(p wire.Projection, _ cell) string { return p.Name }},
		{title: "REVISION", value: func(p wire.Projection, _ cell) string { return number(p.Revision) }},
		{title: "GENERATION", value: func(p wire.Projection, _ cell) string { return number(p.Generation) }},
		{title: "POSITION", value: func(p wire.Projection, _ cell) string { return number(p.Position) }},
		{title: "LAG", value: func(p wire.Projection, _ cell) string { return number(p.Lag) }},
		{title: "PARKED", value: func(p wire.Projection, _ cell) string { return number(p.Parked) }},
		{title: "STATE", value: func(p wire.Projection, _ cell) string {
			if p.Stopped != nil {
				return p.State + ": " + *p.Stopped
			}
			return p.State
		}},
		{title: "REBUILD", value: func(p wire.Projection, _ cell) string {
			if p.Rebuild == nil {
				return ""
			}
			if p.Rebuild.State == wire.RebuildRunning {
				return fmt.Sprintf("%s %d%%", p.Rebuild.State, percent(p.Rebuild.Position, p.Rebuild.Target))
			}
			return p.Rebuild.State
		}},
		{title: "PREVIOUS", wide: true, value: func(p wire.Projection, _ cell) string { return number(p.Previous) }},
		{title: "HEAD", wide: true, value: func(p wire.Projection, _ cell) string { return number(p.Head) }},
	},
}

func percent(part, whole int64) int64 {
	if whole <= 0 {
		return 100
	}
	return min(100, part*100/whole)
}

var parkedView = view[wire.ParkedStream]{
	name: func(p wire.ParkedStream) string { return p.Stream },
	columns: []column[wire.ParkedStream]{
		{title: "STREAM", value: func(p wire.ParkedStream, _ cell) string { return p.Stream }},
		{title: "POSITION", value: func(p wire.ParkedStream, _ cell) string { return number(p.Position) }},
		{title: "EVENT", value: func(p wire.ParkedStream, _ cell) string { return p.Event }},
		{title: "BEHIND", value: func(p wire.ParkedStream, _ cell) string { return number(p.Behind) }},
		{title: "TRIED", value: func(p wire.ParkedStream, _ cell) string { return number(p.Attempts) }},
		{title: "PARKED", value: func(p wire.ParkedStream, how cell) string { return how.time(p.ParkedAt) }},
		{title: "RETRY", value: func(p wire.ParkedStream, how cell) string { return how.timeOf(p.RetryAt) }},
		{title: "REASON", value: func(p wire.ParkedStream, _ cell) string { return p.Reason }},
	},
}

// unparked is what became of a parked stream.
type unparked struct {
	Projection string `json:"projection"`
	Stream     string `json:"stream"`
	Outcome    string `json:"outcome"`
}

var unparkedView = view[unparked]{
	name: func(u unparked) string { return u.Stream },
	columns: []column[unparked]{
		{title: "PROJECTION", value: func(u unparked, _ cell) string { return u.Projection }},
		{title: "STREAM", value: func(u unparked, _ cell) string { return u.Stream }},
		{title: "OUTCOME", value: func(u unparked, _ cell) string { return u.Outcome }},
	},
}

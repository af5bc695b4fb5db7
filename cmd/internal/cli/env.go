package cli

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
)

func (r *root) envGroup() *cobra.Command {
	return r.group("env", "Environments are where work may run",
		[2]string{"tenure env add local --driver local", "tenure env list"},
		r.envAdd(), r.envList(), r.envShow(), r.envEdit(), r.envProbe(), r.envArchive(), r.envDelete())
}

// envView names variables only: their values are for commands, and a screen is read by more than one.
var envView = view[wire.Environment]{
	name: func(e wire.Environment) string { return e.Name },
	columns: []column[wire.Environment]{
		{title: "NAME", value: func(e wire.Environment, _ cell) string { return e.Name }},
		{title: "DRIVER", value: func(e wire.Environment, _ cell) string { return e.Driver }},
		{title: "STATUS", value: func(e wire.Environment, _ cell) string { return e.Status }},
		{title: "MAX LEASES", value: func(e wire.Environment, _ cell) string {
			if e.MaxLeases == 0 {
				return "no limit"
			}
			return number(e.MaxLeases)
		}},
		{title: "MAX QUEUED", wide: true, value: func(e wire.Environment, _ cell) string { return number(e.MaxQueued) }},
		{title: "CHANGED", value: func(e wire.Environment, how cell) string { return how.time(e.UpdatedAt) }},
		{title: "MAX TTL", wide: true, value: func(e wire.Environment, _ cell) string { return text(e.MaxTTL) }},
		{title: "ID", wide: true, value: func(e wire.Environment, _ cell) string { return e.ID.String() }},
		{title: "COMPANY", wide: true, value: func(e wire.Environment, _ cell) string { return e.CompanyID.String() }},
		{title: "DESCRIPTION", wide: true, value: func(e wire.Environment, _ cell) string { return e.Description }},
		{title: "CONFIG", wide: true, value: func(e wire.Environment, _ cell) string { return string(e.Config) }},
		{title: "VARIABLES", wide: true, value: func(e wire.Environment, _ cell) string {
			return strings.Join(slices.Sorted(maps.Keys(e.EnvVars)), ",")
		}},
		{title: "VERSION", wide: true, value: func(e wire.Environment, _ cell) string { return number(e.Version) }},
	},
}

// environmentsOf reads pages of a company's environments.
func environmentsOf(c *client.Client, company uuid.UUID) func(context.Context, ...client.CallOption) (wire.List[wire.Environment], error) {
	return func(ctx context.Context, o ...client.CallOption) (wire.List[wire.Environment], error) {
		return c.Environments(ctx, company, o...)
	}
}

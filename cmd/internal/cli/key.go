package cli

import (
	"context"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
)

func (r *root) keyGroup() *cobra.Command {
	return r.group("key", "API keys say who may do what",
		[2]string{"tenure key add ci --role client", "tenure key list"},
		r.keyAdd(), r.keyList(), r.keyRevoke())
}

var keyView = view[wire.Key]{
	name: func(k wire.Key) string { return k.ID.String() },
	columns: []column[wire.Key]{
		{title: "ID", value: func(k wire.Key, _ cell) string { return k.ID.String() }},
		{title: "NAME", value: func(k wire.Key, _ cell) string { return k.Name }},
		{title: "ROLE", value: func(k wire.Key, _ cell) string { return k.Role }},
		{title: "STATUS", value: func(k wire.Key, _ cell) string { return k.Status }},
		{title: "ADDED", value: func(k wire.Key, how cell) string { return how.time(k.CreatedAt) }},
		{title: "COMPANY", wide: true, value: func(k wire.Key, _ cell) string {
			if k.CompanyID == nil {
				return "every one"
			}
			return k.CompanyID.String()
		}},
		{title: "PRINCIPAL", wide: true, value: func(k wire.Key, _ cell) string { return k.PrincipalID.String() }},
		{title: "REVOKED", wide: true, value: func(k wire.Key, how cell) string { return how.timeOf(k.RevokedAt) }},
	},
}

// keyOwner is the company whose keys are meant, or none with --all-companies.
func (r *root) keyOwner(ctx context.Context, c *client.Client, every bool) (uuid.UUID, error) {
	if every && r.flags.company != "" {
		return uuid.Nil, usagef("--all-companies and a company exclude each other").mendBy("give one of them")
	}
	if every {
		return uuid.Nil, nil
	}
	company, err := r.company(ctx, c)
	return company.ID, err
}

// keysOf reads pages of a company's keys, or with uuid.Nil of those that reach every company.
func keysOf(c *client.Client, company uuid.UUID) func(context.Context, ...client.CallOption) (wire.List[wire.Key], error) {
	return func(ctx context.Context, o ...client.CallOption) (wire.List[wire.Key], error) {
		return c.Keys(ctx, company, o...)
	}
}

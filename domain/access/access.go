// Package access decides who may do what, by the one table in table.go.
//
//	                     yes                        yes                  yes
//	own company, or     ─────► a role of the row  ─────► may do it
//	a key of every one?
//	    │ no                       │ no
//	    ▼                          ▼
//	looks not found            forbidden, naming the roles
//
// Whose a thing is comes before what a role may do, so that no answer tells whether an id exists in another company.
package access

import (
	"slices"
	"strings"

	"github.com/tenure-dev/tenure/domain"
)

// Role is what kind of work a key is for.
type Role string

// The roles.
const (
	// RoleClient: leases environments and works in them.
	RoleClient Role = "client"
	// RoleAuditor: reads what happened and changes nothing.
	RoleAuditor Role = "auditor"
	// RoleOperator: runs the engine and its environments.
	RoleOperator Role = "operator"
	// RoleAdmin: also says who may come in.
	RoleAdmin Role = "admin"
)

func (r Role) String() string { return string(r) }

// Roles lists every role.
func Roles() []Role { return []Role{RoleClient, RoleAuditor, RoleOperator, RoleAdmin} }

// Known reports whether r is one of [Roles].
func (r Role) Known() bool { return slices.Contains(Roles(), r) }

// Names spells roles for people: "operator or admin".
func Names(roles []Role) string {
	names := make([]string, len(roles))
	for i, r := range roles {
		names[i] = string(r)
	}
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// Principal is who acts, with which key.
type Principal struct {
	ID   domain.PrincipalID
	Key  domain.KeyID
	Role Role
	// Company is the one the key is scoped to; zero is every company.
	Company domain.CompanyID
}

// Scoped reports whether the principal reaches one company only.
func (p Principal) Scoped() bool { return !p.Company.IsZero() }

// NotFound is the answer for an id that does not exist, and for one of another company.
func NotFound(noun string) *domain.Refusal { return domain.NotFound(noun) }

// Can refuses what p may not do. owner is the company of what a is done to; it is not looked at for actions that no
// company owns. An id that nobody knows is to be answered with [NotFound] of [Action.Noun], as Can answers a foreign one.
func Can(p Principal, a Action, owner domain.CompanyID) error {
	row, ok := table[a]
	if !ok {
		return domain.Refuse(domain.KindForbidden, "forbidden", "nobody may do %q", string(a))
	}
	if row.scope == scopeCompany && p.Scoped() && p.Company != owner {
		return NotFound(row.noun)
	}
	if !slices.Contains(row.roles, p.Role) {
		return domain.Refuse(domain.KindForbidden, "forbidden", "%s needs the role %s, and this key has %s", a, Names(row.roles), p.Role).
			Mend("use a key with the role %s", Names(row.roles))
	}
	if row.scope == scopeUnscoped && p.Scoped() {
		return domain.Refuse(domain.KindForbidden, "company_key", "%s concerns every company, and this key is for one", a).
			Mend("use a key that is not scoped to a company, with the role %s", Names(row.roles))
	}
	return nil
}

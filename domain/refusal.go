package domain

import "fmt"

// Kind is why a command was refused. The set is closed: every kind has one HTTP status in api/errors.go.
type Kind string

// The kinds of refusal.
const (
	// KindInvalid: the command itself is wrong; the same command can never succeed.
	KindInvalid Kind = "invalid"
	// KindNotFound: what it names does not exist, or belongs to somebody else, which looks the same.
	KindNotFound Kind = "not_found"
	// KindConflict: the present state does not allow it; another state may.
	KindConflict Kind = "conflict"
	// KindGone: what it names has ended for good.
	KindGone Kind = "gone"
	// KindForbidden: the caller may not do this.
	KindForbidden Kind = "forbidden"
	// KindStale: the command was decided on by a worker that lost its claim, or by a holder with an old fence.
	KindStale Kind = "stale"
	// KindBusy: there is no room now; the same command may succeed later, when others are done.
	KindBusy Kind = "busy"
)

// Refusal is the answer "no" with what the caller needs to go on. A refusal is an answer, not a failure: it is never
// logged as an error.
type Refusal struct {
	Kind Kind
	// Code is stable and in snake case, such as "environment_archived".
	Code string
	// Field names the part of the command at fault, in its JSON spelling; "" when it is no single one.
	Field   string
	Message string
	// Remediation says what the caller can do.
	Remediation string
	// Blockers are what stands in the way, as far as it is worth listing.
	Blockers []Blocker
	// Constraints are what the command needs and is not so, if it is several things that fail.
	Constraints []Constraint
}

// Blocker is a thing that stands in a command's way.
type Blocker struct {
	// Kind is what it is, such as "lease"; ID names it, Status is where it stands.
	Kind, ID, Status string
}

func (r *Refusal) Error() string {
	if r.Field != "" {
		return r.Field + ": " + r.Message
	}
	return r.Message
}

// Refuse makes a refusal.
func Refuse(kind Kind, code, format string, args ...any) *Refusal {
	return &Refusal{Kind: kind, Code: code, Message: fmt.Sprintf(format, args...)}
}

// NotFound is the answer for an id that does not exist. What belongs to another company is answered with the very same, so
// that nobody learns which ids exist elsewhere.
func NotFound(noun string) *Refusal {
	return Refuse(KindNotFound, noun+"_not_found", "there is no such %s", noun).
		Mend("check the id, and that your key may see what it names")
}

// On names the field at fault.
func (r *Refusal) On(field string) *Refusal {
	c := *r
	c.Field = field
	return &c
}

// Mend says what the caller can do.
func (r *Refusal) Mend(format string, args ...any) *Refusal {
	c := *r
	c.Remediation = fmt.Sprintf(format, args...)
	return &c
}

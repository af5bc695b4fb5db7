package domain

// Constraint is one thing that a command needs, and whether it is so.
type Constraint struct {
	// Name is stable and in snake case, such as "environment_active".
	Name string
	OK   bool
	// Detail says how it is, Remediation what can be done about it if it is not OK.
	Detail, Remediation string
	// Waiting says that it may become OK by waiting.
	Waiting bool
	// Unknown says that nobody can tell yet; then it is OK, and decided later.
	Unknown bool
}

package wire

// Problem is every answer that is no success (RFC 9457).
type Problem struct {
	// Type is a URI reference that names Code.
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	// Code is stable and in snake case, such as "environment_archived".
	Code string `json:"code"`
	// Detail is the whole sentence, Cause what lies behind it.
	Detail string `json:"detail"`
	Cause  string `json:"cause"`
	// Field names the part of the request at fault, in its JSON spelling, or a parameter or header.
	Field string `json:"field,omitempty"`
	// Remediation says how to mend it.
	Remediation string `json:"remediation"`
	// Retryable says that the same request may succeed later.
	Retryable bool   `json:"retryable"`
	RequestID string `json:"requestId"`
	// Blockers are what stands in the way (codes environment_in_use and secret_in_use), at most 20 of them.
	Blockers []Blocker `json:"blockers,omitempty"`
	// Constraints are what the request needs and is not so (code unsatisfiable): all that fail.
	Constraints []Constraint `json:"constraints,omitempty"`
	// Lease is the lease that ended before it was active (code lease_failed).
	Lease *Lease `json:"lease,omitempty"`
}

// Blocker is a thing that stands in the way.
type Blocker struct {
	// Kind is lease, leak, or default for the company that has the environment as its default.
	Kind   string `json:"kind"`
	ID     string `json:"id"`
	Status string `json:"status"`
}

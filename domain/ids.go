package domain

import "github.com/google/uuid"

// ID is an opaque identifier that cannot be mistaken for one of another kind. Its JSON form is the UUID's text.
type ID[K any] struct{ uuid.UUID }

// IsZero reports whether the id is absent.
func (id ID[K]) IsZero() bool { return id.UUID == uuid.Nil }

type (
	companyKind     struct{}
	environmentKind struct{}
	leaseKind       struct{}
	runtimeKind     struct{}
	execKind        struct{}
	keyKind         struct{}
	principalKind   struct{}
	workerKind      struct{}
	nodeKind        struct{}
	pluginKind      struct{}
	probeKind       struct{}
	installKind     struct{}
	secretKind      struct{}
	leakKind        struct{}
)

// The ids of the domain.
type (
	// CompanyID names who owns environments, leases and keys. The zero one is "no company".
	CompanyID = ID[companyKind]
	// EnvironmentID names a place work may run.
	EnvironmentID = ID[environmentKind]
	// LeaseID names the right of one run to one runtime.
	LeaseID = ID[leaseKind]
	// RuntimeID names a thing provisioned.
	RuntimeID = ID[runtimeKind]
	// ExecID names one command in a lease.
	ExecID = ID[execKind]
	// KeyID names an API key.
	KeyID = ID[keyKind]
	// PrincipalID names who acts, without saying who that is.
	PrincipalID = ID[principalKind]
	// WorkerID names one incarnation of a process that drives.
	WorkerID = ID[workerKind]
	// NodeID names a machine's data directory.
	NodeID = ID[nodeKind]
	// PluginID names an installed plugin, whatever its version.
	PluginID = ID[pluginKind]
	// ProbeID names a question whether an environment would work.
	ProbeID = ID[probeKind]
	// InstallID names a wish to install a plugin.
	InstallID = ID[installKind]
	// SecretID names a secret, whose values are not in the log.
	SecretID = ID[secretKind]
	// LeakID names a thing that may be left outside; it follows from the thing.
	LeakID = ID[leakKind]
)

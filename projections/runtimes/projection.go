// Package runtimes is the read model of the things provisioned. A runtime counts as existing until it is destroyed.
package runtimes

import (
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/runtime"
	"github.com/tenure-dev/tenure/projections"
)

// Runtime is a runtime as it stands.
type Runtime struct {
	ID domain.RuntimeID
	runtime.State
	IntendedAt time.Time
	// MadeAt and DestroyedAt are zero until then.
	MadeAt      time.Time
	DestroyedAt time.Time
}

// Row is a runtime and its place in the log.
type Row = projections.Row[Runtime]

// Model is the read model.
var Model = &projections.Definition[Runtime]{
	Name: "runtimes", Revision: 2,
	Categories: []string{runtime.Category},
	Columns: []projections.Column[Runtime]{
		{Name: "company_id", Type: "uuid", Of: func(r *Runtime) any { return r.Origin.Company.UUID }},
		{Name: "environment_id", Type: "uuid", Of: func(r *Runtime) any { return r.Origin.Environment.UUID }},
		{Name: "lease_id", Type: "uuid", Of: func(r *Runtime) any { return r.Last.UUID }},
		{Name: "node_id", Type: "uuid", Of: func(r *Runtime) any { return r.Origin.Node.UUID }},
		{Name: "status", Type: "text NOT NULL", Of: func(r *Runtime) any { return r.Status.String() }},
		{Name: "forgotten_on", Type: "uuid", Of: forgottenOn},
	},
	Indexes: []string{
		"(company_id, created)", "(lease_id)", "(created) WHERE status NOT IN ('destroyed', 'disowned')",
		"(forgotten_on) WHERE forgotten_on IS NOT NULL",
	},
	Apply: apply,
}

// forgottenOn is the node with which the runtime was given up.
func forgottenOn(r *Runtime) any {
	if r.Proof != runtime.ProofForgotten {
		return uuid.Nil
	}
	return r.Origin.Node.UUID
}

func apply(r *Runtime, e *projections.Event) (bool, error) {
	var err error
	if r.ID, err = projections.IDOf[domain.RuntimeID](e); err != nil {
		return false, err
	}
	if err := projections.Take(&r.State, e, runtime.Codec, runtime.Evolve); err != nil {
		return false, err
	}
	happened, err := projections.Decode(e, runtime.Codec)
	if err != nil {
		return false, err
	}
	switch happened.(type) {
	case runtime.Intended:
		r.IntendedAt = e.RecordedAt
	case runtime.Made:
		r.MadeAt = e.RecordedAt
	case runtime.Destroyed:
		r.DestroyedAt = e.RecordedAt
	case runtime.Held, runtime.Freed, runtime.Lost, runtime.DestroyIntended, runtime.Disowned:
	}
	return true, nil
}

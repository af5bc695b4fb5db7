// Package keys is the read model of API keys, by which a request's key is found.
package keys

import (
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/key"
	"github.com/tenure-dev/tenure/projections"
)

// Key is a key as it stands. It holds the hash of the secret, never the secret.
type Key struct {
	ID domain.KeyID
	key.State
}

// Row is a key and its place in the log.
type Row = projections.Row[Key]

// Model is the read model.
var Model = &projections.Definition[Key]{
	Name: "keys", Revision: 1,
	Categories: []string{key.Category},
	Columns: []projections.Column[Key]{
		{Name: "company_id", Type: "uuid", Of: func(k *Key) any { return k.Key.Company.UUID }},
		{Name: "hash", Type: "text NOT NULL", Of: func(k *Key) any { return k.Key.Hash }},
		{Name: "status", Type: "text NOT NULL", Of: func(k *Key) any { return k.Status.String() }},
	},
	Indexes: []string{"(hash)", "(company_id, created)"},
	Apply:   apply,
}

func apply(k *Key, e *projections.Event) (bool, error) {
	var err error
	if k.ID, err = projections.IDOf[domain.KeyID](e); err != nil {
		return false, err
	}
	return true, projections.Take(&k.State, e, key.Codec, key.Evolve)
}

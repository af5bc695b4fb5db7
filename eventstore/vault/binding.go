package vault

import (
	"encoding/binary"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/eventstore"
)

// Binding says what a sealed value belongs to. Two bindings have the same canonical bytes only if they are equal.
type Binding struct {
	kind    byte
	company domain.CompanyID
	subject eventstore.Stream
	id      uuid.UUID
	version int
}

// The kinds of bindings.
const (
	kindInput  = 1
	kindSecret = 2
	kindCheck  = 3
)

// OfInput binds to a value kept beside the log.
func OfInput(company domain.CompanyID, subject eventstore.Stream, id uuid.UUID) Binding {
	return Binding{kind: kindInput, company: company, subject: subject, id: id}
}

// OfSecret binds to one version of a secret.
func OfSecret(company domain.CompanyID, secret domain.SecretID, version int) Binding {
	return Binding{kind: kindSecret, company: company, id: secret.UUID, version: version}
}

// ofKey binds the check value of a key.
func ofKey(id uint32) Binding { return Binding{kind: kindCheck, version: int(id)} }

// bytes is the canonical form: fields of fixed width, and the one text last.
func (b Binding) bytes() []byte {
	out := append([]byte("tenure"), 1, b.kind)
	out = append(out, b.company.UUID[:]...)
	out = append(out, b.id[:]...)
	out = binary.BigEndian.AppendUint64(out, uint64(b.version))
	return append(out, b.subject...)
}

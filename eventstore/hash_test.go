package eventstore_test

import (
	"bytes"
	"encoding/hex"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/eventstore"
)

// golden is the event of docs/adr/0003-hash-layout.md. Its hash never changes: a log that is written is chained with it.
func golden() eventstore.Recorded {
	id := func(n byte) uuid.UUID { return uuid.UUID(bytes.Repeat([]byte{n}, 16)) }
	return eventstore.Recorded{
		Position: 42, Epoch: 1, Stream: "lease-01010101-0101-0101-0101-010101010101", Version: 3,
		Name: "LeaseGranted", Revision: 1, Company: domain.CompanyID{UUID: id(2)}, CompanyPosition: 7,
		RecordedAt: time.Date(2026, 11, 25, 12, 0, 0, 123456000, time.UTC),
		AppendID:   id(3), AppendIndex: 1,
		By: eventstore.Attribution{
			Actor: domain.PrincipalID{UUID: id(4)}, Key: domain.KeyID{UUID: id(5)}, Request: id(6), Cause: id(7),
		},
		Commitment: eventstore.Commit(bytes.Repeat([]byte{8}, eventstore.SaltBytes), []byte(`{"slot":1}`)),
		PrevHash:   bytes.Repeat([]byte{9}, 32),
	}
}

func TestTheHashLayoutIsFrozen(t *testing.T) {
	t.Parallel()
	require.Equal(t, "43397b6ec6704c695f8c24bae94a49d80c27f259d6ab36a3c5ac3bc4848ddcbc", hex.EncodeToString(golden().Commitment))
	require.Equal(t, "61c73a44a7513c12c8f697b9af1effdb46e0e3adc883db0ad83d3539a716fb78", hex.EncodeToString(eventstore.Hash(golden())))
	first := golden()
	first.PrevHash, first.Company, first.By = eventstore.NoHash(), domain.CompanyID{}, eventstore.Attribution{}
	require.Equal(t, "73389dfff2cbd365f1a0938aa9a79a19f24491ff9a6e161ee6a1308700ea194c", hex.EncodeToString(eventstore.Hash(first)))
}

func TestEveryPartOfTheEnvelopeIsInTheHash(t *testing.T) {
	t.Parallel()
	other := uuid.New()
	for name, change := range map[string]func(*eventstore.Recorded){
		"epoch":           func(r *eventstore.Recorded) { r.Epoch++ },
		"position":        func(r *eventstore.Recorded) { r.Position++ },
		"version":         func(r *eventstore.Recorded) { r.Version++ },
		"companyPosition": func(r *eventstore.Recorded) { r.CompanyPosition++ },
		"recordedAt":      func(r *eventstore.Recorded) { r.RecordedAt = r.RecordedAt.Add(time.Microsecond) },
		"company":         func(r *eventstore.Recorded) { r.Company.UUID = other },
		"append":          func(r *eventstore.Recorded) { r.AppendID = other },
		"index":           func(r *eventstore.Recorded) { r.AppendIndex++ },
		"actor":           func(r *eventstore.Recorded) { r.By.Actor.UUID = other },
		"key":             func(r *eventstore.Recorded) { r.By.Key.UUID = other },
		"request":         func(r *eventstore.Recorded) { r.By.Request = other },
		"cause":           func(r *eventstore.Recorded) { r.By.Cause = other },
		"revision":        func(r *eventstore.Recorded) { r.Revision++ },
		"stream":          func(r *eventstore.Recorded) { r.Stream += "x" },
		"name":            func(r *eventstore.Recorded) { r.Name += "x" },
		"name and stream": func(r *eventstore.Recorded) { r.Stream, r.Name = r.Stream+"L", r.Name[1:] },
		"commitment":      func(r *eventstore.Recorded) { r.Commitment = bytes.Repeat([]byte{1}, 32) },
		"previous hash":   func(r *eventstore.Recorded) { r.PrevHash = eventstore.NoHash() },
	} {
		r := golden()
		change(&r)
		require.NotEqual(t, eventstore.Hash(golden()), eventstore.Hash(r), name)
	}
}

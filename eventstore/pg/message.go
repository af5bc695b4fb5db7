package pg

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/eventstore"
)

// Keys of a message's metadata: the event's name, for who routes by it, and the whole envelope in a binary form, because
// every event passes here and a reflecting codec would cost more than reading it.
const (
	metaName     = "tenure.name"
	metaEnvelope = "tenure.envelope"
)

// Message is an event as a Watermill message: the payload is the event's, the envelope is metadata.
func Message(r eventstore.Recorded) *message.Message {
	msg := message.NewMessage(r.AppendID.String()+"/"+strconv.Itoa(r.AppendIndex), r.Payload)
	msg.Metadata.Set(metaName, r.Name)
	msg.Metadata.Set(metaEnvelope, envelope(r))
	return msg
}

// FromMessage is the event of a message that [Message] made.
func FromMessage(m *message.Message) (eventstore.Recorded, error) {
	r, err := fromEnvelope(m.Metadata.Get(metaEnvelope))
	if err != nil {
		return eventstore.Recorded{}, fmt.Errorf("message %s: %w", m.UUID, err)
	}
	r.Name, r.Payload = m.Metadata.Get(metaName), m.Payload
	return r, nil
}

// envelopeSize is about how long an envelope is.
const envelopeSize = 360

func envelope(r eventstore.Recorded) string {
	var b strings.Builder
	b.Grow(envelopeSize)
	var word [8]byte
	for _, n := range [...]int64{
		r.Position, r.Epoch, r.Version, int64(r.Revision), r.CompanyPosition, r.RecordedAt.UnixMicro(), int64(r.AppendIndex),
	} {
		binary.BigEndian.PutUint64(word[:], uint64(n))
		b.Write(word[:])
	}
	for _, id := range [...]uuid.UUID{r.Company.UUID, r.AppendID, r.By.Actor.UUID, r.By.Key.UUID, r.By.Request, r.By.Cause} {
		b.Write(id[:])
	}
	size := func(n int) {
		binary.BigEndian.PutUint32(word[:], uint32(n))
		b.Write(word[:4])
	}
	size(len(r.Stream))
	b.WriteString(string(r.Stream))
	for _, v := range [...][]byte{r.Salt, r.Commitment, r.PrevHash, r.Hash} {
		size(len(v))
		b.Write(v)
	}
	return b.String()
}

var errEnvelope = errors.New("the envelope is not one of ours")

// fromEnvelope reads what envelope wrote. Parts of no length come back as nil.
func fromEnvelope(s string) (eventstore.Recorded, error) {
	const numbers, ids, hashes = 7, 6, 4
	if len(s) < 8*numbers+16*ids {
		return eventstore.Recorded{}, errEnvelope
	}
	var fixed [8*numbers + 16*ids]byte
	s = s[copy(fixed[:], s):]
	var n [numbers]int64
	for i := range n {
		n[i] = int64(binary.BigEndian.Uint64(fixed[8*i:]))
	}
	var id [ids]uuid.UUID
	for i := range id {
		id[i] = uuid.UUID(fixed[8*numbers+16*i:])
	}
	stream, s, ok := part(s)
	if !ok {
		return eventstore.Recorded{}, errEnvelope
	}
	b := []byte(s)
	var v [hashes][]byte
	for i := range v {
		if v[i], b, ok = part(b); !ok {
			return eventstore.Recorded{}, errEnvelope
		}
		v[i] = slices.Clip(v[i])
	}
	return eventstore.Recorded{
		Position: n[0], Epoch: n[1], Version: n[2], Revision: int(n[3]), CompanyPosition: n[4],
		RecordedAt: time.UnixMicro(n[5]).UTC(), AppendIndex: int(n[6]),
		Company: domain.CompanyID{UUID: id[0]}, AppendID: id[1],
		By: eventstore.Attribution{
			Actor: domain.PrincipalID{UUID: id[2]}, Key: domain.KeyID{UUID: id[3]}, Request: id[4], Cause: id[5],
		},
		Stream: eventstore.Stream(stream), Salt: v[0], Commitment: v[1], PrevHash: v[2], Hash: v[3],
	}, nil
}

// part takes the next part, which stands behind its length.
func part[T string | []byte](from T) (value, rest T, ok bool) {
	if len(from) < 4 {
		return value, rest, false
	}
	size := uint64(from[0])<<24 | uint64(from[1])<<16 | uint64(from[2])<<8 | uint64(from[3])
	from = from[4:]
	if size > uint64(len(from)) {
		return value, rest, false
	}
	if size > 0 {
		value = from[:size]
	}
	return value, from[size:], true
}

package pg

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
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
	msg.Metadata.Set(metaEnvelope, string(envelope(r)))
	return msg
}

// FromMessage is the event of a message that [Message] made.
func FromMessage(m *message.Message) (eventstore.Recorded, error) {
	r, err := fromEnvelope([]byte(m.Metadata.Get(metaEnvelope)))
	if err != nil {
		return eventstore.Recorded{}, fmt.Errorf("message %s: %w", m.UUID, err)
	}
	r.Name, r.Payload = m.Metadata.Get(metaName), m.Payload
	return r, nil
}

func envelope(r eventstore.Recorded) []byte {
	b := make([]byte, 0, 400)
	for _, n := range []int64{
		r.Position, r.Epoch, r.Version, int64(r.Revision), r.CompanyPosition, r.RecordedAt.UnixMicro(), int64(r.AppendIndex),
	} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	for _, id := range []uuid.UUID{r.Company.UUID, r.AppendID, r.By.Actor.UUID, r.By.Key.UUID, r.By.Request, r.By.Cause} {
		b = append(b, id[:]...)
	}
	for _, v := range [][]byte{[]byte(r.Stream), r.Salt, r.Commitment, r.PrevHash, r.Hash} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(v)))
		b = append(b, v...)
	}
	return b
}

var errEnvelope = errors.New("the envelope is not one of ours")

// fromEnvelope reads what envelope wrote. Parts of no length come back as nil.
func fromEnvelope(b []byte) (eventstore.Recorded, error) {
	const numbers, ids, parts = 7, 6, 5
	if len(b) < 8*numbers+16*ids {
		return eventstore.Recorded{}, errEnvelope
	}
	var n [numbers]int64
	for i := range n {
		n[i], b = int64(binary.BigEndian.Uint64(b)), b[8:]
	}
	var id [ids]uuid.UUID
	for i := range id {
		id[i], b = uuid.UUID(b[:16]), b[16:]
	}
	var v [parts][]byte
	for i := range v {
		if len(b) < 4 {
			return eventstore.Recorded{}, errEnvelope
		}
		size := binary.BigEndian.Uint32(b)
		b = b[4:]
		if uint64(size) > uint64(len(b)) {
			return eventstore.Recorded{}, errEnvelope
		}
		if size > 0 {
			v[i] = b[:size:size]
		}
		b = b[size:]
	}
	return eventstore.Recorded{
		Position: n[0], Epoch: n[1], Version: n[2], Revision: int(n[3]), CompanyPosition: n[4],
		RecordedAt: time.UnixMicro(n[5]).UTC(), AppendIndex: int(n[6]),
		Company: domain.CompanyID{UUID: id[0]}, AppendID: id[1],
		By: eventstore.Attribution{
			Actor: domain.PrincipalID{UUID: id[2]}, Key: domain.KeyID{UUID: id[3]}, Request: id[4], Cause: id[5],
		},
		Stream: eventstore.Stream(v[0]), Salt: v[1], Commitment: v[2], PrevHash: v[3], Hash: v[4],
	}, nil
}

package eventstore

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// HashLayout is the first byte of what an event's hash covers; another layout gets another number.
const HashLayout = 1

// SaltBytes is the length of the random salt beside each payload.
const SaltBytes = 32

// NewSalt makes the salt of one payload.
func NewSalt() []byte {
	salt := make([]byte, SaltBytes)
	_, _ = rand.Read(salt) // crypto/rand.Read never fails; it ends the process instead.
	return salt
}

// Commit is the commitment to a payload: SHA-256 over salt and payload. The payload can be erased together with its salt,
// and every chain still holds.
func Commit(salt, payload []byte) []byte {
	h := sha256.New()
	h.Write(salt)
	h.Write(payload)
	return h.Sum(nil)
}

// Hash is the hash of an event: SHA-256 over its envelope, the commitment to its payload and the hash of the event before
// it in its stream (32 zero bytes for the first). The layout is docs/adr/0003-hash-layout.md; migrations/00001_log.sql
// computes the same in the database.
func Hash(r Recorded) []byte {
	before, after := HashInput(r)
	sum := HashAt(before, r.RecordedAt, after, r.PrevHash)
	return sum[:]
}

// HashInput is what a hash covers before and after the time of the event, but for the hash of the event before it.
func HashInput(r Recorded) (before, after []byte) {
	b := make([]byte, 0, 192+len(r.Stream)+len(r.Name))
	b = append(b, HashLayout)
	b = binary.BigEndian.AppendUint64(b, uint64(r.Epoch))
	b = binary.BigEndian.AppendUint64(b, uint64(r.Position))
	b = binary.BigEndian.AppendUint64(b, uint64(r.Version))
	b = binary.BigEndian.AppendUint64(b, uint64(r.CompanyPosition))
	n := len(b)
	b = append(b, r.Company.UUID[:]...)
	b = append(b, r.AppendID[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(r.AppendIndex))
	b = append(b, r.By.Actor.UUID[:]...)
	b = append(b, r.By.Key.UUID[:]...)
	b = append(b, r.By.Request[:]...)
	b = append(b, r.By.Cause[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(r.Revision))
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.Stream)))
	b = append(b, r.Stream...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.Name)))
	b = append(b, r.Name...)
	b = append(b, r.Commitment...)
	return b[:n:n], b[n:]
}

// HashAt is the hash of an event whose input [HashInput] made, which was recorded at a time and follows another one.
func HashAt(before []byte, at time.Time, after, prev []byte) [sha256.Size]byte {
	b := make([]byte, 0, 320)
	b = append(b, before...)
	b = binary.BigEndian.AppendUint64(b, uint64(at.UnixMicro()))
	b = append(b, after...)
	b = append(b, prev...)
	return sha256.Sum256(b)
}

// NoHash is the previous hash of a stream's first event.
func NoHash() []byte { return make([]byte, sha256.Size) }

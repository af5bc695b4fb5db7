package pg

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/eventstore"
)

// rowReader takes rows of the log apart as Postgres sends them, in binary. Every event of every reader passes here, and
// going through the types that a general scan knows costs more than reading.
type rowReader struct {
	values [][]byte
	err    error
	// names are the few names that events have, each kept once.
	names map[string]string
	// room is where payloads of facts go: they come and go together.
	room []byte
}

var (
	errText = errors.New("the connection answers in text; it must not be in simple protocol or exec mode")
	errRow  = errors.New("a column of the log is not of its type")
)

// inBinary comes before the arguments of a query whose rows a rowReader takes apart.
var inBinary = pgx.QueryResultFormats{pgx.BinaryFormatCode}

// binaryOnly refuses an answer in text.
func binaryOnly(rows pgx.Rows) error {
	for _, f := range rows.FieldDescriptions() {
		if f.Format != pgx.BinaryFormatCode {
			return errText
		}
	}
	return nil
}

// recorded is the event of a row of [Columns]. It keeps nothing of the row.
func (r *rowReader) recorded(values [][]byte) (eventstore.Recorded, error) {
	r.values, r.err = values, nil
	e := eventstore.Recorded{
		Position: r.int64(), Epoch: r.int64(), Stream: eventstore.Stream(r.next()), Version: r.int64(), Name: r.name(), Revision: r.int32(),
		Company: domain.CompanyID{UUID: r.uuid()}, CompanyPosition: r.int64(), RecordedAt: r.time(), AppendID: r.uuid(), AppendIndex: r.int32(),
		By: eventstore.Attribution{
			Actor: domain.PrincipalID{UUID: r.uuid()}, Key: domain.KeyID{UUID: r.uuid()}, Request: r.uuid(), Cause: r.uuid(),
		},
	}
	if r.err == nil && len(r.values) == 5 {
		r.bytes(&e.Payload, &e.Salt, &e.Commitment, &e.PrevHash, &e.Hash)
	}
	if r.err != nil || len(r.values) != 0 {
		return eventstore.Recorded{}, fmt.Errorf("read an event: %w", errRow)
	}
	return e, nil
}

// factColumns are the columns of a fact.
const factColumns = `position, epoch, stream, version, name, revision, recorded_at, append_index, payload`

// fact is the fact of a row of factColumns.
func (r *rowReader) fact(values [][]byte) (eventstore.Fact, error) {
	r.values, r.err = values, nil
	f := eventstore.Fact{
		Position: r.int64(), Epoch: r.int64(), Stream: eventstore.Stream(r.next()), Version: r.int64(), Name: r.name(), Revision: r.int32(),
		RecordedAt: r.time(), AppendIndex: r.int32(),
	}
	if r.err == nil && len(r.values) == 1 {
		f.Payload = r.keep(r.next())
	}
	if r.err != nil || len(r.values) != 0 {
		return eventstore.Fact{}, fmt.Errorf("read an event: %w", errRow)
	}
	return f, nil
}

// next is the value of the next column.
func (r *rowReader) next() []byte {
	if len(r.values) == 0 {
		r.err = errRow
		return nil
	}
	v := r.values[0]
	r.values = r.values[1:]
	return v
}

// sized is the value of the next column, which must have so many bytes.
func (r *rowReader) sized(n int) []byte {
	v := r.next()
	if len(v) != n {
		r.err = errRow
		return make([]byte, n)
	}
	return v
}

func (r *rowReader) int64() int64 { return int64(binary.BigEndian.Uint64(r.sized(8))) }

func (r *rowReader) int32() int { return int(int32(binary.BigEndian.Uint32(r.sized(4)))) }

func (r *rowReader) uuid() uuid.UUID { return uuid.UUID(r.sized(16)) }

// postgresEpoch is 2000-01-01 in microseconds of Unix time.
const postgresEpoch = 946_684_800_000_000

func (r *rowReader) time() time.Time { return time.UnixMicro(r.int64() + postgresEpoch).UTC() }

func (r *rowReader) name() string {
	v := r.next()
	if name, ok := r.names[string(v)]; ok {
		return name
	}
	if r.names == nil {
		r.names = map[string]string{}
	}
	name := string(v)
	r.names[name] = name
	return name
}

// roomSize is how many bytes of payloads are kept or let go together.
const roomSize = 64 << 10

// keep copies a value. Null is nil.
func (r *rowReader) keep(v []byte) []byte {
	if v == nil {
		return nil
	}
	if len(v) > cap(r.room)-len(r.room) {
		r.room = make([]byte, 0, max(roomSize, len(v)))
	}
	from := len(r.room)
	r.room = append(r.room, v...)
	return r.room[from:len(r.room):len(r.room)]
}

// bytes copies the values of the next columns, which lie next to each other afterwards. Null is nil.
func (r *rowReader) bytes(into ...*[]byte) {
	size := 0
	for _, v := range r.values[:len(into)] {
		size += len(v)
	}
	room := make([]byte, 0, size)
	for _, to := range into {
		if v := r.next(); v != nil {
			room = append(room, v...)
			*to = room[len(room)-len(v) : len(room) : len(room)]
		}
	}
}

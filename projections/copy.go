package projections

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Copy is the statement that takes rows in by the stream of [CopyStart], [Schema.AppendCopy] for each row, and [CopyEnd].
// The format is that of "COPY" in the manual of Postgres, under "Binary Format".
func (s Schema) Copy(generation int64) string {
	return "COPY " + s.key.Table(generation) + " (" + strings.Join(s.Columns(), ", ") + ") FROM STDIN (FORMAT binary)"
}

// What stands before and after the rows.
const (
	CopyStart = "PGCOPY\n\xff\r\n\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00"
	CopyEnd   = "\xff\xff"
)

// AppendCopy appends a row of values, as [Model.Encode] makes them, to a stream.
func (s Schema) AppendCopy(to []byte, row []any) ([]byte, error) {
	to = binary.BigEndian.AppendUint16(to, uint16(len(row)))
	for i, v := range row {
		switch v := v.(type) {
		case nil:
			to = binary.BigEndian.AppendUint32(to, 0xffffffff)
		case string:
			to = append(appendSize(to, len(v)), v...)
		case json.RawMessage:
			to = append(appendSize(to, len(v)), v...)
		case uuid.UUID:
			to = append(appendSize(to, len(v)), v[:]...)
		case int64:
			to = binary.BigEndian.AppendUint64(appendSize(to, 8), uint64(v))
		case time.Time:
			to = binary.BigEndian.AppendUint64(appendSize(to, 8), uint64(v.UnixMicro()-postgresEpoch))
		default:
			return nil, fmt.Errorf("%s: column %s: %T cannot be stored", s.key, s.columns[i].name, v)
		}
	}
	return to, nil
}

func appendSize(to []byte, n int) []byte { return binary.BigEndian.AppendUint32(to, uint32(n)) }

// postgresEpoch is 2000-01-01 in microseconds of Unix time, from where Postgres counts.
const postgresEpoch = 946_684_800_000_000

package projections

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Schema is what the tables of a read model look like.
type Schema struct {
	key     Key
	columns []tableColumn
	indexes []string
}

type tableColumn struct{ name, kind string }

// headColumns come first in every table.
var headColumns = []tableColumn{
	{"stream", `text COLLATE "C" NOT NULL`},
	{"created", "bigint NOT NULL"},
	{"version", "bigint NOT NULL"},
	{"position", "bigint NOT NULL"},
	{"data", "json NOT NULL"},
}

// RowColumns are the columns that a row is read from, in the order of [Head] and the data.
const RowColumns = "stream, created, version, position, data"

// Schema is what its tables look like.
func (d *Definition[R]) Schema() Schema {
	s := Schema{key: d.Key(), columns: append([]tableColumn{}, headColumns...), indexes: d.Indexes}
	for _, c := range d.Columns {
		s.columns = append(s.columns, tableColumn{c.Name, c.Type})
	}
	return s
}

// Columns are the names of all columns, in the order of [Model.Encode].
func (s Schema) Columns() []string {
	names := make([]string, len(s.columns))
	for i, c := range s.columns {
		names[i] = c.name
	}
	return names
}

// Create is the statement that makes the table of a generation, without its indexes.
func (s Schema) Create(generation int64) string {
	lines := make([]string, len(s.columns))
	for i, c := range s.columns {
		lines[i] = "  " + c.name + " " + c.kind
	}
	return "CREATE TABLE " + s.key.Table(generation) + " (\n" + strings.Join(lines, ",\n") + "\n)"
}

// Index are the statements that make the indexes of a generation. They come after the rows, which is faster.
func (s Schema) Index(generation int64) []string {
	table := s.key.Table(generation)
	out := []string{"ALTER TABLE " + table + " ADD PRIMARY KEY (stream)", "CREATE INDEX ON " + table + " (created)"}
	for _, index := range s.indexes {
		out = append(out, "CREATE INDEX ON "+table+" "+index)
	}
	return out
}

// Analyze is the statement that tells the planner of the rows. Nobody asks for the data, so it is not looked at.
func (s Schema) Analyze(generation int64) string {
	columns := slices.DeleteFunc(s.Columns(), func(name string) bool { return name == "data" })
	return "ANALYZE " + s.key.Table(generation) + " (" + strings.Join(columns, ", ") + ")"
}

// Drop is the statement that removes the table of a generation.
func (s Schema) Drop(generation int64) string {
	return "DROP TABLE IF EXISTS " + s.key.Table(generation)
}

// Upsert is the statement that writes rows: for each column an array of texts as [Texts] makes them. They are cast here,
// which costs the server less than anything that it would have to take apart first.
func (s Schema) Upsert(generation int64) string {
	names := s.Columns()
	arrays, casts, sets := make([]string, len(names)), make([]string, len(names)), make([]string, 0, len(names))
	for i, c := range s.columns {
		kind, _, _ := strings.Cut(c.kind, " ")
		arrays[i] = fmt.Sprintf("$%d::text[]", i+1)
		casts[i] = "u." + c.name + "::" + kind
		if i > 0 {
			sets = append(sets, c.name+" = EXCLUDED."+c.name)
		}
	}
	list := strings.Join(names, ", ")
	return "INSERT INTO " + s.key.Table(generation) + " (" + list + ") SELECT " + strings.Join(casts, ", ") +
		" FROM unnest(" + strings.Join(arrays, ", ") + ") u(" + list + ") ON CONFLICT (stream) DO UPDATE SET " + strings.Join(sets, ", ")
}

// Texts turns rows of values into the arguments of [Schema.Upsert].
func (s Schema) Texts(rows [][]any) ([]any, error) {
	columns := make([][]*string, len(s.columns))
	for i := range columns {
		columns[i] = make([]*string, len(rows))
	}
	for n, row := range rows {
		for i, v := range row {
			text, err := textOf(v)
			if err != nil {
				return nil, fmt.Errorf("%s: column %s: %w", s.key, s.columns[i].name, err)
			}
			columns[i][n] = text
		}
	}
	args := make([]any, len(columns))
	for i, c := range columns {
		args[i] = c
	}
	return args, nil
}

func textOf(v any) (*string, error) {
	var text string
	switch v := v.(type) {
	case nil:
		return nil, nil //nolint:nilnil // null is a value
	case string:
		text = v
	case int64:
		text = strconv.FormatInt(v, 10)
	case json.RawMessage:
		text = string(v)
	case time.Time:
		text = v.Format(time.RFC3339Nano)
	case uuid.UUID:
		text = v.String()
	default:
		return nil, fmt.Errorf("%T cannot be stored", v)
	}
	return &text, nil
}

// Differ is the condition that two rows, named by their tables' aliases, are not the same to the letter. One that is missing
// differs from one that is there.
func (s Schema) Differ(a, b string) string {
	terms := make([]string, len(s.columns))
	for i, c := range s.columns {
		text := ""
		if strings.HasPrefix(c.kind, "json") {
			text = "::text" // json has no equality, on purpose: it keeps its letters
		}
		terms[i] = fmt.Sprintf("%s.%s%s IS DISTINCT FROM %s.%s%s", a, c.name, text, b, c.name, text)
	}
	return strings.Join(terms, " OR ")
}

// Delete is the statement that removes rows: one parameter, an array of streams.
func (s Schema) Delete(generation int64) string {
	return "DELETE FROM " + s.key.Table(generation) + " WHERE stream = ANY($1)"
}

// Load is the statement that reads rows: one parameter, an array of streams.
func (s Schema) Load(generation int64) string {
	return "SELECT " + RowColumns + " FROM " + s.key.Table(generation) + " WHERE stream = ANY($1)"
}

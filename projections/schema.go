package projections

import (
	"fmt"
	"strings"
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

// Drop is the statement that removes the table of a generation.
func (s Schema) Drop(generation int64) string {
	return "DROP TABLE IF EXISTS " + s.key.Table(generation)
}

// Upsert is the statement that writes rows: one parameter, a JSON array of objects with the columns' names.
func (s Schema) Upsert(generation int64) string {
	table := s.key.Table(generation)
	names := s.Columns()
	sets := make([]string, 0, len(names))
	for _, n := range names[1:] {
		sets = append(sets, n+" = EXCLUDED."+n)
	}
	list := strings.Join(names, ", ")
	return fmt.Sprintf("INSERT INTO %s (%s) SELECT %s FROM json_populate_recordset(NULL::%s, $1::json) ON CONFLICT (stream) DO UPDATE SET %s",
		table, list, list, table, strings.Join(sets, ", "))
}

// Delete is the statement that removes rows: one parameter, an array of streams.
func (s Schema) Delete(generation int64) string {
	return "DELETE FROM " + s.key.Table(generation) + " WHERE stream = ANY($1)"
}

// Load is the statement that reads rows: one parameter, an array of streams.
func (s Schema) Load(generation int64) string {
	return "SELECT " + RowColumns + " FROM " + s.key.Table(generation) + " WHERE stream = ANY($1)"
}

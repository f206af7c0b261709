package export

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"github.com/guardlock/guardlock/audit/query"
)

// timeColumn is a time of its own type here, where it is a text elsewhere.
const timeColumn = "time"

// encodeParquet writes one row for each run. Columns lie in the order of their names,
// as the library's groups have them; what a row lacks is null.
func encodeParquet(rows []query.Decision) ([]byte, error) {
	columns := slices.DeleteFunc(query.Columns(), func(c query.Column) bool { return c.Name == "time" })
	for i := range columns {
		if columns[i].Name == query.TimeColumn {
			columns[i].Name = timeColumn
		}
	}
	slices.SortFunc(columns, func(a, b query.Column) int { return cmp.Compare(a.Name, b.Name) })
	group := make(parquet.Group, len(columns))
	for _, c := range columns {
		group[c.Name] = parquetNode(&c)
	}

	var out bytes.Buffer
	w := parquet.NewWriter(&out, parquet.NewSchema("decision", group),
		parquet.Compression(&zstd.Codec{}), parquet.DataPageStatistics(true), parquet.CreatedBy("guardlock", "1", ""))
	row := make(parquet.Row, len(columns))
	for i := range rows {
		for n := range columns {
			row[n] = parquetValue(&columns[n], &rows[i], n)
		}
		if _, err := w.WriteRows([]parquet.Row{row}); err != nil {
			return nil, err
		}
	}

	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// parquetNode is a column's type. Digests are text: DuckDB does not find byte arrays
// that a bloom filter was made for.
func parquetNode(c *query.Column) parquet.Node {
	switch {
	case c.Name == timeColumn:
		return parquet.Optional(parquet.Timestamp(parquet.Microsecond))
	case c.Text != nil:
		return parquet.Optional(parquet.Encoded(parquet.String(), &parquet.RLEDictionary))
	}
	return parquet.Optional(parquet.Int(64))
}

func parquetValue(c *query.Column, d *query.Decision, column int) parquet.Value {
	if c.Text != nil {
		if s := c.Text(d); s != "" {
			return parquet.ByteArrayValue([]byte(s)).Level(0, 1, column)
		}
		return parquet.NullValue().Level(0, 0, column)
	}

	if n, ok := c.Number(d); ok {
		return parquet.Int64Value(n).Level(0, 1, column)
	}
	return parquet.NullValue().Level(0, 0, column)
}

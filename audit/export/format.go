package export

import (
	"bytes"
	"encoding/csv"
	"encoding/json"

	"github.com/guardlock/guardlock/audit/query"
)

// Format is that of an export's files.
type Format string

// The formats.
const (
	CSV       Format = "csv"
	JSONLines Format = "jsonl"
	Parquet   Format = "parquet"
	OCSF      Format = "ocsf"
)

// Formats are all of them.
func Formats() []Format { return []Format{CSV, JSONLines, Parquet, OCSF} }

// extension is how a file's name ends.
func (f Format) extension() string {
	if f == OCSF {
		return "ocsf.jsonl"
	}
	return string(f)
}

func (f Format) encode(rows []query.Decision) ([]byte, error) {
	switch f {
	case CSV:
		return encodeCSV(rows)
	case Parquet:
		return encodeParquet(rows)
	case OCSF:
		return encodeLines(rows, func(d *query.Decision) any { return eventOf(d) })
	}
	return encodeLines(rows, func(d *query.Decision) any { return d })
}

func encodeLines(rows []query.Decision, value func(*query.Decision) any) ([]byte, error) {
	var out bytes.Buffer
	w := json.NewEncoder(&out)
	w.SetEscapeHTML(false)
	for i := range rows {
		if err := w.Encode(value(&rows[i])); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

func encodeCSV(rows []query.Decision) ([]byte, error) {
	columns := query.Columns()
	var out bytes.Buffer
	w := csv.NewWriter(&out)

	header := make([]string, len(columns))
	for i, c := range columns {
		header[i] = c.Name
	}
	if err := w.Write(header); err != nil {
		return nil, err
	}
	for i := range rows {
		if err := w.Write(query.CSV(columns, &rows[i])); err != nil {
			return nil, err
		}
	}

	w.Flush()
	return out.Bytes(), w.Error()
}

package decisions

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/exit"
)

// The formats of rows.
const (
	formatTable     = "table"
	formatJSON      = "json"
	formatJSONLines = "jsonl"
	formatCSV       = "csv"
)

// formatFlags say how rows are printed.
type formatFlags struct {
	format string
	wide   bool
}

func (f *formatFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.format, "format", "", "print as `FORMAT`: table, json (one document), jsonl (as --json does) or csv")
	cmd.Flags().BoolVar(&f.wide, "wide", false, "lines as long as they need to be, with milliseconds and TLS")
}

// chosen is the format: --json is that of lines.
func (f *formatFlags) chosen(cmd *cobra.Command) (string, error) {
	switch {
	case f.format == "" && cli.WantsJSON(cmd):
		return formatJSONLines, nil
	case f.format == "":
		return formatTable, nil
	case cli.WantsJSON(cmd):
		return "", exit.Usagef("give one of --json and --format")
	case !slices.Contains([]string{formatTable, formatJSON, formatJSONLines, formatCSV}, f.format):
		return "", exit.WithHint(exit.Usagef("--format %q is no format", f.format), "table, json, jsonl or csv")
	}

	return f.format, nil
}

// printer prints rows of the logs to standard output.
func (f *formatFlags) printer(cmd *cobra.Command, logs query.Logs) (*decisionPrinter, error) {
	format, err := f.chosen(cmd)
	if err != nil {
		return nil, err
	}

	o := &decisionPrinter{
		w:       bufio.NewWriter(cmd.OutOrStdout()),
		p:       cli.PaletteFor(cmd.OutOrStdout()),
		format:  format,
		wide:    f.wide,
		columns: query.Columns(),
	}
	for _, log := range logs {
		if log.Gateway != "" {
			o.gateway = max(o.gateway, len("GATEWAY"), len(log.Gateway))
		}
	}
	return o, nil
}

// element prints a row as one element of a document.
func (o *decisionPrinter) element(d query.Decision) error {
	before := ",\n"
	if o.printed == 1 {
		before = "{\"decisions\":[\n"
	}
	row, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("encoding decision: %w", err)
	}

	_, err = o.w.WriteString(before + string(row))
	return err
}

func (o *decisionPrinter) csv(d *query.Decision) error {
	w := csv.NewWriter(o.w)
	if o.printed == 1 {
		if err := w.Write(columnNames(o.columns)); err != nil {
			return err
		}
	}
	if err := w.Write(query.CSV(o.columns, d)); err != nil {
		return err
	}

	w.Flush()
	return w.Error()
}

func columnNames(columns []query.Column) []string {
	names := make([]string, 0, len(columns))
	for _, c := range columns {
		names = append(names, c.Name)
	}
	return names
}

// finish ends what was printed. A document says where to go on.
func (o *decisionPrinter) finish(after query.Cursor) error {
	var end string
	switch {
	case o.format == formatJSON:
		if o.printed == 0 {
			end = `{"decisions":[`
		}
		end += "\n],\"after\":" + strconv.Quote(after.String()) + "}\n"
	case o.format == formatCSV && o.printed == 0:
		end = strings.Join(columnNames(o.columns), ",") + "\n"
	}

	if _, err := o.w.WriteString(end); err != nil {
		return fmt.Errorf("printing decisions: %w", err)
	}
	if err := o.flush(); err != nil {
		return fmt.Errorf("printing decisions: %w", err)
	}
	return nil
}

// printGroups prints counts in a format.
func printGroups(w io.Writer, format string, g *query.Groups) error {
	switch format {
	case formatTable:
		return tableOfGroups(w, g)
	case formatCSV:
		return csvOfGroups(w, g)
	}

	rows := make([]map[string]any, 0, len(g.Groups))
	for _, group := range g.Groups {
		row := map[string]any{"records": group.Records}
		for i, key := range g.Keys {
			row[key] = group.Values[i]
		}
		if format == formatJSONLines {
			if err := cli.PrintJSONLine(w, row); err != nil {
				return err
			}
		}
		rows = append(rows, row)
	}

	if format == formatJSONLines {
		return nil
	}
	return cli.PrintJSON(w, map[string]any{"groups": rows, "rest": g.Rest})
}

func tableOfGroups(w io.Writer, g *query.Groups) error {
	header := []string{"RECORDS"}
	for _, key := range g.Keys {
		header = append(header, strings.ToUpper(key))
	}

	table := cli.NewTable(header...)
	for _, group := range g.Groups {
		cells := []any{humanize.Comma(group.Records)}
		for _, value := range group.Values {
			cells = append(cells, orDash(value))
		}
		table.Add(cells...)
	}
	return table.Write(w)
}

func csvOfGroups(w io.Writer, g *query.Groups) error {
	out := csv.NewWriter(w)
	if err := out.Write(append(slices.Clone(g.Keys), "records")); err != nil {
		return err
	}
	for _, group := range g.Groups {
		var cells []string
		for _, value := range group.Values {
			cells = append(cells, query.Cell(value))
		}
		if err := out.Write(append(cells, strconv.FormatInt(group.Records, 10))); err != nil {
			return err
		}
	}

	out.Flush()
	return out.Error()
}

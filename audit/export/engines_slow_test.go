//go:build slow

package export_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/guardlock/guardlock/audit/export"
)

// countRows prints how many rows two engines find in a directory of Parquet files,
// and how many records DuckDB adds up.
const countRows = `
import duckdb, pyarrow.dataset, sys
files = sys.argv[1] + "/*.parquet"
rows, records = duckdb.sql(f"select count(*), sum(records) from read_parquet('{files}')").fetchall()[0]
print(rows, pyarrow.dataset.dataset(sys.argv[1], format="parquet", exclude_invalid_files=True).count_rows(), records)
`

// DuckDB and pyarrow read as many rows as were exported as JSON lines. Needs python3
// with both, as $GUARDLOCK_DUCKDB.
func TestEnginesReadAsManyRows(t *testing.T) {
	dir := t.TempDir()
	newWriter(t, filepath.Join(dir, "log")).add(500, true)
	logs, err := openLogs(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer logs.Close()

	for _, format := range []export.Format{export.Parquet, export.JSONLines} {
		if _, err := run(t, filepath.Join(dir, string(format)), format, logs, 0, 700); err != nil {
			t.Fatal(err)
		}
	}
	rows := len(idsIn(t, filepath.Join(dir, string(export.JSONLines))))

	out, err := exec.Command(os.Getenv("GUARDLOCK_DUCKDB"), "-c", countRows, filepath.Join(dir, string(export.Parquet))).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got := string(out); !strings.HasPrefix(got, fmt.Sprintf("%d %d ", rows, rows)) {
		t.Errorf("the engines find %s rows and records, want %d rows", strings.TrimSpace(got), rows)
	}
	t.Logf("%s", out)
}

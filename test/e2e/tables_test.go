package e2e

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/transforms/modules"
)

// A table's file is replaced while records flow. One that the approved configuration
// names is served from then on, in this process and in workers; one that it does not
// name is not, and the last one goes on.
func TestTablesAreReplacedWhileAGatewayRuns(t *testing.T) {
	table := func(bank string) []byte { return fmt.Appendf(nil, "bin,bank\n411111,%s\n", bank) }
	digest := func(bank string) string { return fmt.Sprintf("%x", sha256.Sum256(table(bank))) }
	config := fmt.Sprintf(`{"tables": {"banks": {"format": "csv", "files": [{"sha256": "%s"}, {"sha256": "%s"}]}},
		"rules": [{"path": "$.bin", "table": "banks", "into": "bank", "set": {"name": "bank"}}]}`, digest("First"), digest("Second"))

	wasm, _ := modules.Wasm("enrich")
	m := module{name: "enrich", wasm: wasm, config: []byte(config), topics: []string{"here", "apart"}, tables: []string{"banks"}}
	d := deploy(t, plan{modules: []module{m}, bindings: map[string]string{"here": "enrich"},
		rules: "  - {name: apart, topics: [apart], modules: [enrich], data_class: internal, isolation: process}\n"})
	d.write("enrich.banks", table("First"))
	gateway := serve(t, d)
	c := client(t, d.address, kgo.AllowAutoTopicCreation())

	// bank sends a record, and returns what it was stored with.
	bank := func(topic string) string {
		mustSend(t, c, topic, 0, `{"bin":"411111"}`)
		stored := values(readAll(t, d.address, topic, 0))
		return stored[len(stored)-1]
	}
	with := func(bank string) string { return fmt.Sprintf(`{"bin":"411111","bank":{"name":"%s"}}`, bank) }

	for _, topic := range []string{"here", "apart"} {
		equal(t, "at first on "+topic, []string{bank(topic)}, []string{with("First")})
	}
	d.write("enrich.banks", table("Second"))
	for _, topic := range []string{"here", "apart"} {
		eventually(t, "the new table on "+topic, func() bool { return bank(topic) == with("Second") })
	}

	d.write("enrich.banks", table("Own"))
	eventually(t, "the warning", func() bool {
		log := string(must(os.ReadFile(filepath.Join(d.dir, "gateway.log")))(t))
		return strings.Contains(log, "table_not_approved")
	})
	for _, topic := range []string{"here", "apart"} {
		equal(t, "with a table of nobody on "+topic, []string{bank(topic)}, []string{with("Second")})
	}

	stored := len(readAll(t, d.address, "here", 0))
	gateway.terminate()
	out, exit := guardlock(t, "audit", "query", "--dir", d.audit(), "--kind", "admission", "--json")
	for _, want := range []struct {
		bank  string
		times int
	}{{"First", 2}, {"Second", 4}, {"Own", 0}} { // for each binding once, and once more after the refusal
		if got := strings.Count(out, "banks sha256:"+digest(want.bank)); exit != 0 || got != want.times {
			t.Errorf("audit query ends with %d and has the table %s %d times, want %d:\n%s", exit, want.bank, got, want.times, out)
		}
	}
	checkTablesOfRows(t, d, digest, stored-1)

	if out, _ := guardlock(t, "check", d.config); !strings.Contains(out, "refused: table_not_approved") {
		t.Errorf("check of a table that nobody approved: %s", out)
	}
}

// checkTablesOfRows asks the log which table was at hand when each record was decided.
func checkTablesOfRows(t *testing.T, d *deployment, digest func(string) string, last int) {
	t.Helper()
	for offset, bank := range map[int]string{0: "First", last: "Second"} {
		row, _ := guardlock(t, "audit", "query", "--topic", "here", "--partition", "0", "--offset", strconv.Itoa(offset), "--dir", d.audit())
		id := rowID.FindString(row)
		out, exit := guardlock(t, "audit", "show", id, "--dir", d.audit())
		if exit != 0 || !strings.Contains(out, "banks sha256:"+digest(bank)) {
			t.Errorf("audit show %s ends with %d and does not name the table %s:\n%s", id, exit, bank, out)
		}
	}
}

var rowID = regexp.MustCompile(`gl-[0-9a-z-]+`)

package e2e

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
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

	gateway.terminate()
	if out, _ := guardlock(t, "check", d.config); !strings.Contains(out, "refused: table_not_approved") {
		t.Errorf("check of a table that nobody approved: %s", out)
	}
}

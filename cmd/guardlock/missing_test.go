package main

import (
	"bytes"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/kafka"
	"github.com/guardlock/guardlock/internal/exit"
)

// missingFiles are command lines in which one file is missing, with which all others
// are there.
var missingFiles = []string{
	"coverage --config MISSING",
	"bench --topic a --config MISSING",
	"bench --topic a --config bound.yaml --input MISSING",
	"check MISSING",
	"serve --config MISSING",
	"status --config MISSING",
	"status --token-file MISSING",
	"status --ca MISSING",
	"status --cert MISSING --key k.key",
	"status --cert k.pub --key MISSING",
	"plan --config MISSING --against MISSING",
	"plan --config plan.yaml --against MISSING",
	"plan --config plan.yaml --url http://127.0.0.1:1 --token-file MISSING",
	"plan --config plan.yaml --url http://127.0.0.1:1 --ca MISSING",
	"plan --config plan.yaml --url http://127.0.0.1:1 --cert MISSING --key k.key",
	"plan --config plan.yaml --url http://127.0.0.1:1 --cert k.pub --key MISSING",

	"module inspect MISSING",
	"module sign MISSING --key k.key",
	"module sign m.wasm --key MISSING",
	"module approve MISSING --key k.key --topic a",
	"module approve m.wasm --topic a --yes --key MISSING",
	"module approve m.wasm --topic a --yes --key k.key --config MISSING",
	"module approve m.wasm --topic a --yes --key k.key --trust-root MISSING",
	"module approve m.wasm --topic a --yes --key k.key --policy MISSING",
	"module verify MISSING --trust-root trust.yaml",
	"module verify m.wasm --trust-root MISSING",
	"module verify m.wasm --trust-root trust.yaml --config MISSING",
	"module verify m.wasm --trust-root trust.yaml --policy MISSING",
	"module verify m.wasm --trust-root trust.yaml --approval MISSING",
	"module verify m.wasm --trust-root trust.yaml --signature MISSING",
	"module trust-root --author a@example.com=MISSING --approver b@example.com=k.pub",
	"module build MISSING",
	"module test MISSING",
	"module test m.wasm --cases MISSING",
	"module run MISSING",
	"module run m.wasm MISSING",
	"module run m.wasm --config MISSING",
	"module bench MISSING",
	"module bench m.wasm MISSING",
	"module bench m.wasm --config MISSING",
	"module try --topic a --modules MISSING",
	"module try --topic a --modules m.wasm --config MISSING",

	"policy check MISSING",
	"policy eval MISSING --input input.json",
	"policy eval --input MISSING",
	"policy test MISSING",

	"audit adopt --config MISSING --reason why",
	"audit erase sign MISSING --key k.key",
	"audit erase sign request.json --yes --key MISSING",
	"audit erase run MISSING --config gw.yaml",
	"audit erase run request.json --config MISSING",
	"audit erase run request.json --config gw.yaml --yes --signature MISSING",
	"audit erase run request.json --config gw.yaml --audit-key MISSING",
	"audit verify MISSING --log-key log.key.pub",
	"audit verify --dir log --audit-key MISSING",
	"audit verify --dir log --without-key --since MISSING",
	"audit verify --dir log --without-key --trust MISSING",
	"audit verify --dir log --without-key --log-key MISSING",
	"audit verify 1.evidence.json --log-key log.key.pub --trust-root MISSING",
	"audit reconcile --dir log --topic payments --audit-key MISSING",
	"audit query --manifest MISSING",
	"audit replay gl-00000011-2 --dir log --input MISSING",
	"audit replay gl-00000011-2 --input input.json --manifest MISSING",
	"audit replay gl-00000011-2 --dir log --input input.json --audit-key MISSING",
	"audit export --format csv --output out --manifest MISSING",
	"audit reconcile --manifest MISSING",
	"audit summary --manifest MISSING",
	"audit tail --manifest MISSING",
	"audit show STORED --manifest MISSING",
	"audit compare STORED --manifest MISSING",
	"audit prove STORED --manifest MISSING",
	"audit verify --manifest MISSING",
	"why STORED --manifest MISSING",
	"audit query --manifest plan.yaml --trust-root MISSING",
	"audit replay gl-00000011-2 --input input.json --manifest plan.yaml --trust-root MISSING",
	"audit export --format csv --output out --manifest plan.yaml --trust-root MISSING",
	"audit reconcile --manifest plan.yaml --trust-root MISSING",
	"audit summary --manifest plan.yaml --trust-root MISSING",
	"audit tail --manifest plan.yaml --trust-root MISSING",
	"audit show STORED --manifest plan.yaml --trust-root MISSING",
	"audit compare STORED --manifest plan.yaml --trust-root MISSING",
	"audit prove STORED --manifest plan.yaml --trust-root MISSING",
	"audit verify --manifest plan.yaml --trust-root MISSING",
	"why STORED --manifest plan.yaml --trust-root MISSING",
	"audit manifest make --dir log --from MISSING",
	"audit manifest make --cluster a --dir log --log-key MISSING",
	"audit manifest sign MISSING --key k.key",
	"audit manifest sign cluster.yaml --key MISSING",
	"audit manifest sign cluster.yaml --key k.key --against MISSING",
	"audit manifest sign cluster.yaml --key k.key --config MISSING",
	"audit manifest show MISSING",
	"audit manifest show cluster.yaml --trust-root MISSING",
	"audit manifest show cluster.yaml --against MISSING",
	"audit manifest show cluster.yaml --config MISSING",
	"audit witness --name a.example/w --log-key MISSING",
	"audit compare STORED --dir log --audit-key MISSING",
	"audit prune --before 1d --dir log --audit-key MISSING",
	"audit retain --keep 1d --dir log --audit-key MISSING",
	"audit hold add --topic a --reason b --dir log --audit-key MISSING",
	"audit reconcile acknowledge a/0 --offsets 1-2 --reason b --dir log --audit-key MISSING",
	"audit hold list --dir log --audit-key MISSING",
	"audit hold lift 1 --reason b --dir log --audit-key MISSING",
	"audit hold tag --dir log --audit-key MISSING",

	"user list --file MISSING",
	"user remove --file MISSING alice",

	"produce --topic a --file MISSING",
	"produce --topic a --ca MISSING",
	"consume --topic a --ca MISSING",
	"consume --topic a --cert MISSING --key k.key",
	"consume --topic a --cert k.pub --key MISSING",
	"consume --topic a --username a --sasl-mechanism PLAIN --password-file MISSING",
	"topic list --ca MISSING",
}

// TestMissingFileIsTheSameFailureInEveryCommand: a script tells it from a refusal, from
// a command line that is wrong, and from a topic or decision that does not exist.
func TestMissingFileIsTheSameFailureInEveryCommand(t *testing.T) {
	stored := placeFiles(t)

	for _, line := range missingFiles {
		var stderr bytes.Buffer
		args := strings.Fields(strings.NewReplacer("MISSING", "missing.file", "STORED", stored).Replace(line))
		if code := run(t.Context(), args, strings.NewReader(""), io.Discard, &stderr); code != exit.Failure {
			t.Errorf("%s: exit code %d, want %d: %s", line, code, exit.Failure, &stderr)
		}
		if !strings.Contains(stderr.String(), "missing.file") {
			t.Errorf("%s: it does not name the file: %s", line, &stderr)
		}
	}
}

// placeFiles puts all files into an empty directory, starts a broker, and returns the id of
// a decision.
func placeFiles(t *testing.T) string {
	module, err := os.ReadFile("../../transforms/modules/uppercase/uppercase.wasm")
	if err != nil {
		t.Fatal(err)
	}
	broker, err := startBroker()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	t.Setenv("GUARDLOCK_BOOTSTRAP", broker.ListenAddrs()[0]) // some ask it first

	t.Chdir(t.TempDir())
	for name, content := range map[string][]byte{"m.wasm": module, "input.json": []byte("{}"), "plan.yaml": []byte("broker: {embedded: {}}\n"),
		"bound.yaml": []byte("broker: {embedded: {}}\nbindings: [{topics: [a]}]\n"), "gw.yaml": []byte("broker: {embedded: {}}\ntrust: {root: trust.yaml}\naudit: {dir: log, key_file: audit.key}\n"),
		"audit.key": []byte(strings.Repeat("01", 32))} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := writeRecentLog("log"); err != nil {
		t.Fatal(err)
	}
	var rows bytes.Buffer
	run(t.Context(), strings.Fields("audit query --dir log --outcome modified --by-batch --json"), nil, &rows, io.Discard)
	stored := regexp.MustCompile(`gl-[0-9a-z]+-[0-9a-z]+`).FindString(rows.String())
	for _, line := range []string{
		"keygen --no-password --out k",
		"keygen --no-password --out other",
		"module trust-root --author a@example.com=k.pub --approver b@example.com=other.pub --out trust.yaml",
	} {
		if code := run(t.Context(), strings.Fields(line), nil, io.Discard, io.Discard); code != exit.OK {
			t.Fatalf("%s: exit code %d", line, code)
		}
	}

	for _, line := range []string{
		"audit prove payments/0@100 --dir log --output 1.evidence.json",
		"audit manifest make --cluster a --dir log --log-key log.key.pub --output cluster.yaml",
		"audit erase request --request 1 --principal a --output request.json",
	} {
		if code := run(t.Context(), strings.Fields(line), nil, io.Discard, io.Discard); code != exit.OK {
			t.Fatalf("%s: exit code %d", line, code)
		}
	}

	return stored
}

// written are flags with the name of a file that is written.
var written = []string{"module approve --out", "module sign --out", "audit prove --output", "user add --file", "module trust-root --out", "audit manifest make --output", "audit erase request --output", "audit erase sign --output"}

// TestEveryFlagWithAFileIsAmongTheMissing keeps the list above whole.
func TestEveryFlagWithAFileIsAmongTheMissing(t *testing.T) {
	var client kafka.ClientFlags
	shared := &cobra.Command{}
	client.Register(shared)

	found := 0
	for _, cmd := range leaves(newRootCommand()) {
		name := strings.TrimPrefix(cmd.CommandPath(), "guardlock ")
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if !regexp.MustCompile("`(FILE|PATH)`").MatchString(f.Usage) || slices.Contains(written, name+" --"+f.Name) {
				return
			}
			found++
			listed := slices.ContainsFunc(missingFiles, func(line string) bool {
				of := strings.HasPrefix(line, name+" ") || shared.Flags().Lookup(f.Name) != nil && !strings.HasPrefix(line, "module")
				return of && strings.Contains(line, "--"+f.Name+" MISSING")
			})
			if !listed {
				t.Errorf("%s --%s is not among them", name, f.Name)
			}
		})
	}
	if found < 20 {
		t.Errorf("found only %d flags with files", found)
	}
}

// leaves are the commands that do something.
func leaves(cmd *cobra.Command) []*cobra.Command {
	if !cmd.HasSubCommands() {
		return []*cobra.Command{cmd}
	}

	var all []*cobra.Command
	for _, c := range cmd.Commands() {
		all = append(all, leaves(c)...)
	}
	return all
}

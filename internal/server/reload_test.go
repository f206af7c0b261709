package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/guardlock/guardlock/audit"
)

// A reload that takes long (here one whose entries the log does not take) holds up
// no revocation, and does not bring back what was revoked while it ran.
func TestRevocationWaitsForNoReload(t *testing.T) {
	s := loaded(t, oneModule)
	_, old := version("uppercase")
	s.expect("at first", old)

	waiting, release := s.record.holdAdmissions()
	s.clock = s.clock.Add(time.Second)
	s.module("m", "uppercase", "m/approval.sigstore.json") // another approval of the same
	reloaded := make(chan struct{})
	go func() { s.r.look(t.Context()); close(reloaded) }()
	<-waiting

	s.trust(old)
	s.r.lookAtTrust(t.Context())
	s.expect("while a reload is under way", "revoked")

	if !s.record.has(audit.KindAdmission, "*", "denied", "revoked") {
		t.Error("the log has no entry of the revocation")
	}

	release()
	<-reloaded
	s.expect("once the reload is through", "revoked")

	s.look()
	s.expect("after the next reload", "revoked")
}

func TestTrustRootThatCannotBeUsedKeepsTheOldOneAndRaisesAnAlarm(t *testing.T) {
	s := loaded(t, oneModule)
	_, old := version("uppercase")
	whole, err := os.ReadFile(filepath.Join(s.dir, "trust.json"))
	if err != nil {
		t.Fatal(err)
	}

	s.write("trust.json", append(whole[:len(whole)-2:len(whole)-2], "\n  oops: ["...))
	for range 3 {
		s.r.lookAtTrust(t.Context())
	}

	s.look()
	s.expect("with a broken trust root", old)

	if text := s.log.String(); strings.Count(text, "TRUST ROOT NOT IN FORCE") != 1 || !strings.Contains(text, "trust.json") || !strings.Contains(text, "line ") {
		t.Errorf("the alarm is not told once, with file and line:\n%s", text)
	}
	if !s.record.has(audit.KindConfig, "guardlock.yaml", "refused", "unreadable") {
		t.Error("the log has no entry of the file that was refused")
	}

	s.clock = s.clock.Add(repeatAlarm)
	s.r.lookAtTrust(t.Context())
	if n := strings.Count(s.log.String(), "TRUST ROOT NOT IN FORCE"); n != 2 {
		t.Errorf("a minute later the alarm was told %d times", n)
	}

	s.trust(old)
	s.r.lookAtTrust(t.Context())
	s.expect("once it can be used", "revoked")

	if !strings.Contains(s.log.String(), "the trust root can be used again") {
		t.Error("the end of the alarm is not told")
	}
}

// The files of a new version arrive one after the other. Until the last is there
// the old one serves.
func TestNewVersionServesOnceItIsWhole(t *testing.T) {
	for _, order := range [][]string{
		{"m/m.wasm", "m/m.sigstore.json", "m/approval.sigstore.json"},
		{"m/approval.sigstore.json", "m/m.sigstore.json", "m/m.wasm"},
	} {
		s := loaded(t, oneModule)
		_, old := version("uppercase")
		_, fresh := version("reject-uppercase")

		for i, file := range order {
			s.module("m", "reject-uppercase", file)
			s.look()
			want := old
			if i == len(order)-1 {
				want = fresh
			}
			s.expect("with "+file+" replaced", want)
		}

		if !strings.Contains(s.log.String(), "the last one that was admitted goes on") {
			t.Error("the log does not say that the old version goes on")
		}
	}
}

func TestFilesThatAreTakenAwayRevokeNothing(t *testing.T) {
	s := loaded(t, oneModule)
	_, old := version("uppercase")
	if err := os.Remove(filepath.Join(s.dir, "m/approval.sigstore.json")); err != nil {
		t.Fatal(err)
	}

	s.look()
	s.expect("without its approval", old)

	s.clock = s.clock.Add(2 * time.Hour)
	s.expect("when its grant has ended", "expired")
	s.look()
	s.expect("and was admitted anew", "package_unreadable")
}

func TestLastVersionDoesNotGoOnOnceItIsRevoked(t *testing.T) {
	s := loaded(t, oneModule)
	_, old := version("uppercase")
	s.module("m", "reject-uppercase", "m/m.wasm")
	s.look()
	s.expect("with half a new version", old)

	s.trust(old)
	s.r.lookAtTrust(t.Context())
	s.expect("once the old one is revoked", "revoked")
	s.look()
	s.expect("and everything was admitted anew", "digest_mismatch")
}

func TestNewVersionThatPolicyRefusesLeavesTheOldOne(t *testing.T) {
	s := loaded(t, oneModule)
	_, old := version("uppercase")
	_, fresh := version("reject-uppercase")
	s.policy(`input.module.digest != "` + fresh + `"`)
	s.look()

	s.module("m", "reject-uppercase", "m/m.wasm", "m/m.sigstore.json", "m/approval.sigstore.json")
	s.look()
	s.expect("with a new version that policy refuses", old)

	s.policy("false")
	s.look()
	s.expect("when policy refuses both", "not_today")
}

func TestPolicyThatCannotBeUsedKeepsTheOldOne(t *testing.T) {
	s := loaded(t, oneModule)
	_, old := version("uppercase")
	s.write("policy/module.rego", []byte("package guardlock.module\ndecision := "))

	for range 3 {
		s.look()
	}
	s.expect("with half a policy", old)
	if n := strings.Count(s.log.String(), "the policy cannot be used"); n != 1 {
		t.Errorf("the log says so %d times", n)
	}

	s.policy("false")
	s.look()
	s.expect("with the rest of it", "not_today")
}

// In the gateway's own process this line of Rego ended it.
func TestPolicyWithoutBoundsRefusesAndEndsNothing(t *testing.T) {
	s := loaded(t, oneModule)
	_, old := version("uppercase")
	s.policy("bits.lsh(1, 400000000000) == 0")
	s.look()
	s.expect("when policy cannot be decided", "policy_error")

	s.policy("count([1 | some i in numbers.range(1, 20000); some j in numbers.range(1, 20000); i == j + 30000]) > 0")
	s.look()
	s.expect("when it takes more processor time than a decision may", "policy_error")

	s.policy("true")
	s.look()
	s.expect("with a policy that can", old)
}

func TestSparseFileInAPackageIsReadUpToItsLimit(t *testing.T) {
	s := loaded(t, strings.Replace(oneModule, "wasm: m/m.wasm", "wasm: m/m.wasm, config: m/config.json", 1))
	s.expect("without its configuration", "package_unreadable")

	s.write("m/config.json", nil)
	if err := os.Truncate(filepath.Join(s.dir, "m/config.json"), 1<<40); err != nil {
		t.Fatal(err)
	}

	s.look()
	s.expect("with one of a terabyte", "package_unreadable")

	s.write("m/config.json", nil)
	s.look()
	_, old := version("uppercase")
	s.expect("with the one that was approved", old)
}

func TestHangupReadsTheConfigurationAgain(t *testing.T) {
	s := loaded(t, oneModule)
	_, old := version("uppercase")
	reread := func(yaml string) error {
		t.Helper()
		s.write("guardlock.yaml", []byte(yaml))
		err := s.r.reread(t.Context())
		s.look()
		return err
	}

	if err := reread(oneModule + "  - {topics: [four], modules: [m]}\n"); err != nil {
		t.Fatal(err)
	}
	if got := s.on("four"); got != old {
		t.Errorf("the new binding's topic is under %s", got)
	}

	if err := reread("bindings: [broken"); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("a broken configuration: %v", err)
	}
	if got := s.on("four"); got != old {
		t.Errorf("a broken configuration changed what is served: %s", got)
	}

	moved := strings.Replace(oneModule, "broker: {embedded: {}}", "broker: {embedded: {}}\nlisten: {address: \"127.0.0.1:9999\"}\nunbound_topics: record", 1)
	if err := reread(moved); err != nil {
		t.Fatal(err)
	}
	if got := s.on("four"); got != "passed" {
		t.Errorf("a topic whose binding is gone is under %s", got)
	}
	if text := s.log.String(); !strings.Contains(text, "at the next start only") || !strings.Contains(text, "listen, broker, clusters") {
		t.Errorf("the log does not name what needs a start:\n%s", text)
	}
	if s.r.termsNow().cfg.Clusters[0].Listen.Address != "127.0.0.1:9092" {
		t.Error("the address that is served on is forgotten")
	}
}

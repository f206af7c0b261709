//go:build kafka

package kafka

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/internal/kafkatest"
)

// coverageConfig is a gateway's that logs in to the cluster as admin.
func coverageConfig(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "guardlock.yaml")
	text := fmt.Sprintf("broker: {upstream: {bootstrap: [%s]%s}}\nbindings: [{name: all, topics: [\"*\"]}]\n", cluster.Bootstrap()[0], service(t, "PLAIN"))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// runCoverage runs the command, and returns its exit code and what it wrote.
func runCoverage(args ...string) (code int, out, errs string) {
	cmd := exec.Command("./guardlock", append([]string{"coverage"}, args...)...)
	cmd.Dir = built.dir
	var text, said strings.Builder
	cmd.Stdout = &text
	cmd.Stderr = &said
	_ = cmd.Run() // the code says it
	return cmd.ProcessState.ExitCode(), text.String(), said.String()
}

// writers lists who may write to topics that begin with a name, as the command tells it.
func writers(t *testing.T, begin string, more ...string) (all []string) {
	t.Helper()
	code, out, errs := runCoverage(append([]string{"-c", coverageConfig(t), "-b", cluster.Bootstrap()[0], "--json"}, more...)...)
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	var told struct {
		Findings []struct {
			Kind, Topic, Principal, Host string
			Prefix                       bool
		}
	}
	if err := json.Unmarshal([]byte(out), &told); err != nil {
		t.Fatalf("%v: %s", err, out)
	}

	for _, f := range told.Findings {
		if f.Kind == "writer" && strings.HasPrefix(f.Topic, begin) {
			all = append(all, fmt.Sprintf("%s %s %s %v", f.Principal, f.Topic, f.Host, f.Prefix))
		}
	}
	return all
}

// permit makes ACLs.
func permit(t *testing.T, acls ...*kadm.ACLBuilder) {
	t.Helper()
	admin := direct().admin(t)
	for _, acl := range acls {
		for _, made := range must(admin.CreateACLs(patient(t), acl))(t) {
			if made.Err != nil {
				t.Fatal(made.Err)
			}
		}
	}
}

// forbidAgain deletes ACLs, each of one operation.
func forbidAgain(t *testing.T, acls ...*kadm.ACLBuilder) {
	t.Helper()
	admin := direct().admin(t)
	for _, acl := range acls {
		for _, gone := range must(admin.DeleteACLs(patient(t), acl))(t) {
			if gone.Err != nil || len(gone.Deleted) != 1 {
				t.Fatalf("%+v", gone)
			}
		}
	}
}

// TestWhoMayWriteAroundTheGatewayIsTold: alice is told of while an ACL lets her, and as
// long she can; the gateway itself, and who may only read or only from its host, is not.
func TestWhoMayWriteAroundTheGatewayIsTold(t *testing.T) {
	to := topic(t, direct(), "covered", 1)
	on := func(pattern kadm.ACLPattern, topic string) *kadm.ACLBuilder {
		return kadm.NewACLs().Topics(topic).ResourcePatternType(pattern)
	}
	literal := func() *kadm.ACLBuilder { return on(kadm.ACLPatternLiteral, to) }
	alice := literal().Operations(kadm.OpWrite).Allow("User:alice").AllowHosts("*")
	others := []*kadm.ACLBuilder{
		literal().Operations(kadm.OpWrite).Allow("User:admin").AllowHosts("*"), // the gateway
		literal().Operations(kadm.OpRead, kadm.OpDescribe).Allow("User:reader").AllowHosts("*"),
		literal().Operations(kadm.OpWrite).Allow("User:behind").AllowHosts("10.0.0.5"),
		literal().Operations(kadm.OpAll).Allow("User:all").AllowHosts("10.0.0.6"),
		literal().Operations(kadm.OpWrite).Deny("User:denied").DenyHosts("*"),
		on(kadm.ACLPatternPrefixed, "covered-").Operations(kadm.OpWrite).Allow("User:prefixed").AllowHosts("*"),
	}
	permit(t, append(others, alice)...)
	defer forbidAgain(t, others[len(others)-1]) // the rest is about the test's own topic

	w := way{seeds: cluster.Addresses(kafkatest.SASL), opts: []kgo.Opt{kgo.SASL(login("PLAIN", "alice", cluster.Users()["alice"]))}}
	writes := func() string { return send(t, w.client(t), records(to, 0, "around")...)[0] }
	eventually(t, "alice writes around the gateway", func() bool { return writes() == "ok" })

	open := []string{"User:alice " + to + " * false", "User:all " + to + " 10.0.0.6 false", "User:prefixed covered- * true"}
	told := func() []string { return writers(t, "covered-", "--gateway-host", "10.0.0.5") }
	if got := told(); !slices.Equal(got, open) {
		t.Errorf("told of %q, want %q", got, open)
	}
	if code, out, errs := runCoverage("-c", coverageConfig(t), "-b", cluster.Bootstrap()[0], "--strict"); code != 3 || !strings.Contains(out, "writer    User:alice may write to topic "+to+" from everywhere\n") {
		t.Errorf("exit code %d: %s%s", code, out, errs)
	}

	forbidAgain(t, alice)
	eventually(t, "alice is refused", func() bool { return writes() == kerr.TopicAuthorizationFailed.Message })
	if got := told(); !slices.Equal(got, open[1:]) {
		t.Errorf("without alice's ACL told of %q, want %q", got, open[1:])
	}
}

// TestCoverageThatMayNotAskSaysSo: who may not describe ACLs does not know who may write.
func TestCoverageThatMayNotAskSaysSo(t *testing.T) {
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte(cluster.Users()["alice"]), 0o600); err != nil {
		t.Fatal(err)
	}
	deny := kadm.NewACLs().Clusters().Operations(kadm.OpDescribe).Deny("User:alice").DenyHosts("*")
	permit(t, deny)
	defer forbidAgain(t, deny)

	args := []string{"-c", coverageConfig(t), "-b", cluster.Addresses(kafkatest.SASL)[0], "--sasl-mechanism", "PLAIN", "--username", "alice", "--password-file", password}
	var code int
	var out, errs string
	eventually(t, "alice may not ask", func() bool {
		code, out, errs = runCoverage(args...)
		return code != 0
	})
	if code != 1 || !strings.Contains(errs, "coverage: who may write around the gateway is not known: CLUSTER_AUTHORIZATION_FAILED") || strings.Contains(out, "writer") {
		t.Errorf("exit code %d: %s%s", code, out, errs)
	}
	if code, _, _ := runCoverage(append(args, "--strict")...); code != 1 {
		t.Errorf("with --strict: exit code %d", code)
	}
}

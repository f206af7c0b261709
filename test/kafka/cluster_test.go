//go:build kafka

package kafka

import (
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"

	"github.com/guardlock/guardlock/internal/kafkatest"
)

// settings of the nodes: ACLs are kept, but nobody is shut out before there is one for a resource; plain listeners are the
// tests' own, so that what they do is done by a super user.
var settings = map[string]string{
	"authorizer.class.name":              "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
	"allow.everyone.if.no.acl.found":     "true",
	"super.users":                        "User:ANONYMOUS;User:admin",
	"auto.create.topics.enable":          "false",
	"transaction.max.timeout.ms":         "60000",
	"group.share.min.session.timeout.ms": "10000",
}

// clusterConfig is the whole configuration of the nodes; dir gets the files that they read and write.
func clusterConfig(dir string) (kafkatest.Config, error) {
	c := kafkatest.Config{Settings: maps.Clone(settings), Classes: dir}
	var err error
	if tokens, err = newIssuer(filepath.Join(dir, "jwks.json")); err != nil {
		return c, err
	}

	maps.Copy(c.Settings, tokens.settings())
	// The nodes ask no URL that is not allowed here, files' included.
	c.JVM = []string{"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls=file://" + tokens.jwks}
	pushes = filepath.Join(dir, "pushes")
	c.Settings["metric.reporters"], c.Settings["guardlock.pushes"] = "dev.guardlock.kafka.Receiver", pushes

	return c, compile(dir)
}

// compile makes the classes that the nodes and a worker of Connect load.
func compile(dir string) error {
	jars, err := kafkatest.Jars()
	if err != nil {
		return err
	}

	out, err := exec.Command("javac", "-cp", filepath.Join(jars, "*"), "-d", dir, "telemetry/Receiver.java", "connect/PrintingSink.java").CombinedOutput()
	if err != nil {
		return fmt.Errorf("compiling the nodes' classes: %w: %s", err, out)
	}
	return nil
}

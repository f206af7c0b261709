package deploy

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// The configuration that the chart makes starts a gateway, with the files where and
// as Kubernetes mounts them: links to links, which are swapped when they change.
func TestConfigurationOfTheChartIsAcceptedByCheck(t *testing.T) {
	g := built(t)
	made := t.TempDir()
	installation(t, g, made)

	pod := t.TempDir()
	from := func(names ...string) map[string]string {
		files := map[string]string{}
		for _, name := range names {
			as, path, _ := strings.Cut(name, "=")
			files[as] = filepath.Join(made, path)
		}
		return files
	}

	mount(t, pod, "trust", 0o644, from("trust.yaml=trust.yaml"))
	mount(t, pod, "keys", 0o400, from("upstream.password=keys/upstream.password", "pseudonyms.key=keys/pseudonyms.key"))
	mount(t, pod, "tls", 0o400, from("tls.crt=tls/gateway.pem", "tls.key=tls/gateway.key"))
	mount(t, pod, "ops", 0o400, from("token=keys/ops.token"))
	approved := map[string]string{}
	entries, err := os.ReadDir(filepath.Join(made, "modules/gdpr"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		approved[e.Name()] = filepath.Join(made, "modules/gdpr", e.Name())
	}
	mount(t, pod, "gdpr", 0o644, approved)

	listed := filepath.Join(made, "cluster.yaml")
	write(t, listed, strings.Replace(read(t, "samples/fleet/cluster.yaml"), "name: gateway-a", "name: guardlock-0", 1), 0o644)
	g.must(t, made, "audit", "manifest", "sign", listed, "--key", "grace.key")
	mount(t, pod, "manifest", 0o644, from("cluster.yaml=cluster.yaml", "cluster.yaml.grace.sigstore.json=cluster.yaml.grace.sigstore.json"))

	t.Setenv("POD_NAME", "guardlock-0")
	for _, name := range []string{"small", "whole", "watched", "listed"} {
		write(t, filepath.Join(pod, "guardlock.yaml"), rendered(t, name), 0o644)
		out, err := g.run(pod, "check", "--json", "guardlock.yaml")
		var checked struct{ Problems, Refused, Warnings []string }
		if decodeErr := json.Unmarshal([]byte(out), &checked); err != nil || decodeErr != nil || len(checked.Problems)+len(checked.Refused) > 0 {
			t.Errorf("%s: %v, %v\n%s", name, err, decodeErr, out)
		}

		// Only the volumes of the other pods are not here, and nothing else is wrong.
		for _, w := range checked.Warnings {
			volume := strings.Contains(w, "/var/lib/guardlock-gateways/") && strings.Contains(w, "no such file or directory")
			if name != "listed" || !volume && !strings.HasPrefix(w, "the manifest of the decision logs lists log ") {
				t.Errorf("%s: %s", name, w)
			}
		}
		if name == "listed" && len(checked.Warnings) == 0 {
			t.Error("listed: no log of another gateway is looked for")
		}
	}
}

// mount lays files out as Kubernetes does: NAME leads to ..data/NAME, and ..data to
// the version that holds.
func mount(t *testing.T, pod, name string, mode os.FileMode, files map[string]string) {
	t.Helper()
	dir := filepath.Join(pod, name)
	version := filepath.Join(dir, "..2026_11_28")
	if err := os.MkdirAll(version, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Base(version), filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}

	for _, as := range slices.Sorted(maps.Keys(files)) {
		write(t, filepath.Join(version, as), read(t, files[as]), mode)
		if err := os.Symlink(filepath.Join("..data", as), filepath.Join(dir, as)); err != nil {
			t.Fatal(err)
		}
	}
}

// rendered is guardlock.yaml in what the chart renders of one file of values.
func rendered(t *testing.T, name string) string {
	t.Helper()
	for doc := range strings.SplitSeq(read(t, "chart/check/testdata/"+name+".yaml"), "\n---\n") {
		var object struct {
			Kind string
			Data map[string]string
		}
		if err := yaml.Unmarshal([]byte(doc), &object); err != nil {
			t.Fatal(err)
		}
		if object.Kind == "ConfigMap" {
			return object.Data["guardlock.yaml"]
		}
	}

	t.Fatalf("%s has no configuration", name)
	return ""
}

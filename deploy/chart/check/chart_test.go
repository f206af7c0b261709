// Package check holds the chart to Kubernetes' own types: it is a module of its own,
// so that the gateway depends on neither Helm nor Kubernetes.
package check

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	gateway "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"
)

const chartDir = "../guardlock"

var update = flag.Bool("update", false, "write what the chart renders to testdata")

// kinds are what the chart may make, each as Kubernetes decodes it.
var kinds = map[string]func() any{
	"v1/ConfigMap":                            func() any { return new(core.ConfigMap) },
	"v1/Service":                              func() any { return new(core.Service) },
	"apps/v1/StatefulSet":                     func() any { return new(apps.StatefulSet) },
	"policy/v1/PodDisruptionBudget":           func() any { return new(policy.PodDisruptionBudget) },
	"networking.k8s.io/v1/NetworkPolicy":      func() any { return new(networking.NetworkPolicy) },
	"autoscaling/v2/HorizontalPodAutoscaler":  func() any { return new(autoscaling.HorizontalPodAutoscaler) },
	"monitoring.coreos.com/v1/ServiceMonitor": func() any { return new(monitoring.ServiceMonitor) },
	"gateway.networking.k8s.io/v1/TLSRoute":   func() any { return new(gateway.TLSRoute) },
}

func TestChartIsWithoutFindings(t *testing.T) {
	for _, path := range valuesFiles(t) {
		result := lint.AllWithKubeVersion(chartDir, values(t, path), "kafka", &chartutil.KubeVersion{Version: "v1.33.0", Major: "1", Minor: "33"}).Messages
		for _, m := range result {
			if m.Severity > support.InfoSev {
				t.Errorf("%s: %s", filepath.Base(path), m)
			}
		}
	}
}

// What the chart renders is what was reviewed, and Kubernetes knows each field of it.
func TestChartRendersWhatWasReviewed(t *testing.T) {
	for _, path := range valuesFiles(t) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			got, err := render(t, "guardlock", values(t, path))
			if err != nil {
				t.Fatal(err)
			}
			decode(t, got)

			golden := filepath.Join("testdata", filepath.Base(path))
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("it differs from %s: go test . -update, and read the difference", golden)
			}
		})
	}
}

// Values that would make a gateway that does not start, or one that anybody can go
// around, are refused before anything is made.
func TestWrongValuesAreRefused(t *testing.T) {
	for name, c := range map[string]struct{ release, values, want string }{
		"NoImage":          {values: "image: {repository: ''}", want: "repository"},
		"NeitherTagNor":    {values: "image: {tag: ''}", want: "image"},
		"BadDigest":        {values: "image: {digest: 'sha256:12'}", want: "digest"},
		"Unknown":          {values: "replica: 2", want: "replica"},
		"NodeOfTheirOwn":   {values: "configuration: {node: a}", want: "configuration"},
		"AddressOfTheirs":  {values: "configuration: {listen: {address: ':1'}}", want: "listen"},
		"PolicyForNobody":  {values: "brokerNetworkPolicy: {enabled: true}", want: "podLabels"},
		"OpsOfThePodAlone": {values: "ops: {enabled: true}", want: "ops.address"},
		"OpsOnLoopback":    {values: "{ops: {enabled: true}, configuration: {ops: {address: 'localhost:9099'}}}", want: "ops.address"},
		"NobodyToScrape":   {values: "serviceMonitor: {enabled: true}", want: "ops.enabled"},
		"PartOfNothing":    {values: "{autoscaling: {enabled: true}, resources: {requests: {cpu: null}}}", want: "resources.requests.cpu"},
		"RouteWithoutSNI":  {values: "tlsRoute: {enabled: true, parentRefs: [{name: public}]}", want: "listen.sni"},
		"RouteToNobody":    {values: "tlsRoute: {enabled: true}", want: "parentRefs"},
		"TwoManifests":     {values: "{manifest: {configMap: m}, configuration: {audit: {manifest: {file: m.yaml}}}}", want: "two manifests"},
		"ManifestByAPath":  {values: "manifest: {configMap: m, file: ../m.yaml}", want: "file"},
		"OthersUnread":     {values: "reconcile: {every: 1h}", want: "ReadWriteMany"},
		"ThoseBeforeToo":   {values: "{reconcile: {every: 1h, gateways: 2}, replicas: 1}", want: "ReadWriteMany"},
		"MoreThanRead":     {values: "{reconcile: {every: 1h}, autoscaling: {enabled: true}}", want: "autoscaling"},
		"LookOfTheirs":     {values: "configuration: {audit: {reconcile: {every: 1h}}}", want: "reconcile"},
		"MountedTwice":     {values: "{files: [{name: a, configMap: b}], secrets: [{name: a, secret: c}]}", want: "mounted twice"},
		"NameOfTheVolume":  {values: "files: [{name: ../x, configMap: y}]", want: "name"},
		"ReleaseIsTooLong": {release: "a-release-with-a-long-name", want: "too long"},
	} {
		t.Run(name, func(t *testing.T) {
			v := values(t, filepath.Join(chartDir, "ci", "small.yaml"))
			var wrong map[string]any
			if err := yaml.Unmarshal([]byte(c.values), &wrong); err != nil {
				t.Fatal(err)
			}

			release := c.release
			if release == "" {
				release = "guardlock"
			}
			if _, err := render(t, release, chartutil.CoalesceTables(wrong, v)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error about %s", err, c.want)
			}
		})
	}
}

// The security of a pod does not depend on values.
func TestPodIsConfined(t *testing.T) {
	for _, path := range valuesFiles(t) {
		got, err := render(t, "guardlock", values(t, path))
		if err != nil {
			t.Fatal(err)
		}

		set := decode(t, got)["apps/v1/StatefulSet"].(*apps.StatefulSet)
		pod := set.Spec.Template.Spec
		c := pod.Containers[0].SecurityContext
		if *pod.AutomountServiceAccountToken || !*pod.SecurityContext.RunAsNonRoot || *c.AllowPrivilegeEscalation || !*c.ReadOnlyRootFilesystem || len(c.Capabilities.Drop) != 1 {
			t.Errorf("%s: %+v", filepath.Base(path), c)
		}
		for _, v := range pod.Volumes {
			if v.Secret != nil && *v.Secret.DefaultMode != 0o400 {
				t.Errorf("%s: secret %s has mode %o", filepath.Base(path), v.Secret.SecretName, *v.Secret.DefaultMode)
			}
		}
	}
}

func valuesFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(chartDir, "ci", "*.yaml"))
	if err != nil || len(files) < 2 {
		t.Fatalf("values: %v, %v", files, err)
	}
	return files
}

func values(t *testing.T, path string) map[string]any {
	t.Helper()
	v, err := chartutil.ReadValuesFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// render is what `helm template` prints, the files in order.
func render(t *testing.T, release string, v map[string]any) (string, error) {
	t.Helper()
	c, err := loader.LoadDir(chartDir)
	if err != nil {
		t.Fatal(err)
	}

	rendered, err := rendered(c, release, v)
	if err != nil {
		return "", err
	}

	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(rendered)) {
		if text := strings.TrimSpace(rendered[name]); text != "" && filepath.Ext(name) == ".yaml" {
			fmt.Fprintf(&out, "---\n# %s\n%s\n", strings.TrimPrefix(name, "guardlock/"), text)
		}
	}
	return out.String(), nil
}

func rendered(c *chart.Chart, release string, v map[string]any) (map[string]string, error) {
	all, err := chartutil.ToRenderValues(c, v, chartutil.ReleaseOptions{Name: release, Namespace: "kafka", IsInstall: true}, nil)
	if err != nil {
		return nil, err
	}
	return engine.Engine{Strict: true}.Render(c, all)
}

// decode decodes each document strictly: a field that Kubernetes does not know is an
// error. The last of a kind is returned.
func decode(t *testing.T, rendered string) map[string]any {
	t.Helper()
	out := map[string]any{}
	for _, doc := range bytes.Split([]byte(rendered), []byte("\n---\n")) {
		var head struct{ APIVersion, Kind string }
		if err := yaml.Unmarshal(doc, &head); err != nil {
			t.Fatal(err)
		}

		kind := head.APIVersion + "/" + head.Kind
		fresh := kinds[kind]
		if fresh == nil {
			t.Fatalf("the chart makes a %s", kind)
		}

		object := fresh()
		if err := yaml.UnmarshalStrict(doc, object); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		out[kind] = object
	}
	return out
}

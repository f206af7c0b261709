package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/release"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
)

const (
	chartDir  = "../guardlock"
	beforeDir = "testdata/before" // the chart as it was before its last change
	name      = "guardlock"       // of the release, as in the values
)

// helm is what the command of that name does in one namespace.
type helm struct {
	t         *testing.T
	namespace string
	config    *action.Configuration
}

// restricted makes a namespace that takes pods of the strictest of Kubernetes' pod
// security standards only.
func restricted(t *testing.T, namespace string) *helm {
	t.Helper()
	labels := map[string]string{"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": "latest"}
	ns := &core.Namespace{ObjectMeta: meta.ObjectMeta{Name: namespace, Labels: labels}}
	if _, err := cluster.client.CoreV1().Namespaces().Create(t.Context(), ns, meta.CreateOptions{}); err != nil {
		t.Fatal(err)
	}

	flags := genericclioptions.NewConfigFlags(false)
	flags.KubeConfig = &cluster.kubeconfig
	flags.Namespace = &namespace
	h := &helm{t: t, namespace: namespace, config: new(action.Configuration)}
	if err := h.config.Init(flags, namespace, "secret", func(string, ...any) {}); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *helm) install(c *chart.Chart, values map[string]any) (*release.Release, error) {
	install := action.NewInstall(h.config)
	install.ReleaseName = name
	install.Namespace = h.namespace
	return install.Run(c, values)
}

func (h *helm) upgrade(c *chart.Chart, values map[string]any) (*release.Release, error) {
	upgrade := action.NewUpgrade(h.config)
	upgrade.Namespace = h.namespace
	return upgrade.Run(name, c, values)
}

// must fails the test unless Helm did what it was asked for.
func (h *helm) must(r *release.Release, err error) *release.Release {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

// objects are those of a release, as the chart made them.
func objects(t *testing.T, manifest string) (all []*unstructured.Unstructured) {
	t.Helper()
	documents := yaml.NewYAMLOrJSONDecoder(strings.NewReader(manifest), 4096)
	for {
		one := new(unstructured.Unstructured)
		err := documents.Decode(&one.Object)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(one.Object) > 0 {
			all = append(all, one)
		}
	}
}

// resource is where the server keeps such an object.
func (h *helm) resource(kind schema.GroupVersionKind) dynamic.ResourceInterface {
	h.t.Helper()
	groups, err := restmapper.GetAPIGroupResources(cluster.client.Discovery())
	if err != nil {
		h.t.Fatal(err)
	}
	mapping, err := restmapper.NewDiscoveryRESTMapper(groups).RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		h.t.Fatal(err)
	}
	return cluster.objects.Resource(mapping.Resource).Namespace(h.namespace)
}

// TestServerTakesWhatTheChartMakes: each object as it is, with nothing dropped; what the
// server adds by itself is no difference to the next upgrade.
func TestServerTakesWhatTheChartMakes(t *testing.T) {
	definitions(t)
	files, err := filepath.Glob(filepath.Join(chartDir, "ci", "*.yaml"))
	if err != nil || len(files) < 4 {
		t.Fatalf("values: %v, %v", files, err)
	}

	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			h := restricted(t, "takes-"+strings.TrimSuffix(filepath.Base(path), ".yaml"))
			first := h.must(h.install(load(t, chartDir), values(t, path)))
			all := objects(t, first.Manifest)
			if len(all) < 5 {
				t.Fatalf("%d objects", len(all))
			}
			for _, want := range all {
				h.holds(want)
				h.unchangedBy(want)
			}

			eventually(t, "pods are admitted", func() bool { return len(h.pods()) >= 2 })

			h.must(h.upgrade(load(t, chartDir), values(t, path)))
			set := h.set()
			if set.Generation != 1 && !strings.Contains(path, "watched") { // which its autoscaler changes
				t.Errorf("an upgrade to the same changed the StatefulSet: generation %d", set.Generation)
			}
		})
	}
}

// holds demands that the server kept each field of an object.
func (h *helm) holds(want *unstructured.Unstructured) {
	h.t.Helper()
	got, err := h.resource(want.GroupVersionKind()).Get(h.t.Context(), want.GetName(), meta.GetOptions{})
	if err != nil {
		h.t.Fatal(err)
	}
	if at := missing(want.Object, got.Object, ""); at != "" {
		h.t.Errorf("%s %s: the server has another value at %s", want.GetKind(), want.GetName(), at)
	}
}

// missing is the path of a value that got lacks, or has otherwise.
func missing(want, got any, path string) string {
	switch want := want.(type) {
	case map[string]any:
		other, ok := got.(map[string]any)
		if !ok {
			return path
		}
		for key, value := range want {
			if at := missing(value, other[key], path+"."+key); at != "" {
				return at
			}
		}
		return ""
	case []any:
		other, ok := got.([]any)
		if !ok || len(other) != len(want) {
			return path
		}
		for i := range want {
			if at := missing(want[i], other[i], fmt.Sprintf("%s[%d]", path, i)); at != "" {
				return at
			}
		}
		return ""
	}
	if a, b := fmt.Sprint(want), fmt.Sprint(got); a != b {
		return fmt.Sprintf("%s: %s, and not %s", path, b, a)
	}
	return ""
}

// unchangedBy demands that applying an object on the server, which refuses unknown fields,
// would change nothing: what `kubectl diff --server-side --force-conflicts` shows.
func (h *helm) unchangedBy(want *unstructured.Unstructured) {
	h.t.Helper()
	body, err := json.Marshal(want.Object)
	if err != nil {
		h.t.Fatal(err)
	}

	force := true // Helm owns the fields; the question is whether they would change
	at := h.resource(want.GroupVersionKind())
	for range 10 {
		before, err := at.Get(h.t.Context(), want.GetName(), meta.GetOptions{})
		if err != nil {
			h.t.Fatal(err)
		}
		applied, err := at.Patch(h.t.Context(), want.GetName(), types.ApplyPatchType, body, meta.PatchOptions{DryRun: []string{meta.DryRunAll}, FieldManager: "test", Force: &force, FieldValidation: "Strict"})
		if err != nil {
			h.t.Errorf("%s %s: %v", want.GetKind(), want.GetName(), err)
			return
		}

		applied.SetManagedFields(nil)
		before.SetManagedFields(nil)
		if applied.GetResourceVersion() != before.GetResourceVersion() {
			continue // a controller was here in between
		}
		if !reflect.DeepEqual(applied.Object, before.Object) {
			h.t.Errorf("%s %s drifts: applied again it is\n%v\nand was\n%v", want.GetKind(), want.GetName(), applied.Object, before.Object)
		}
		return
	}
	h.t.Errorf("%s %s changes all the time", want.GetKind(), want.GetName())
}

// TestWrongValuesReachNoServer: the schema refuses them before anything is made.
func TestWrongValuesReachNoServer(t *testing.T) {
	h := restricted(t, "wrong")
	wrong := values(t, filepath.Join(chartDir, "ci", "small.yaml"))
	wrong["replica"] = 2
	if _, err := h.install(load(t, chartDir), wrong); err == nil || !strings.Contains(err.Error(), "replica") {
		t.Errorf("got %v, want an error about replica", err)
	}

	pods, err := cluster.client.AppsV1().StatefulSets(h.namespace).List(t.Context(), meta.ListOptions{})
	if err != nil || len(pods.Items) != 0 {
		t.Errorf("it made %d StatefulSets: %v", len(pods.Items), err)
	}
}

// TestNamespaceRefusesAPodThatIsNotConfined shows that what the chart's pods pass is
// a check.
func TestNamespaceRefusesAPodThatIsNotConfined(t *testing.T) {
	h := restricted(t, "confined")
	pod := &core.Pod{ObjectMeta: meta.ObjectMeta{Name: "open"}, Spec: core.PodSpec{Containers: []core.Container{{Name: "c", Image: "i"}}}}
	_, err := cluster.client.CoreV1().Pods(h.namespace).Create(t.Context(), pod, meta.CreateOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "restricted") {
		t.Errorf("got %v, want that restricted forbids it", err)
	}
}

// definitions has the server know what the chart makes of others: a route of the Gateway
// API, whose definition its module has, and a ServiceMonitor.
func definitions(t *testing.T) {
	t.Helper()
	var module struct{ Dir, Version string }
	get := func(path string) {
		t.Helper()
		cmd := exec.Command("go", "mod", "download", "-json", path)
		cmd.Dir = "../check" // which pins the types that the chart is checked by
		out, err := cmd.Output()
		if err == nil {
			err = json.Unmarshal(out, &module)
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}

	get("github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring")
	files := []string{"testdata/servicemonitor-" + module.Version + ".yaml"} // absent: make it of that version
	get("sigs.k8s.io/gateway-api")
	files = append(files, filepath.Join(module.Dir, "config/crd/standard/gateway.networking.k8s.io_tlsroutes.yaml"))

	kind := schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, object := range objects(t, string(text)) {
			_, err := cluster.objects.Resource(kind).Create(t.Context(), object, meta.CreateOptions{})
			if err != nil && !apierrors.IsAlreadyExists(err) {
				t.Fatal(err)
			}
			eventually(t, object.GetName()+" is served", func() bool {
				group, _, _ := unstructured.NestedString(object.Object, "spec", "group")
				plural, _, _ := unstructured.NestedString(object.Object, "spec", "names", "plural")
				_, err := cluster.objects.Resource(schema.GroupVersionResource{Group: group, Version: "v1", Resource: plural}).List(t.Context(), meta.ListOptions{})
				return err == nil
			})
		}
	}
}

func load(t *testing.T, dir string) *chart.Chart {
	t.Helper()
	c, err := loader.LoadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func values(t *testing.T, path string) map[string]any {
	t.Helper()
	v, err := chartutil.ReadValuesFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// eventually waits for what controllers bring about.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	err := soon(time.Minute, func() error {
		if !is() {
			return errors.New(what)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

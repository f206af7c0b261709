package cluster

import (
	"path/filepath"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/action"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	policy "k8s.io/api/policy/v1"
	storage "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// set is the gateways' StatefulSet.
func (h *helm) set() *apps.StatefulSet {
	h.t.Helper()
	set, err := cluster.client.AppsV1().StatefulSets(h.namespace).Get(h.t.Context(), name, meta.GetOptions{})
	if err != nil {
		h.t.Fatal(err)
	}
	return set
}

func (h *helm) pods() []core.Pod {
	h.t.Helper()
	all, err := cluster.client.CoreV1().Pods(h.namespace).List(h.t.Context(), meta.ListOptions{LabelSelector: "app.kubernetes.io/instance=" + name})
	if err != nil {
		h.t.Fatal(err)
	}
	return all.Items
}

// ready waits until all pods are of the newest form, and ready.
func (h *helm) ready(replicas int32) {
	h.t.Helper()
	eventually(h.t, "all gateways are ready, and of the newest form", func() bool {
		s := h.set()
		return s.Status.ObservedGeneration == s.Generation && s.Status.ReadyReplicas == replicas && s.Status.UpdatedReplicas == replicas && s.Status.CurrentRevision == s.Status.UpdateRevision
	})
}

// TestReleaseLives goes through the life of a release, with every value in use: pods on
// nodes of their own with volumes, an eviction at a time, an upgrade that rolls them one by one,
// a rollback, and an end that leaves the decision logs.
func TestReleaseLives(t *testing.T) {
	whole := func() map[string]any { return values(t, filepath.Join(chartDir, "ci", "whole.yaml")) }
	nodes(t, "node-a", "node-b", "node-c")
	volumes(t, "fast", core.ReadWriteOnce, 3)
	h := restricted(t, "lives")
	k := startKubelet(t, h.namespace, 3)
	h.must(h.install(load(t, chartDir), whole()))
	h.ready(3)

	on := map[string]bool{}
	for _, pod := range h.pods() {
		on[pod.Spec.NodeName] = true
	}
	if len(on) != 3 {
		t.Errorf("three gateways are on the nodes %v", on)
	}
	h.claims("100Gi")
	h.reached()

	changed := whole()
	changed["configuration"].(map[string]any)["log"] = map[string]any{"format": "text"}
	before := h.set().Spec.Template.Annotations["guardlock/configuration"]
	h.must(h.upgrade(load(t, chartDir), changed))
	h.ready(3)
	if after := h.set().Spec.Template.Annotations["guardlock/configuration"]; after == before {
		t.Error("another configuration rolls nothing")
	}

	if err := action.NewRollback(h.config).Run(name); err != nil {
		t.Fatal(err)
	}
	h.ready(3)
	if after := h.set().Spec.Template.Annotations["guardlock/configuration"]; after != before {
		t.Errorf("after the rollback the configuration is %s, and was %s", after, before)
	}
	if least := k.least.Load(); least < 2 {
		t.Errorf("%d of 3 gateways were ready in a roll", least)
	}

	h.evicted()
	if _, err := action.NewUninstall(h.config).Run(name); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all pods are gone", func() bool { return len(h.pods()) == 0 })
	h.claims("100Gi")
}

// claims demands a bound claim for each gateway.
func (h *helm) claims(size string) {
	h.t.Helper()
	for _, claim := range []string{"data-guardlock-0", "data-guardlock-1", "data-guardlock-2"} {
		got, err := cluster.client.CoreV1().PersistentVolumeClaims(h.namespace).Get(h.t.Context(), claim, meta.GetOptions{})
		if err != nil {
			h.t.Fatal(err)
		}
		if asked := got.Spec.Resources.Requests[core.ResourceStorage]; got.Status.Phase != core.ClaimBound || asked.String() != size {
			h.t.Errorf("claim %s is %s, of %s", claim, got.Status.Phase, asked.String())
		}
	}
}

// reached demands that Services lead to all gateways by each port, and that the brokers'
// policy lets in just these pods.
func (h *helm) reached() {
	h.t.Helper()
	eventually(h.t, "the Service leads to three gateways", func() bool {
		slices, err := cluster.client.DiscoveryV1().EndpointSlices(h.namespace).List(h.t.Context(), meta.ListOptions{LabelSelector: "kubernetes.io/service-name=" + name})
		return err == nil && len(slices.Items) == 1 && len(slices.Items[0].Endpoints) == 3 && len(slices.Items[0].Ports) == 6
	})

	closed, err := cluster.client.NetworkingV1().NetworkPolicies(h.namespace).Get(h.t.Context(), name+"-brokers", meta.GetOptions{})
	if err != nil {
		h.t.Fatal(err)
	}
	from, err := meta.LabelSelectorAsSelector(closed.Spec.Ingress[0].From[0].PodSelector)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, pod := range h.pods() {
		if !from.Matches(labels.Set(pod.Labels)) {
			h.t.Errorf("the brokers' policy does not let in %s", pod.Name)
		}
	}
	if from.Matches(labels.Set{"app": "anybody"}) {
		h.t.Error("the brokers' policy lets in anybody")
	}
}

// evicted has nodes drained: one gateway may go, and the next only once it is back.
func (h *helm) evicted() {
	h.t.Helper()
	eventually(h.t, "one gateway may be evicted", func() bool {
		b, err := cluster.client.PolicyV1().PodDisruptionBudgets(h.namespace).Get(h.t.Context(), name, meta.GetOptions{})
		return err == nil && b.Status.ExpectedPods == 3 && b.Status.CurrentHealthy == 3 && b.Status.DisruptionsAllowed == 1
	})
	evict := func(pod string) error {
		return cluster.client.PolicyV1().Evictions(h.namespace).Evict(h.t.Context(), &policy.Eviction{ObjectMeta: meta.ObjectMeta{Name: pod, Namespace: h.namespace}})
	}
	if err := evict("guardlock-0"); err != nil {
		h.t.Errorf("one: %v", err)
	}
	if err := evict("guardlock-1"); !apierrors.IsTooManyRequests(err) {
		h.t.Errorf("another at the same time: %v", err)
	}
	h.ready(3)
}

// TestUpgradeFromTheChartBefore: what is immutable of a StatefulSet is not touched.
func TestUpgradeFromTheChartBefore(t *testing.T) {
	definitions(t)
	files, err := filepath.Glob(filepath.Join(beforeDir, "ci", "*.yaml"))
	if err != nil || len(files) < 3 {
		t.Fatalf("values: %v, %v", files, err)
	}
	for _, path := range files {
		base := strings.TrimSuffix(filepath.Base(path), ".yaml")
		t.Run(base, func(t *testing.T) {
			h := restricted(t, "before-"+base)
			h.must(h.install(load(t, beforeDir), values(t, path)))
			was := h.set().UID
			h.must(h.upgrade(load(t, chartDir), values(t, path)))
			if h.set().UID != was {
				t.Error("the StatefulSet is another one")
			}
		})
	}
}

// TestSizeOfVolumesIsChangedAsDocumented: Kubernetes refuses it in an upgrade, and by the
// way of docs/kubernetes.md no gateway is restarted.
func TestSizeOfVolumesIsChangedAsDocumented(t *testing.T) {
	grows := true
	class := &storage.StorageClass{ObjectMeta: meta.ObjectMeta{Name: "growing"}, Provisioner: "nobody", AllowVolumeExpansion: &grows}
	if _, err := cluster.client.StorageV1().StorageClasses().Create(t.Context(), class, meta.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	nodes(t, "node-a")
	volumes(t, "growing", core.ReadWriteOnce, 2)
	h := restricted(t, "grows")
	startKubelet(t, h.namespace, 2)
	sized := func(size string) map[string]any {
		v := values(t, filepath.Join(chartDir, "ci", "small.yaml"))
		v["storage"] = map[string]any{"className": "growing", "size": size}
		return v
	}
	h.must(h.install(load(t, chartDir), sized("10Gi")))
	h.ready(2)
	was := map[types.UID]bool{}
	for _, pod := range h.pods() {
		was[pod.UID] = true
	}
	if _, err := h.upgrade(load(t, chartDir), sized("20Gi")); err == nil || !strings.Contains(err.Error(), "spec.volumeClaimTemplates") {
		t.Errorf("got %v, want that the server refuses it", err)
	}

	for _, claim := range []string{"data-guardlock-0", "data-guardlock-1"} {
		patch := []byte(`{"spec": {"resources": {"requests": {"storage": "20Gi"}}}}`)
		got, err := cluster.client.CoreV1().PersistentVolumeClaims(h.namespace).Patch(t.Context(), claim, types.MergePatchType, patch, meta.PatchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if asked := got.Spec.Resources.Requests[core.ResourceStorage]; asked.Cmp(resource.MustParse("20Gi")) != 0 {
			t.Errorf("claim %s asks for %s", claim, asked.String())
		}
	}
	orphan := meta.DeletePropagationOrphan
	if err := cluster.client.AppsV1().StatefulSets(h.namespace).Delete(t.Context(), name, meta.DeleteOptions{PropagationPolicy: &orphan}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the StatefulSet is gone", func() bool {
		_, err := cluster.client.AppsV1().StatefulSets(h.namespace).Get(t.Context(), name, meta.GetOptions{})
		return apierrors.IsNotFound(err)
	})
	h.must(h.upgrade(load(t, chartDir), sized("20Gi")))
	h.ready(2)
	for _, pod := range h.pods() {
		if !was[pod.UID] {
			t.Errorf("%s was made anew", pod.Name)
		}
	}
}

// TestUpgradeLeavesWhatTheAutoscalerChose: the chart says no number of replicas then.
func TestUpgradeLeavesWhatTheAutoscalerChose(t *testing.T) {
	definitions(t)
	h := restricted(t, "scales")
	watched := values(t, filepath.Join(chartDir, "ci", "watched.yaml"))
	h.must(h.install(load(t, chartDir), watched))
	eventually(t, "the autoscaler has its least number of gateways", func() bool { return *h.set().Spec.Replicas == 2 })

	scale, err := cluster.client.AppsV1().StatefulSets(h.namespace).GetScale(t.Context(), name, meta.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	scale.Spec.Replicas = 4
	if _, err := cluster.client.AppsV1().StatefulSets(h.namespace).UpdateScale(t.Context(), name, scale, meta.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	watched["podAnnotations"] = map[string]any{"a": "b"}
	h.must(h.upgrade(load(t, chartDir), watched))
	if n := *h.set().Spec.Replicas; n != 4 {
		t.Errorf("the upgrade left %d gateways of 4", n)
	}
}

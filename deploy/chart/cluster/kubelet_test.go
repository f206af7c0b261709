package cluster

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// nodes makes nodes that pods can be scheduled to.
func nodes(t *testing.T, names ...string) {
	t.Helper()
	ctx := t.Context()
	for _, name := range names {
		node := &core.Node{ObjectMeta: meta.ObjectMeta{Name: name, Labels: map[string]string{"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}}}
		_, err := cluster.client.CoreV1().Nodes().Create(ctx, node, meta.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}

		// It is tainted as not ready, says the server, until a controller says otherwise.
		if _, err := cluster.client.CoreV1().Nodes().Patch(ctx, name, types.MergePatchType, []byte(`{"spec": {"taints": null}}`), meta.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		room := `{"cpu": "16", "memory": "64Gi", "pods": "110"}`
		status := fmt.Sprintf(`{"status": {"conditions": [{"type": "Ready", "status": "True"}], "capacity": %s, "allocatable": %s}}`, room, room)
		if _, err := cluster.client.CoreV1().Nodes().Patch(ctx, name, types.MergePatchType, []byte(status), meta.PatchOptions{}, "status"); err != nil {
			t.Fatal(err)
		}
	}
}

// volumes makes as many volumes of a storage class as its claims will bind.
func volumes(t *testing.T, class string, mode core.PersistentVolumeAccessMode, n int) {
	t.Helper()
	for i := range n {
		volume := &core.PersistentVolume{
			ObjectMeta: meta.ObjectMeta{Name: fmt.Sprintf("%s-%d", class, i)},
			Spec: core.PersistentVolumeSpec{
				StorageClassName: class, AccessModes: []core.PersistentVolumeAccessMode{mode}, Capacity: core.ResourceList{"storage": resource.MustParse("1Ti")},
				PersistentVolumeSource: core.PersistentVolumeSource{HostPath: &core.HostPathVolumeSource{Path: "/nowhere"}},
			},
		}
		if _, err := cluster.client.CoreV1().PersistentVolumes().Create(t.Context(), volume, meta.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// kubelet says of the pods of a namespace that they run as soon as they have a node, and
// ends those that are to end. It runs nothing. It keeps the least number of ready pods that it
// saw once all ran.
type kubelet struct {
	namespace string
	done      chan struct{}
	stop      context.CancelFunc

	replicas int // from this many on it counts
	counting bool
	least    atomic.Int32
	problem  error
}

func startKubelet(t *testing.T, namespace string, replicas int) *kubelet {
	ctx, stop := context.WithCancel(context.Background())
	k := &kubelet{namespace: namespace, done: make(chan struct{}), stop: stop, replicas: replicas}
	k.least.Store(int32(replicas))
	go k.run(ctx)
	t.Cleanup(func() { k.end(t) })
	return k
}

func (k *kubelet) end(t *testing.T) {
	t.Helper()
	k.stop()
	<-k.done
	if k.problem != nil {
		t.Errorf("saying that pods run: %v", k.problem)
	}
}

func (k *kubelet) run(ctx context.Context) {
	defer close(k.done)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		if err := k.once(ctx); err != nil && ctx.Err() == nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			k.problem = err
		}
		<-tick.C
	}
}

func (k *kubelet) once(ctx context.Context) error {
	pods := cluster.client.CoreV1().Pods(k.namespace)
	all, err := pods.List(ctx, meta.ListOptions{})
	if err != nil {
		return err
	}

	ready := 0
	for i := range all.Items {
		pod := &all.Items[i]
		now := int64(0)
		switch {
		case pod.DeletionTimestamp != nil:
			err = pods.Delete(ctx, pod.Name, meta.DeleteOptions{GracePeriodSeconds: &now})
		case pod.Spec.NodeName != "" && pod.Status.Phase != core.PodRunning:
			pod.Status.Phase = core.PodRunning
			pod.Status.PodIP = fmt.Sprintf("10.0.0.%d", i+1)
			pod.Status.PodIPs = []core.PodIP{{IP: pod.Status.PodIP}}
			pod.Status.Conditions = append(pod.Status.Conditions, core.PodCondition{Type: core.PodReady, Status: core.ConditionTrue, LastTransitionTime: meta.Now()},
				core.PodCondition{Type: core.ContainersReady, Status: core.ConditionTrue, LastTransitionTime: meta.Now()})
			_, err = pods.UpdateStatus(ctx, pod, meta.UpdateOptions{})
		case pod.Status.Phase == core.PodRunning:
			ready++
		}
		if err != nil {
			return err
		}
	}

	k.counting = k.counting || ready == k.replicas
	if k.counting {
		k.least.Store(min(k.least.Load(), int32(ready)))
	}
	return nil
}

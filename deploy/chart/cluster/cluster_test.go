// Package cluster installs the chart in a real control plane: etcd, kube-apiserver,
// kube-controller-manager and kube-scheduler of the version that go.mod pins, built from
// the modules that they are published as. It is a module of its own, which takes minutes
// to build, so that nobody else builds Kubernetes.
//
// There is no kubelet and no container runtime: a few lines say of pods that they run, as
// a kubelet reports it (kubelet_test.go). What a pod would run is run by itself, in the file
// system and the network that its specification describes (pod_test.go).
package cluster

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/component-base/cli"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

// components are the programs of the control plane, which this binary is when its first
// argument is one of them.
var components = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllers.NewControllerManagerCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
}

// cluster is the control plane that all tests share.
var cluster *controlPlane

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && components[os.Args[1]] != nil {
		command := components[os.Args[1]]()
		command.SetArgs(os.Args[2:])
		os.Exit(cli.Run(command))
	}

	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "guardlock-cluster")
	if err != nil {
		log.Print(err)
		return 1
	}
	defer os.RemoveAll(dir)

	cluster = &controlPlane{dir: dir}
	defer cluster.stop()
	if err := cluster.start(); err != nil {
		log.Printf("starting Kubernetes: %v", err)
		cluster.tell()
		return 1
	}

	code := m.Run()
	if code != 0 {
		cluster.tell()
	}
	return code
}

// controlPlane is a Kubernetes without nodes.
type controlPlane struct {
	dir        string
	config     *rest.Config
	kubeconfig string // of the administrator

	etcd      *embed.Etcd
	processes []*exec.Cmd

	client  *kubernetes.Clientset
	objects *dynamic.DynamicClient
}

func (c *controlPlane) start() error {
	ports, err := freePorts(3)
	if err != nil {
		return err
	}
	storage := "http://127.0.0.1:" + ports[0]
	if err := c.startEtcd(storage, "http://127.0.0.1:"+ports[1]); err != nil {
		return err
	}

	key := c.file("accounts.key")
	if err := writeKey(key); err != nil {
		return err
	}
	users := "admin-token,admin,1,system:masters\ncontrollers-token,system:kube-controller-manager,2\nscheduler-token,system:kube-scheduler,3\n"
	if err := os.WriteFile(c.file("tokens.csv"), []byte(users), 0o600); err != nil {
		return err
	}

	err = c.run("kube-apiserver", "--etcd-servers="+storage, "--bind-address=127.0.0.1", "--secure-port="+ports[2], "--cert-dir="+c.dir, "--endpoint-reconciler-type=none",
		"--service-cluster-ip-range=10.96.0.0/16", "--service-account-issuer=https://kubernetes.default.svc", "--service-account-signing-key-file="+key, "--service-account-key-file="+key,
		"--authorization-mode=RBAC", "--token-auth-file="+c.file("tokens.csv"))
	if err != nil {
		return err
	}

	address := "https://127.0.0.1:" + ports[2]
	if err := c.connect(address); err != nil {
		return err
	}
	return c.startControllers(address, key)
}

func (c *controlPlane) file(name string) string { return filepath.Join(c.dir, name) }

func (c *controlPlane) startEtcd(clients, peers string) error {
	set := embed.NewConfig()
	set.Dir = c.file("etcd")
	set.UnsafeNoFsync = true
	set.LogLevel = "fatal" // it calls its own end an error

	client, err := url.Parse(clients)
	if err != nil {
		return err
	}
	peer, err := url.Parse(peers)
	if err != nil {
		return err
	}
	set.ListenClientUrls, set.AdvertiseClientUrls = []url.URL{*client}, []url.URL{*client}
	set.ListenPeerUrls, set.AdvertisePeerUrls = []url.URL{*peer}, []url.URL{*peer}
	set.InitialCluster = set.InitialClusterFromName(set.Name)

	if c.etcd, err = embed.StartEtcd(set); err != nil {
		return fmt.Errorf("starting etcd: %w", err)
	}
	select {
	case <-c.etcd.Server.ReadyNotify():
		return nil
	case err := <-c.etcd.Err():
		return fmt.Errorf("starting etcd: %w", err)
	case <-time.After(time.Minute):
		return fmt.Errorf("etcd was not ready within a minute")
	}
}

// connect waits until the server is ready.
func (c *controlPlane) connect(address string) error {
	c.kubeconfig = c.file("admin.conf")
	if err := c.writeKubeconfig(c.kubeconfig, address, "admin-token"); err != nil {
		return err
	}
	var err error
	if c.config, err = clientcmd.BuildConfigFromFlags("", c.kubeconfig); err != nil {
		return err
	}
	c.config.QPS = -1 // nobody else is here
	if c.client, err = kubernetes.NewForConfig(c.config); err != nil {
		return err
	}
	if c.objects, err = dynamic.NewForConfig(c.config); err != nil {
		return err
	}

	return soon(2*time.Minute, func() error {
		answer, err := c.client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(context.Background())
		if err != nil {
			return fmt.Errorf("kube-apiserver is not ready: %w: %s", err, answer)
		}
		return nil
	})
}

// startControllers starts what acts on objects. Nodes have no kubelet to tell that they
// live, and nobody is to take their pods away for that.
func (c *controlPlane) startControllers(address, key string) error {
	for name, token := range map[string]string{"kube-controller-manager": "controllers-token", "kube-scheduler": "scheduler-token"} {
		config := c.file(name + ".conf")
		if err := c.writeKubeconfig(config, address, token); err != nil {
			return err
		}

		args := []string{"--kubeconfig=" + config, "--leader-elect=false", "--secure-port=0"}
		if name == "kube-controller-manager" {
			args = append(args, "--use-service-account-credentials", "--service-account-private-key-file="+key, "--controllers=*,-node-lifecycle-controller,-taint-eviction-controller")
		}
		if err := c.run(name, args...); err != nil {
			return err
		}
	}
	return nil
}

// writeKubeconfig says how to reach the server, which made its certificate itself.
func (c *controlPlane) writeKubeconfig(path, address, token string) error {
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: %q, certificate-authority: %q, tls-server-name: kubernetes.default.svc}}]
users: [{name: u, user: {token: %q}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
current-context: c
`, address, c.file("apiserver.crt"), token)
	err := soon(2*time.Minute, func() error {
		_, err := os.Stat(c.file("apiserver.crt"))
		return err
	})
	if err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o600)
}

// run starts a component, which ends with this process.
func (c *controlPlane) run(name string, args ...string) error {
	said, err := os.Create(c.file(name + ".log"))
	if err != nil {
		return err
	}
	defer said.Close()

	cmd := exec.Command(os.Args[0], append([]string{name}, args...)...)
	cmd.Stdout, cmd.Stderr = said, said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", name, err)
	}
	c.processes = append(c.processes, cmd)
	return nil
}

func (c *controlPlane) stop() {
	for _, p := range c.processes {
		p.Process.Kill()
		p.Wait()
	}
	if c.etcd != nil {
		c.etcd.Close()
	}
}

// tell prints the end of what the components said.
func (c *controlPlane) tell() {
	for name := range components {
		said, err := os.ReadFile(c.file(name + ".log"))
		if err != nil {
			continue
		}
		lines := strings.Split(strings.TrimSpace(string(said)), "\n")
		log.Printf("%s said at last:\n%s", name, strings.Join(lines[max(0, len(lines)-15):], "\n"))
	}
}

// soon waits until something is so, and returns why it was not.
func soon(limit time.Duration, is func() error) error {
	over := time.After(limit)
	for {
		err := is()
		if err == nil {
			return nil
		}
		select {
		case <-over:
			return fmt.Errorf("not within %s: %w", limit, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func writeKey(path string) error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	block := &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}
	return os.WriteFile(path, pem.EncodeToMemory(block), 0o600)
}

// freePorts are ports of the loopback interface that nobody listens on.
func freePorts(n int) (ports []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		_, port, err := net.SplitHostPort(l.Addr().String())
		if err != nil {
			return nil, err
		}
		ports = append(ports, port)
	}
	return ports, nil
}

package cluster

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestPodRunsWithWhatTheServerHolds runs the command of a pod, with its arguments, user,
// mounts and network, and asks it what a kubelet would by the probes. A Secret that is
// replaced takes effect without a restart, and an end comes in time.
func TestPodRunsWithWhatTheServerHolds(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "guardlock")
	build := exec.Command("go", "build", "-o", binary, "./cmd/guardlock")
	build.Dir = "../../.."
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}

	h := restricted(t, "runs")
	trust := trustRoot(t, binary)
	cert, key, first := certificate(t, 1)
	h.secret("guardlock-tls", map[string][]byte{"tls.crt": cert, "tls.key": key})
	h.secret("guardlock-ops", map[string][]byte{"token": []byte(strings.Repeat("5a", 32))})
	made := &core.ConfigMap{ObjectMeta: meta.ObjectMeta{Name: "guardlock-trust"}, Data: map[string]string{"trust.yaml": trust}}
	if _, err := cluster.client.CoreV1().ConfigMaps(h.namespace).Create(t.Context(), made, meta.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	h.must(h.install(load(t, chartDir), values(t, "testdata/runs.yaml")))
	eventually(t, "there is a pod", func() bool { return len(h.pods()) == 1 })

	pod := h.pods()[0]
	p := startPod(t, &pod, binary)
	container := pod.Spec.Containers[0]
	p.passes(container.StartupProbe)
	p.passes(container.LivenessProbe)
	p.passes(container.ReadinessProbe)
	for _, port := range container.Ports {
		conn, err := p.dial(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", port.ContainerPort))
		if err != nil {
			t.Fatalf("port %s: %v", port.Name, err)
		}
		conn.Close()
	}
	if got := p.shown(); got != first {
		t.Errorf("the gateway shows certificate %s, and its Secret has %s", got, first)
	}

	cert, key, second := certificate(t, 2)
	h.secret("guardlock-tls", map[string][]byte{"tls.crt": cert, "tls.key": key})
	p.bring()
	eventually(t, "the new certificate is shown", func() bool { return p.shown() == second })
	p.end(time.Duration(*pod.Spec.TerminationGracePeriodSeconds) * time.Second)
}

// secret makes a Secret, or gives it other content.
func (h *helm) secret(name string, data map[string][]byte) {
	h.t.Helper()
	secrets := cluster.client.CoreV1().Secrets(h.namespace)
	s := &core.Secret{ObjectMeta: meta.ObjectMeta{Name: name}, Data: data}
	if _, err := secrets.Update(h.t.Context(), s, meta.UpdateOptions{}); err == nil {
		return
	}
	if _, err := secrets.Create(h.t.Context(), s, meta.CreateOptions{}); err != nil {
		h.t.Fatal(err)
	}
}

// running is the one container of a pod, in a file system of its mounts and a network of
// its own.
type running struct {
	t    *testing.T
	pod  *core.Pod
	room *room
	root string // of its file system
	host string // where its volumes are

	cmd     *exec.Cmd
	said    *os.File
	brought int // versions of volumes
}

func startPod(t *testing.T, pod *core.Pod, binary string) *running {
	t.Helper()
	p := &running{t: t, pod: pod, root: filepath.Join(t.TempDir(), "root"), host: filepath.Join(t.TempDir(), "volumes")}
	p.bring()
	p.room = newRoom(t)
	if err := p.room.do(func() error { return p.mount(binary) }); err != nil {
		t.Fatal(err)
	}

	var err error
	if p.said, err = os.Create(filepath.Join(t.TempDir(), "said")); err != nil {
		t.Fatal(err)
	}
	spec := pod.Spec.Containers[0]
	p.cmd = exec.Command("/guardlock", spec.Args...)
	p.cmd.Dir = "/"
	p.cmd.Stdout = p.said
	p.cmd.Stderr = p.said
	for _, e := range spec.Env {
		if e.ValueFrom == nil || e.ValueFrom.FieldRef == nil || e.ValueFrom.FieldRef.FieldPath != "metadata.name" {
			t.Fatalf("where %s comes from is not known here", e.Name)
		}
		p.cmd.Env = append(p.cmd.Env, e.Name+"="+pod.Name)
	}
	as := pod.Spec.SecurityContext
	user := &syscall.Credential{Uid: uint32(*as.RunAsUser), Gid: uint32(*as.RunAsGroup), Groups: []uint32{uint32(*as.FSGroup)}}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: p.root, Credential: user, Pdeathsig: syscall.SIGKILL}
	if err := p.room.do(p.cmd.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		if text, err := os.ReadFile(p.said.Name()); err == nil && t.Failed() {
			t.Logf("the gateway said:\n%s", text)
		}
	})
	return p
}

// bring lays out the volumes as a kubelet does, with what the server holds now: NAME leads
// to ..data/NAME, and ..data to the version that holds. Secrets are root's, and the pod's
// group's to read.
func (p *running) bring() {
	p.t.Helper()
	p.brought++
	for _, v := range p.pod.Spec.Volumes {
		dir := filepath.Join(p.host, v.Name)
		switch {
		case v.ConfigMap != nil:
			m, err := cluster.client.CoreV1().ConfigMaps(p.pod.Namespace).Get(p.t.Context(), v.ConfigMap.Name, meta.GetOptions{})
			if err != nil {
				p.t.Fatal(err)
			}
			data := map[string][]byte{}
			for name, text := range m.Data {
				data[name] = []byte(text)
			}
			p.project(dir, data, os.FileMode(*v.ConfigMap.DefaultMode))
		case v.Secret != nil:
			s, err := cluster.client.CoreV1().Secrets(p.pod.Namespace).Get(p.t.Context(), v.Secret.SecretName, meta.GetOptions{})
			if err != nil {
				p.t.Fatal(err)
			}
			p.project(dir, s.Data, os.FileMode(*v.Secret.DefaultMode))
		case v.EmptyDir != nil, v.PersistentVolumeClaim != nil:
			p.must(os.MkdirAll(dir, 0o777))
			p.must(os.Chown(dir, 0, int(*p.pod.Spec.SecurityContext.FSGroup)))
			p.must(os.Chmod(dir, 0o775|os.ModeSetgid))
		default:
			p.t.Fatalf("volume %s is of a kind that is not known here", v.Name)
		}
	}
}

func (p *running) project(dir string, data map[string][]byte, mode os.FileMode) {
	p.t.Helper()
	version := fmt.Sprintf("..%d", p.brought)
	p.must(os.MkdirAll(filepath.Join(dir, version), 0o755))
	for name, content := range data {
		path := filepath.Join(dir, version, name)
		p.must(os.WriteFile(path, content, mode))
		p.must(os.Chown(path, 0, int(*p.pod.Spec.SecurityContext.FSGroup)))
		p.must(os.Chmod(path, mode|mode>>3&0o040)) // an fsGroup may read what root may
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)); !errors.Is(err, os.ErrExist) {
			p.must(err)
		}
	}
	p.must(os.Symlink(version, filepath.Join(dir, "..data_tmp")))
	p.must(os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
}

func (p *running) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// mount makes the file system of the container, in the mount namespace of its room: the
// binary in a root that is read-only, as the image has it, and what the pod mounts.
func (p *running) mount(binary string) error {
	for _, dir := range []string{"proc", "dev", "etc/guardlock", "var/lib/guardlock", "tmp"} {
		if err := os.MkdirAll(filepath.Join(p.root, dir), 0o755); err != nil {
			return err
		}
	}
	if err := os.Rename(binary, filepath.Join(p.root, "guardlock")); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(p.root, "etc/guardlock/guardlock.yaml"), nil, 0o644); err != nil {
		return err
	}
	mounts := p.pod.Spec.Containers[0].VolumeMounts
	for _, m := range mounts {
		if m.SubPath == "" {
			if err := os.MkdirAll(filepath.Join(p.root, m.MountPath), 0o755); err != nil {
				return err
			}
		}
	}

	if err := syscall.Mount(p.root, p.root, "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("mounting the root: %w", err)
	}
	if err := syscall.Mount("", p.root, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("mounting the root read-only: %w", err)
	}
	for _, m := range mounts {
		if err := bind(filepath.Join(p.host, m.Name, m.SubPath), filepath.Join(p.root, m.MountPath), m.ReadOnly); err != nil {
			return err
		}
	}
	if err := syscall.Mount("proc", filepath.Join(p.root, "proc"), "proc", 0, ""); err != nil {
		return fmt.Errorf("mounting proc: %w", err)
	}
	return bind("/dev", filepath.Join(p.root, "dev"), false)
}

func bind(from, to string, readOnly bool) error {
	from, err := filepath.EvalSymlinks(from) // of a subPath, whose file stays the same
	if err != nil {
		return err
	}
	if err := syscall.Mount(from, to, "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("mounting %s: %w", to, err)
	}
	if !readOnly {
		return nil
	}
	if err := syscall.Mount("", to, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("mounting %s read-only: %w", to, err)
	}
	return nil
}

// dial connects to the pod, from its own network.
func (p *running) dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = p.room.do(func() error {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// passes waits until a probe succeeds, asked as the kubelet asks, which looks at no
// certificate.
func (p *running) passes(probe *core.Probe) {
	p.t.Helper()
	get := probe.HTTPGet
	port := int32(0)
	for _, named := range p.pod.Spec.Containers[0].Ports {
		if named.Name == get.Port.StrVal {
			port = named.ContainerPort
		}
	}

	insecure := &tls.Config{InsecureSkipVerify: true}
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DialContext: p.dial, TLSClientConfig: insecure, DisableKeepAlives: true}}
	url := fmt.Sprintf("%s://127.0.0.1:%d%s", strings.ToLower(string(get.Scheme)), port, get.Path)
	eventually(p.t, "the probe of "+url+" passes", func() bool {
		answer, err := client.Get(url)
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
}

// shown is the serial number of the certificate that clients see; empty where nobody
// answers.
func (p *running) shown() string {
	conn, err := p.dial(p.t.Context(), "tcp", "127.0.0.1:9092")
	if err != nil {
		return ""
	}
	secured := tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	defer secured.Close()
	if err := secured.HandshakeContext(p.t.Context()); err != nil {
		return ""
	}
	return secured.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

// end asks the gateway to end, as a kubelet does, which kills it after the time it has.
func (p *running) end(within time.Duration) {
	p.t.Helper()
	p.must(p.cmd.Process.Signal(syscall.SIGTERM))
	ended := make(chan error, 1)
	go func() { ended <- p.cmd.Wait() }()
	select {
	case err := <-ended:
		p.must(err)
	case <-time.After(within):
		p.t.Errorf("it did not end within %s", within)
	}
}

// trustRoot is one with a single approver.
func trustRoot(t *testing.T, binary string) string {
	t.Helper()
	dir := t.TempDir()
	for _, args := range [][]string{
		{"keygen", "--no-password", "--out", "ada"}, {"keygen", "--no-password", "--out", "grace"},
		{"module", "trust-root", "--author", "ada=ada.pub", "--approver", "grace=grace.pub", "--out", "trust.yaml"},
	} {
		cmd := exec.Command(binary, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("guardlock %s: %v\n%s", args, err, out)
		}
	}

	text, err := os.ReadFile(filepath.Join(dir, "trust.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func certificate(t *testing.T, serial int64) (cert, key []byte, number string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "guardlock"}, DNSNames: []string{"guardlock"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(48 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), template.SerialNumber.String()
}

//go:build linux && (amd64 || arm64)

package segment

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// testRing is nil on a system that allows no direct writes.
func testRing(t testing.TB) *ring {
	t.Helper()
	r := newRing()
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})

	return r
}

// What was appended past the page cache is there for readers that go through
// it, from the moment append returns, whatever they had read before.
func TestDirectAppendsAreThereForReaders(t *testing.T) {
	d := Disk{Dir: t.TempDir(), ring: testRing(t)}
	f, err := d.Create("appended")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Reserve(8 << 20); err != nil {
		t.Fatal(err)
	}

	r := rand.New(rand.NewPCG(3, 9))
	want := make([]byte, 8<<20)
	for i := range want {
		want[i] = byte(r.Uint32() | 1)
	}

	var there atomic.Int64
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for seed := range uint64(2) {
		readers.Go(func() { keepReading(t, filepath.Join(d.Dir, "appended"), seed, want, &there, stop) })
	}

	off := int64(0)
	for off < 6<<20 {
		n := 1 + r.Int64N(1<<(3+r.Int64N(12)))
		if r.IntN(100) == 0 {
			n += 1 << 20
		}
		if err := f.AppendDurable(want[off:off+n], off); err != nil {
			t.Fatal(err)
		}

		off += n
		there.Store(off)
		if r.IntN(50) == 0 { // as after a restart
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			if f, err = d.Open("appended", true); err != nil {
				t.Fatal(err)
			}
		}
	}

	close(stop)
	readers.Wait()
	got, err := os.ReadFile(filepath.Join(d.Dir, "appended"))
	if err != nil || !bytes.Equal(got[:off], want[:off]) || bytes.ContainsFunc(got[off:], func(r rune) bool { return r != 0 }) {
		t.Errorf("the file is not what was appended and zeros: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// keepReading reads what is there, as the log's readers do, until stop is closed.
func keepReading(t *testing.T, path string, seed uint64, want []byte, there *atomic.Int64, stop <-chan struct{}) {
	f, err := os.Open(path)
	if err != nil {
		t.Error(err)
		return
	}

	defer f.Close()
	r := rand.New(rand.NewPCG(seed, 1))
	got := make([]byte, 64<<10)
	for {
		select {
		case <-stop:
			return
		default:
		}

		n := there.Load()
		from := max(0, n-r.Int64N(int64(len(got))))
		if _, err := f.ReadAt(got[:n-from], from); err != nil || !bytes.Equal(got[:n-from], want[from:n]) {
			t.Errorf("bytes %d to %d are not what was appended: %v", from, n, err)
			return
		}
	}
}

// Where the system and the file system take such writes, a log commits by them.
func TestLogCommitsPastThePageCacheWhereItCan(t *testing.T) {
	d, err := OpenDisk(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}

	defer d.CloseFiles()
	f, err := d.Create("log")
	if err != nil {
		t.Fatal(err)
	}

	defer f.Close()
	var context uintptr
	if _, _, errno := unix.Syscall(unix.SYS_IO_SETUP, 1, uintptr(unsafe.Pointer(&context)), 0); errno != 0 {
		t.Logf("not here: %v", errno)
		return
	}

	unix.Syscall(unix.SYS_IO_DESTROY, context, 0, 0)
	probe, err := os.OpenFile(filepath.Join(d.Dir, "probe"), os.O_CREATE|os.O_RDWR|unix.O_DIRECT, 0o600)
	if err == nil {
		defer probe.Close()
		_, err = unix.Pwritev2(int(probe.Fd()), [][]byte{alignedBytes(directBlock)}, 0, unix.RWF_DSYNC)
	}

	if err != nil {
		t.Logf("not here: %v", err)
		return
	}

	if err := f.AppendDurable([]byte("frame"), 0); err != nil {
		t.Fatal(err)
	}
	if direct := f.(diskFile).direct; direct == nil || direct.failed || direct.end != 5 {
		t.Errorf("the log went through the page cache: %+v", direct)
	}
}

// A file that takes no direct writes is written through the page cache from
// the first append on; any other failure is one of the log.
func TestDirectWriteThatFails(t *testing.T) {
	r := testRing(t)
	if r == nil {
		return // nothing to fail
	}

	path := filepath.Join(t.TempDir(), "log")
	cached, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}

	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}

	f := diskFile{cached, &directFile{ring: r, file: os.NewFile(uintptr(fd), "takes no writes at an offset")}, nil, identity{}}
	for off, text := range []string{"a", "b"} {
		if err := f.AppendDurable([]byte(text), int64(off)); err != nil {
			t.Fatal(err)
		}
	}

	if got, err := os.ReadFile(path); err != nil || string(got) != "ab" || !f.direct.failed {
		t.Errorf("the file holds %q: %v", got, err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}

	cached, err = os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}

	readOnly, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}

	f = diskFile{cached, &directFile{ring: r, file: readOnly}, nil, identity{}}
	defer f.Close()
	if err := f.AppendDurable([]byte("c"), 2); !errors.Is(err, unix.EBADF) {
		t.Errorf("a write that failed gives %v", err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "ab" {
		t.Errorf("the file holds %q: %v", got, err)
	}
}

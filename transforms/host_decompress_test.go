package transforms

import (
	"bytes"
	"compress/gzip"
	"strings"
	"testing"

	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// packings pack as any other program does, by the host function that unpacks it.
var packings = map[string]func(testing.TB, []byte) []byte{
	"gunzip": func(tb testing.TB, p []byte) []byte {
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		return closed(tb, &out, w, p)
	},
	"unlz4": func(tb testing.TB, p []byte) []byte {
		var out bytes.Buffer
		w := lz4.NewWriter(&out)
		return closed(tb, &out, w, p)
	},
	"unsnappy": func(_ testing.TB, p []byte) []byte { return snappy.Encode(nil, p) },
	"unzstd": func(tb testing.TB, p []byte) []byte {
		w, err := zstd.NewWriter(nil)
		if err != nil {
			tb.Fatal(err)
		}
		defer w.Close()
		return w.EncodeAll(p, nil)
	},
}

func closed(tb testing.TB, out *bytes.Buffer, w interface {
	Write(p []byte) (int, error)
	Close() error
}, p []byte) []byte {
	tb.Helper()
	if _, err := w.Write(p); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}

	return out.Bytes()
}

func TestDecompressingHostFunctions(t *testing.T) {
	value := strings.Repeat("compress me, ", 100)
	for name, pack := range packings {
		packed := string(pack(t, []byte(value)))
		name = "guardlock_compress." + name
		room := func(n int) []byte { return cat(firstValue(), i32c(hostOut), i32c(int32(n))) }

		got, err := runHost(t, name, hostGuest(name, typFour, room(len(value)), 0), packed)
		if err != nil || string(got) != value {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}

		for rule, c := range map[string]struct {
			value string
			args  []byte
			want  int32
		}{
			"OneByteShort":     {packed, room(len(value) - 1), hostTooSmall},
			"NoRoom":           {packed, room(0), hostTooSmall},
			"HugeRoom":         {packed, room(-1), int32(len(value))},
			"Cut":              {packed[:len(packed)-5], room(4096), hostFailed},
			"Garbage":          {"\xff" + packed[1:], room(4096), hostFailed},
			"Nothing":          {"", room(4096), hostFailed},
			"InputOutOfMemory": {packed, cat(i32c(-1), i32c(10), i32c(hostOut), i32c(4096)), hostBadArguments},
			"InputTooLong":     {packed, cat(i32c(0), i32c(maxHostBytes+1), i32c(hostOut), i32c(4096)), hostBadArguments},
			"OutputOut":        {packed, cat(firstValue(), i32c(-4), i32c(4096)), hostBadArguments},
		} {
			t.Run(name+"/"+rule, func(t *testing.T) {
				if err := runHere(t, name, expectResult(name, typFour, c.args, c.want), c.value); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// A small value that would become a very large one costs no more than what a call may
// decompress to.
func TestDecompressionBombsAreStopped(t *testing.T) {
	const bomb = 64 << 20
	for name, decode := range map[string]func(*instance, []byte, int) ([]byte, error){
		"gunzip": gunzipBytes, "unlz4": unlz4Bytes, "unsnappy": unsnappyBytes, "unzstd": unzstdBytes,
	} {
		packed := packings[name](t, make([]byte, bomb))
		i := &instance{}
		out, err := decode(i, packed, maxUnpacked)
		if err != errTooSmall || out != nil || cap(i.scratch) > 2*maxUnpacked {
			t.Errorf("%s: %d bytes and %v, with %d bytes of scratch", name, len(out), err, cap(i.scratch))
		}

		// It works again afterwards.
		if out, err = decode(i, packings[name](t, []byte("next")), maxUnpacked); err != nil || string(out) != "next" {
			t.Errorf("%s: behind a bomb comes %q, %v", name, out, err)
		}
	}
}

func FuzzDecompress(f *testing.F) {
	for _, pack := range packings {
		f.Add(pack(f, []byte("a value, a value, a value")))
	}

	f.Fuzz(func(t *testing.T, packed []byte) {
		const most = 1 << 10
		i := &instance{}
		for name, decode := range map[string]func(*instance, []byte, int) ([]byte, error){
			"gunzip": gunzipBytes, "unlz4": unlz4Bytes, "unsnappy": unsnappyBytes, "unzstd": unzstdBytes,
		} {
			out, err := decode(i, packed, most)
			if len(out) > most || err != nil && out != nil {
				t.Errorf("%s: %d bytes, %v", name, len(out), err)
			}
		}
	})
}

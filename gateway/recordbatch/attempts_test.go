package recordbatch

import (
	"fmt"
	"slices"
	"testing"
)

// TestWhatGrewIsCompressedUnlessItIsToStayPlain: a batch that no longer fits is
// given up only when no codec that it may have makes it small enough.
func TestWhatGrewIsCompressedUnlessItIsToStayPlain(t *testing.T) {
	same := EncodeOptions{KeepCompression: true}
	for _, tc := range []struct {
		name string
		o    EncodeOptions
		came Compression
		zstd bool
		want []string
	}{
		{"plain", same, None, true, []string{"none 0", "gzip 0", "zstd 0", "zstd 1", "zstd 2"}},
		{"plain from before zstd", same, None, false, []string{"none 0", "gzip 0", "gzip 1", "gzip 2"}},
		{"gzip", same, Gzip, true, []string{"gzip 0", "gzip 1", "gzip 2"}},
		{"plain to snappy", EncodeOptions{Compression: Snappy}, None, true, []string{"snappy 0", "snappy 1", "snappy 2"}},
		{"plain to plain", EncodeOptions{Compression: None}, None, true, []string{"none 0"}},
		{"zstd to plain", EncodeOptions{Compression: None}, Zstd, true, []string{"none 0"}},
	} {
		h := Header{Attributes: int16(tc.came)}
		var got []string
		for o := range tc.o.Attempts(h, tc.zstd) {
			got = append(got, fmt.Sprint(o.codec(h), " ", o.Level))
		}

		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

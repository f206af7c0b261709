package transforms

import (
	"os"
	"testing"

	"github.com/guardlock/guardlock/transforms/record"
)

func TestSmoke(t *testing.T) {
	wasm, err := os.ReadFile("modules/uppercase/uppercase.wasm")
	if err != nil {
		t.Fatal(err)
	}
	r, _ := New(Config{})
	m, err := r.Load(t.Context(), Spec{Name: "u", Wasm: wasm})
	if err != nil {
		t.Fatal(err)
	}
	b := &record.Batch{Data: []byte("hello world")}
	b.InputLen = len(b.Data)
	b.Records = []record.Record{{Key: record.Null, Value: record.Span{Off: 0, Len: 5}}, {Key: record.Null, Value: record.Span{Off: 6, Len: 5}}}
	if err := NewChain(m).Run(t.Context(), b, Origin{}); err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v %q", b.Records, b.Data)
}

package wire

import (
	"fmt"
	"math/rand/v2"
	"reflect"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// filler fills kmsg structures with random content, so that a test can meet
// every field of every version. visit may override what a string field gets.
type filler struct {
	rng   *rand.Rand
	visit func(path string) (string, bool)
}

func newFiller(seed uint64) *filler { return &filler{rng: rand.New(rand.NewPCG(seed, 1))} }

func (f *filler) fill(v any) { f.value(reflect.ValueOf(v).Elem(), "") }

func (f *filler) value(v reflect.Value, path string) {
	if tags, ok := v.Addr().Interface().(*kmsg.Tags); ok {
		if f.rng.IntN(4) == 0 {
			tags.Set(100+uint32(f.rng.IntN(20)), []byte("later"))
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if name := v.Type().Field(i).Name; name != "Version" {
				f.value(v.Field(i), path+"."+name)
			}
		}
	case reflect.Pointer:
		if f.rng.IntN(4) != 0 || f.visit != nil {
			v.Set(reflect.New(v.Type().Elem()))
			f.value(v.Elem(), path)
		}
	case reflect.Slice:
		f.slice(v, path)
	case reflect.Array:
		for i := range v.Len() {
			f.value(v.Index(i), path)
		}
	default:
		f.scalar(v, path)
	}
}

func (f *filler) slice(v reflect.Value, path string) {
	n := f.rng.IntN(4)
	if f.visit != nil {
		n = 1 + f.rng.IntN(2) // every field must be met
	}

	s := reflect.MakeSlice(v.Type(), n, n)
	for i := range n {
		f.value(s.Index(i), path)
	}
	v.Set(s)
}

func (f *filler) scalar(v reflect.Value, path string) {
	switch v.Kind() {
	case reflect.String:
		if f.visit != nil {
			if s, ok := f.visit(path); ok {
				v.SetString(s)
				return
			}
		}
		v.SetString(fmt.Sprintf("s%d", f.rng.IntN(1000)))
	case reflect.Bool:
		v.SetBool(f.rng.IntN(2) == 0)
	case reflect.Float64:
		v.SetFloat(f.rng.Float64())
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		v.SetUint(uint64(f.rng.IntN(100)))
	default:
		v.SetInt(int64(f.rng.IntN(100)))
	}
}

// servedRequests calls fn for every served API and version with a filled request.
func servedRequests(seed uint64, fn func(api API, version int16, req kmsg.Request)) {
	for _, api := range Table() {
		if api.Handling == Refuse {
			continue
		}
		for v := api.Min; v <= api.Max; v++ {
			req := api.Key.Request()
			req.SetVersion(v)
			newFiller(seed + uint64(v)).fill(req)
			fn(api, v, req)
		}
	}
}

// responseFrame encodes a response with its header.
func responseFrame(correlation int32, resp kmsg.Response) []byte {
	dst := AppendResponseHeader(nil, kmsg.Key(resp.Key()), resp.GetVersion(), correlation)
	return resp.AppendTo(dst)
}

// requestFrame encodes a request with its header, by kmsg alone.
func requestFrame(correlation int32, req kmsg.Request) []byte {
	f := kmsg.NewRequestFormatter(kmsg.FormatterClientID("client"))
	return f.AppendRequest(nil, req, correlation)[4:]
}

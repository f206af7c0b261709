package transforms

import (
	"strings"
	"testing"

	"github.com/guardlock/guardlock/transforms/record"
)

const (
	jsonFind    = "guardlock_json.find"
	jsonReplace = "guardlock_json.replace"
	typSix      = typCount // of jsonGuest
	jsonPathAt  = 2 << 20  // where these guests have their path and their new value
	jsonPath    = "$..b"
	jsonNew     = `"**"`
)

const jsonText = `{"a":{"b":"secret","c":[{"b":{"b":7}}]},"b":null}`

// jsonGuest is a guest of six parameters more, which has a path and a new value in its
// memory.
func jsonGuest(a asm) asm {
	a.types = [][]byte{funcType0(6, 1)}
	var put []byte
	for n, c := range []byte(jsonPath + jsonNew) {
		put = cat(put, i32c(jsonPathAt+int32(n)), i32c(int32(c)), op(0x3a, 0, 0))
	}
	a.transform = cat(put, a.transform)
	return a
}

func jsonFindArgs(room int32) []byte {
	return cat(firstValue(), i32c(jsonPathAt), i32c(int32(len(jsonPath))), i32c(hostOut), i32c(room))
}

func jsonReplaceArgs(room int32) []byte {
	return cat(firstValue(), i32c(jsonPathAt), i32c(int32(len(jsonPath))), i32c(jsonPathAt+int32(len(jsonPath))), i32c(int32(len(jsonNew))),
		i32c(hostOut), i32c(room))
}

func TestJSONFindTellsEachPlace(t *testing.T) {
	got, err := runHost(t, jsonFind, jsonGuest(hostGuest(jsonFind, typSix, jsonFindArgs(32), 32)), jsonText)
	want := "\x0a\x00\x00\x00\x08\x00\x00\x00" + "\x1d\x00\x00\x00\x07\x00\x00\x00" + "\x22\x00\x00\x00\x01\x00\x00\x00" + "\x2c\x00\x00\x00\x04\x00\x00\x00"
	if err != nil || string(got) != want {
		t.Errorf("got % x, %v", got, err)
	}
}

// What replace answers is given as the record's value, as it is.
func TestJSONReplaceAnswersEdits(t *testing.T) {
	code := cat(i32c(hostOut-4), jsonReplaceArgs(48), call(0), store32(0), setOut(0, descFlags, flagEdits), setOut(0, descValue, hostOut),
		frameField(frameOutDescs), i32c(hostOut-4), load32(0), i32c(editSize), op(0x6c), store32(descValue+4))
	a := jsonGuest(asm{imports: [][]byte{importFunc("guardlock_json", "replace", typEight)}, pages: 64, transform: tampered(code)})

	spec := Spec{Wasm: a.wasm(), Grant: Grant{HostFunctions: []string{jsonReplace}}}
	b, err := runBothWays(t, spec, func() *record.Batch { return values(jsonText) }, Origin{Topic: hostTopic})
	if err != nil {
		t.Fatal(err)
	}
	if r := b.Records[0]; string(b.Bytes(r.Value)) != `{"a":{"b":"**","c":[{"b":"**"}]},"b":"**"}` || r.Verdict != record.Modified {
		t.Errorf("%s %s", r.Verdict, b.Bytes(r.Value))
	}
}

func TestJSONFunctionsRefuseWhatIsNotForThem(t *testing.T) {
	for _, c := range []struct {
		rule, value string
		typ         uint32
		args        []byte
		want        int32
	}{
		{"FindNothing", `{"a":[]}`, typSix, jsonFindArgs(32), 0},
		{"FindOneByteShort", jsonText, typSix, jsonFindArgs(31), hostTooSmall},
		{"FindInNoJSON", `{"b":01}`, typSix, jsonFindArgs(32), hostFailed},
		{"FindOutputOut", jsonText, typSix, cat(firstValue(), i32c(jsonPathAt), i32c(4), i32c(-4), i32c(64)), hostBadArguments},
		{"FindPathOut", jsonText, typSix, cat(firstValue(), i32c(-4), i32c(4), i32c(hostOut), i32c(64)), hostBadArguments},
		{"FindNoPath", jsonText, typSix, cat(firstValue(), i32c(jsonPathAt), i32c(3), i32c(hostOut), i32c(64)), hostBadArguments},
		{"FindPathTooLong", jsonText, typSix, cat(firstValue(), i32c(jsonPathAt), i32c(2000), i32c(hostOut), i32c(64)), hostBadArguments},
		{"FindTextOut", jsonText, typSix, cat(i32c(-1), i32c(9), i32c(jsonPathAt), i32c(4), i32c(hostOut), i32c(64)), hostBadArguments},
		{"FindTextTooLong", jsonText, typSix, cat(i32c(0), i32c(maxHostBytes+1), i32c(jsonPathAt), i32c(4), i32c(hostOut), i32c(64)), hostBadArguments},
		{"ReplaceThree", jsonText, typEight, jsonReplaceArgs(48), 3},
		{"ReplaceOneByteShort", jsonText, typEight, jsonReplaceArgs(47), hostTooSmall},
		{"ReplaceByNoJSON", jsonText, typEight, cat(firstValue(), i32c(jsonPathAt), i32c(4), i32c(jsonPathAt+4), i32c(3), i32c(hostOut), i32c(64)), hostBadArguments},
		{"ReplaceByNothing", jsonText, typEight, cat(firstValue(), i32c(jsonPathAt), i32c(4), i32c(0), i32c(0), i32c(hostOut), i32c(64)), hostBadArguments},
	} {
		t.Run(c.rule, func(t *testing.T) {
			name := jsonFind
			if c.typ == typEight {
				name = jsonReplace
			}
			if err := runHere(t, name, jsonGuest(expectResult(name, c.typ, c.args, c.want)), c.value); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestJSONFunctionsNeedTheirGrant(t *testing.T) {
	a := jsonGuest(expectResult(jsonFind, typSix, jsonFindArgs(32), 0))
	_, err := newRuntime(t, Config{}).Load(t.Context(), Spec{Name: "guest", Wasm: a.wasm(), Grant: Grant{HostFunctions: []string{jsonReplace}}})
	if err == nil || !strings.Contains(err.Error(), `"guardlock_json.find" is not granted`) {
		t.Errorf("got %v", err)
	}
}

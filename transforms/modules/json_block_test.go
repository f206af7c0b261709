package modules_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/guardlock/guardlock/transforms/record"
)

// blockConfig has the guest skip what is at $.x, in blocks of 64 bytes, and then find
// what is behind it.
const blockConfig = `{"rules":[{"path":"$.zzz","action":"mask"}]}`

// blockTexts have all that a container may hold, and white space in all places.
var blockTexts = []string{
	`[{"sku":"BOOK-00123","quantity":3,"price":19.99,"notes":"leave with the neighbour"},{"sku":"a","ok":true,"n":null}]`,
	`{"a":[],"b":{},"c":[[],{}],"d":{"e":[1,2.5,{"f":"g"},[-0.5e+10,1E5,-7]],"":""},"h":[false,"",0]}`,
	`{ "a" : [ 1 , 2 ] , "b" : { "c" : "d" , "e" : [ ] } , "f" : { } , "g" : [ { } , null , "x" ] }`,
	"{\n\t\"a\": [\n\t\t10.25,\r\n\t\t{\"b\": \"c\"},\n\t\t[]\n\t],\n\t\"k\": -1\n}",
	`["\"","\\","\\\"","a\\\\\"b",{"k\"":"\u00e9\ud83d\ude00\/\b\f\n\r\t"},"` + strings.Repeat(`\\`, 40) + `"]`,
	`["straße ✓","` + strings.Repeat("日本", 15) + `",{"é":"` + strings.Repeat("x", 70) + `"},1234567890123456789012345678901234567890]`,
	strings.Repeat(`[`, 30) + strings.Repeat(`{"a":[`, 20) + `1` + strings.Repeat(`]}`, 20) + strings.Repeat(`]`, 30),
	`[` + strings.Repeat(" ", 130) + `1` + strings.Repeat("\n", 70) + `,[0` + strings.Repeat(" ", 61) + `],{"a"` + strings.Repeat("\t", 64) + `:0.0}]`,
	`["` + strings.Repeat("long ", 50) + `",{"` + strings.Repeat("key", 50) + `":[{"a":1},{"b":2}]}]`,
	`[` + strings.Repeat(`1,`, 40) + `2]`,
	listOf(4, 26, `{"a":"%s"}`),
	listOf(0, 7, `{"k":1.5,"%s":{"e":[],"b":[{"c":true},{"d":-1}]},"n":12}`),
	listOf(0, 9, `{},[],[[12,3],["%s"]],{"":{}},{"a":[{}]}`),
	`[` + strings.Repeat(`0,`, 40) + `[1,[2,[3,[4,{"a":[5]}]]]],` + strings.Repeat("7", 90) + `,1e` + strings.Repeat("9", 64) + `,0.5]`,
}

// listOf is a list of elements in which texts of all these lengths stand, so that they begin
// and end anywhere in a block.
func listOf(from, to int, element string) string {
	var elements []string
	for n := from; n < to; n++ {
		elements = append(elements, fmt.Sprintf(element, strings.Repeat("x", n)))
	}
	return "[" + strings.Join(elements, ",") + "]"
}

// readsBlock checks that the guest takes a text at $.x for what others take it.
func readsBlock(t *testing.T, g *guest, texts ...string) {
	t.Helper()
	recs := make([]input, len(texts))
	for n, text := range texts {
		recs[n].value = []byte(`{"x":` + text + `,"zzz":"secret"}`)
	}

	for n, out := range g.run(t, recs...) {
		whole := recs[n].value
		valid := json.Valid(whole) && utf8.Valid(whole)
		if tree := parseTree(whole); valid && tree.depth() > 128 {
			valid = false
		}
		if rejected := out.verdict == record.Rejected; rejected == valid {
			t.Fatalf("rejected is %v: %q", rejected, whole)
		}

		want := strings.TrimSuffix(string(whole), `"secret"}`) + `"******"}`
		if valid && json.Valid([]byte(texts[n])) && string(out.value) != want {
			t.Fatalf("%q became %q", whole, out.value)
		}
	}
}

// Wherever a text lies in blocks of 64 bytes, whichever byte of it is another one: it is
// accepted where encoding/json accepts it, and nowhere else.
func TestContainersInBlocksAreReadAsOthersReadThem(t *testing.T) {
	g := mustOpen(t, "gdpr", blockConfig)
	others := []byte("\"\\{}[],:0a1.-+eE tu\n\x00\x1f/Y_y\x7f\x80\xc3")
	for _, text := range blockTexts {
		for shift := -13; shift < 64; shift += 13 {
			shifted := text
			if shift >= 0 {
				shifted = `["` + strings.Repeat("s", shift) + `",` + text + `]`
			}
			texts := []string{shifted}
			for at := range shifted {
				for _, c := range others {
					texts = append(texts, shifted[:at]+string([]byte{c})+shifted[at+1:])
				}
				texts = append(texts, shifted[:at]+shifted[at+1:], shifted[:at])
			}

			for some := range slices.Chunk(texts, 5000) {
				readsBlock(t, g, some...)
			}
		}
	}
}

// randomJSON is a value of what blocks tell apart: lists of objects that follow each other,
// other containers, strings longer than a block, and white space here and there.
func randomJSON(r *rand.Rand, depth int) string {
	one := func(of ...string) string { return of[r.IntN(len(of))] }
	white := func() string { return strings.Repeat(one(" ", "\n"), max(0, r.IntN(60)-57)) }

	kind := r.IntN(6)
	if depth == 0 || kind > 2 {
		text := `"` + strings.Repeat("t", r.IntN(20)*r.IntN(6)) + `"`
		return white() + one("0", "12.5", "0.25", "true", "-1e5", "null", `"é\""`, text, text) + white()
	}

	var parts []string
	for range r.IntN(7) {
		member := one(`"a":`, `"b c":`, `"":`) + randomJSON(r, depth-1)
		switch kind {
		case 0:
			parts = append(parts, `{`+member+`,"n":`+one("1", "2.25", `"s"`)+`}`)
		case 1:
			parts = append(parts, member)
		default:
			parts = append(parts, randomJSON(r, depth-1))
		}
	}

	if kind == 1 {
		return white() + "{" + strings.Join(parts, ",") + "}" + white()
	}
	return white() + "[" + strings.Join(parts, ",") + "]" + white()
}

// Whatever tokens are put into a container or taken from it: it is accepted where
// encoding/json accepts it.
func TestContainersInBlocksWithTokensAnywhere(t *testing.T) {
	g := mustOpen(t, "gdpr", blockConfig)
	r := rand.New(rand.NewPCG(1, 2))
	tokens := []string{
		"{", "}", "[", "]", ",", ":", `"a"`, `"k":`, "1", "1.5", "0", ".", "true", "-1", "},{", "],[", " ", "\n", `"`, `\`, "[]", "{}",
		`{"a":1}`, `{"x":"y","z":2.5}`, `[1,2]`, `"` + strings.Repeat("s", 60) + `"`, "é", strings.Repeat(" ", 63), "",
	}

	for range 12 {
		var texts []string
		for len(texts) < 3000 {
			text := "[" + randomJSON(r, 4) + "," + randomJSON(r, 3) + "]"
			texts = append(texts, text)
			for range 8 {
				mangled := text
				for range 1 + r.IntN(2) {
					at := r.IntN(min(len(mangled), 2<<r.IntN(10)) + 1)
					to := min(len(mangled), at+r.IntN(3))
					mangled = mangled[:at] + tokens[r.IntN(len(tokens))] + mangled[to:]
				}

				texts = append(texts, mangled)
			}
		}
		readsBlock(t, g, texts...)
	}
}

// A container may be 128 deep, whatever is around the place where a scan begins.
func TestContainersInBlocksAreAsDeepAsOthers(t *testing.T) {
	g := mustOpen(t, "gdpr", blockConfig)
	for _, depth := range []int{1, 60, 61, 62, 63, 64, 65, 126, 127, 128, 129} {
		readsBlock(t, g, strings.Repeat("[", depth)+strings.Repeat("]", depth),
			strings.Repeat(`{"a":`, depth)+"1"+strings.Repeat("}", depth),
			strings.Repeat(`[0,`, depth)+`{"x":[]}`+strings.Repeat("]", depth))
	}
}

// Text is read 256 and 64 bytes at a time while it is ASCII: wherever it stops to be that,
// it is UTF-8 or refused.
func TestOtherTextThanASCIIIsFoundAnywhere(t *testing.T) {
	g := mustOpen(t, "gdpr", blockConfig)
	plain := `"` + strings.Repeat("x", 600) + `"`
	var texts []string
	for at := 1; at < len(plain)-1; at++ {
		for _, other := range []string{"é", "日", "😀", "\x80", "\xc3", "\xff", "\xed\xa0\x80", "\xf4\x90\x80\x80"} {
			texts = append(texts, plain[:at]+other+plain[at:])
		}
	}
	readsBlock(t, g, texts...)
}

func FuzzContainersInBlocks(f *testing.F) {
	g := mustOpen(f, "gdpr", blockConfig)
	for n, text := range blockTexts {
		f.Add(text, uint8(n*9))
	}

	f.Fuzz(func(t *testing.T, text string, shift uint8) {
		if len(text) > 1<<16 || strings.Contains(text, "zzz") || strings.Contains(text, `\u`) {
			return // a member that the rule knows may be in it, in other words
		}
		readsBlock(t, g, text, `["`+strings.Repeat("s", int(shift%64))+`",`+text+`]`)
	})
}

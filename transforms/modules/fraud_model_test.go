package modules_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/guardlock/guardlock/transforms/record"
)

const (
	modelTolerance = 1e-9 // between the module's score and the trainer's
	modelFixtures  = "fraud/testdata/lightgbm"
)

// modelConfig is a configuration of a model alone, which no score is too high for.
func modelConfig(model []byte) string {
	return `{"threshold":1000000,"on_wrong_type":"reject","model":` + string(model) + `}`
}

// scored is a record and what the trainer scores it.
type scored struct {
	Record json.RawMessage
	Score  float64
}

// What LightGBM scored, the module scores: missing values of every kind, categories,
// and numbers of every size. testdata/train.py made the rows.
func TestFraudModelScoresAsItsTrainer(t *testing.T) {
	checkModels(t, modelFixtures, 4, 300)
}

// What scikit-learn scored, the module scores, though one of its trainers sees numbers
// of 32 bits only. testdata/train_sklearn.py made the rows.
func TestFraudModelScoresAsScikitLearn(t *testing.T) {
	checkModels(t, "fraud/testdata/sklearn", 3, 300)
}

// checkModels holds all models of a folder, of which there are count, against their rows.
func checkModels(t *testing.T, folder string, count, least int) {
	t.Helper()
	models, err := filepath.Glob(filepath.Join(folder, "*.model.json"))
	if err != nil || len(models) != count {
		t.Fatalf("%d models in %s (%v), want %d", len(models), folder, err, count)
	}

	for _, path := range models {
		name := strings.TrimSuffix(path, ".model.json")
		t.Run(filepath.Base(name), func(t *testing.T) {
			model, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}

			g := mustOpen(t, "fraud", modelConfig(model))
			if rows := checkRows(t, g, name+".rows.jsonl"); rows < least {
				t.Errorf("%d rows, want %d", rows, least)
			}
		})
	}
}

// checkRows compares all scores of a file, and says how many they are.
func checkRows(t *testing.T, g *guest, path string) int {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()

	const batch = 1000
	var waiting []scored
	n := 0
	worst := 0.0
	flush := func() {
		inputs := make([]input, len(waiting))
		for i, s := range waiting {
			inputs[i].value = s.Record
		}
		for i, out := range g.run(t, inputs...) {
			got := modelScore(t, out)
			worst = max(worst, math.Abs(got-waiting[i].Score))
			if !(math.Abs(got-waiting[i].Score) <= modelTolerance) {
				t.Fatalf("row %d: %.15f, want %.15f for %s", n+i, got, waiting[i].Score, waiting[i].Record)
			}
		}
		n += len(waiting)
		waiting = waiting[:0]
	}

	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var s scored
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			t.Fatal(err)
		}
		if waiting = append(waiting, s); len(waiting) == batch {
			flush()
		}
	}

	flush()
	t.Logf("%d rows, at most %.1e apart", n, worst)
	return n
}

// modelScore is the score in a verdict.
func modelScore(t *testing.T, out output) float64 {
	t.Helper()
	_, text, ok := strings.Cut(string(out.headers), ";model=")
	score, err := strconv.ParseFloat(text, 64)
	if !ok || err != nil || out.verdict != record.Modified {
		t.Fatalf("%s (%s) with headers %q: %v", out.verdict, out.reason, out.headers, err)
	}
	return score
}

// The module reads a number as the nearest double, as every trainer does: a
// threshold that is one bit off sends a value the other way.
func TestFraudReadsNumbersAsDoubles(t *testing.T) {
	leaf := `{"format":"guardlock_trees_v1","points":1,"features":[{"path":"$.x"}],"trees":[[[0,%s,1,2,"nan_right",0],0,40]]}`
	r := newRuntime(t)
	for _, text := range numberTexts() {
		x, err := strconv.ParseFloat(text, 64)
		if err != nil || math.Abs(x) < 1e-34 && x != 0 {
			t.Fatalf("%s is no number for this test: %v", text, err)
		}

		g, err := open(t, r, "fraud", modelConfig(fmt.Appendf(nil, leaf, text)))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		for _, near := range []float64{math.Nextafter(x, math.Inf(-1)), x, math.Nextafter(x, math.Inf(1))} {
			if math.IsInf(near, 0) || math.Abs(near) < 1e-35 {
				continue // no number, or 0 to the module
			}
			spelled := strconv.FormatFloat(near, 'g', -1, 64)
			goesLeft := modelScore(t, g.run(t, input{value: []byte(`{"x":` + spelled + `}`)})[0]) == 0.5
			if goesLeft != (near <= x) {
				t.Errorf("%s against %s goes left: %v", spelled, text, goesLeft)
			}
		}
	}
}

// numberTexts are numbers that are easily read wrongly.
func numberTexts() []string {
	texts := []string{
		"0", "-0.0", "1e22", "1e23", "8.988465674311580e307", "1.7976931348623157e308", "1.7976931348623158e308",
		"9007199254740993", "9007199254740992.9999999999999999999999999", "9007199254740993.00000000000000000000000000001",
		"0.1", "0.30000000000000004", "-123456789012345678901234567890", "1e-30", "4.35", "2.2250738585072014e-30",
		"1" + strings.Repeat("0", 300), "0." + strings.Repeat("0", 25) + strings.Repeat("123456789", 100),
		"9007199254740993." + strings.Repeat("0", 900) + "1", "9007199254740993" + strings.Repeat("0", 200) + "e-200",
	}
	for i := range 60 {
		x := math.Ldexp(float64(1<<53-1-i*7919), i*29%900-80)
		texts = append(texts, strconv.FormatFloat(x, 'e', 16+i%3, 64))
	}

	return texts
}

// What a model must be, the module says before it sees a record.
func TestFraudRefusesModelsItCannotScore(t *testing.T) {
	const tree = `[[0,1,1,2,"nan_left",0],0,1]`
	model := func(more, features, trees string) string {
		return `{"format":"guardlock_trees_v1","points":10,"features":` + features + `,"trees":` + trees + more + `}`
	}
	const feature = `[{"path":"$.x"}]`
	r := newRuntime(t)
	if _, err := open(t, r, "fraud", modelConfig([]byte(model("", feature, "["+tree+"]")))); err != nil {
		t.Fatal(err)
	}

	for name, bad := range map[string]string{
		"another format":          strings.Replace(model("", feature, "["+tree+"]"), "v1", "v2", 1),
		"no trees":                model("", feature, `[]`),
		"an empty tree":           model("", feature, `[[]]`),
		"no features":             model("", `[]`, "["+tree+"]"),
		"a feature of no path":    model("", `[{}]`, "["+tree+"]"),
		"an unknown option":       model(`,"average":true`, feature, "["+tree+"]"),
		"a negative sigmoid":      model(`,"sigmoid":-1`, feature, "["+tree+"]"),
		"a feature beyond them":   model("", feature, `[[[1,1,1,2,"nan_left",0],0,1]]`),
		"a child before it":       model("", feature, `[[[0,1,0,2,"nan_left",0],0,1]]`),
		"a child beyond the tree": model("", feature, `[[[0,1,1,3,"nan_left",0],0,1]]`),
		"an unknown missing":      model("", feature, `[[[0,1,1,2,"left",0],0,1]]`),
		"a split of five":         model("", feature, `[[[0,1,1,2,"nan_left"],0,1]]`),
		"a split of seven":        model("", feature, `[[[0,1,1,2,"nan_left",0,0],0,1]]`),
		"categories that go left": model("", feature, `[[[0,[1],1,2,"nan_left",0],0,1]]`),
		"no categories":           model("", feature, `[[[0,[],1,2,"nan_right",0],0,1]]`),
		"a category twice":        model("", `[{"path":"$.x","categories":["a","a"]}]`, "["+tree+"]"),
		"an infinite threshold":   model("", feature, `[[[0,1e999,1,2,"nan_left",0],0,1]]`),
		"a leaf that is a text":   model("", feature, `[["1"]]`),
	} {
		if _, err := open(t, r, "fraud", modelConfig([]byte(bad))); err == nil || !strings.Contains(err.Error(), "refused its configuration") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A model of a size that is usual, with 100 trees of 15 leaves, on each payment.
func BenchmarkFraudModel(b *testing.B) {
	model, err := os.ReadFile("fraud/testdata/large.model.json")
	if err != nil {
		b.Fatal(err)
	}

	recs := make([]input, 200)
	for i := range recs {
		recs[i].value = fmt.Appendf(nil, `{"amount":%d.25,"country":"US","card":{"present":true},"history":[{"n":%d}],"tiny":0.1,"hour":%d,"id":"p-%08d"}`,
			i*97, i*31, i%24, i)
	}
	bench(b, "fraud", modelConfig(model), recs)
}

//go:build slow

package modules_test

import (
	"os"
	"os/exec"
	"testing"
)

// TestFraudModelScoresAsFreshTraining trains with the Python that
// GUARDLOCK_LIGHTGBM names, and compares 100,000 rows of each kind of model.
func TestFraudModelScoresAsFreshTraining(t *testing.T) {
	for _, trainer := range []struct {
		script string
		models int
	}{{"train.py", 4}, {"train_sklearn.py", 3}} {
		t.Run(trainer.script, func(t *testing.T) {
			folder := t.TempDir()
			train := exec.CommandContext(t.Context(), os.Getenv("GUARDLOCK_LIGHTGBM"), "-B", "fraud/testdata/"+trainer.script, folder, "100000", "100")
			if out, err := train.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}

			checkModels(t, folder, trainer.models, 100_000)
		})
	}
}

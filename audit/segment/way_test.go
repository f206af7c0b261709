package segment

import (
	"testing"
	"time"
)

// appends gives a chooser n appends whose two ways take so long, and returns
// how many went past the page cache.
func appends(c *wayChooser, n int, direct, flush time.Duration) (directs int) {
	for range n {
		w := c.next()
		if w == wayDirect {
			directs++
			c.done(w, direct)
		} else {
			c.done(w, flush)
		}
	}

	return directs
}

func TestDirectWritesAreUsedWhileTheyKeepUp(t *testing.T) {
	var c wayChooser
	if n := appends(&c, 10_000, 160*time.Microsecond, 138*time.Microsecond); n < 9_600 {
		t.Errorf("%d of 10,000 appends went past the page cache on a quiet machine, want all but comparisons", n)
	}

	// Starved: the first few tell.
	if n := appends(&c, 10_000, 1600*time.Microsecond, 120*time.Microsecond); n > 60+10_000/tryDirectEvery {
		t.Errorf("%d of 10,000 appends went past the page cache where they take 13 times as long", n)
	}

	// Quiet again: comparisons tell.
	appends(&c, keptTimes*tryDirectEvery, 160*time.Microsecond, 138*time.Microsecond)
	if n := appends(&c, 1_000, 160*time.Microsecond, 138*time.Microsecond); n < 960 {
		t.Errorf("%d of 1,000 appends went past the page cache after they became quick again", n)
	}
}

func TestOneSlowWriteDecidesNothing(t *testing.T) {
	var c wayChooser
	appends(&c, 1_000, 160*time.Microsecond, 138*time.Microsecond)
	for range keptTimes / 2 {
		c.done(wayDirect, time.Second)
	}

	if w := c.use; w != wayDirect {
		t.Errorf("a few slow writes among quick ones led to way %d", w)
	}
}

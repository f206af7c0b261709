package gateway

import "testing"

func TestAnswersLeaveInRequestOrder(t *testing.T) {
	var q queue
	next := int32(0)
	pushed := int32(0)
	for round := range 100 {
		for range round%7 + 1 {
			p := pending{correlation: pushed}
			if pushed%3 == 0 {
				p.produce = new(produce)
			}
			q.push(p)
			pushed++
		}
		for range round % 5 {
			if q.empty() {
				break
			}
			if got := q.pop().correlation; got != next {
				t.Fatalf("answer %d left when %d was due", got, next)
			}
			next++
		}
	}

	for !q.empty() {
		if got := q.pop().correlation; got != next {
			t.Fatalf("answer %d left when %d was due", got, next)
		}
		next++
	}

	if next != pushed || q.produces != 0 {
		t.Errorf("%d of %d answers left, %d produces counted", next, pushed, q.produces)
	}
}

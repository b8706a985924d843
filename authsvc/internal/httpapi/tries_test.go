package httpapi

import (
	"fmt"
	"testing"
	"time"
)

func TestDelaysOfTriesGrowToAnHourAndAreForgottenAfterADay(t *testing.T) {
	tr, now := newTries(10, 100), time.Now()
	begun := now
	for range 100 {
		for r := tr.take("a", now); r.wait > 0; r = tr.take("a", now) {
			if r.wait > longestDelay {
				t.Fatalf("waits for %v", r.wait)
			}
			now = now.Add(r.wait)
		}
		tr.failed("a", now)
	}
	if took := now.Sub(begun); took < 3*24*time.Hour { // 10 at once, 12 within 69 minutes, then one an hour
		t.Errorf("a hundred guesses take %v", took)
	}
	now = now.Add(longestDelay + forgetTries + time.Second)
	for range 10 {
		if r := tr.take("a", now); r.wait > 0 {
			t.Fatal("it isn't forgotten")
		}
		tr.failed("a", now)
	}
}

func TestGuessesAtOnceAreNoMoreThanMayFail(t *testing.T) {
	tr, now := newTries(10, 100), time.Now()
	begin := func() (n int) {
		for range 1000 {
			if tr.take("a", now).wait == 0 {
				n++
			}
		}
		return n
	}
	if n := begin(); n != triesAtOnce {
		t.Fatalf("%d are under way", n)
	}
	for range triesAtOnce {
		tr.failed("a", now)
	}
	now = now.Add(longestDelay)
	if n := begin(); n != 1 {
		t.Errorf("%d are under way for one that waits", n)
	}
	tr.giveBack("a")
	if n := begin(); n != 1 {
		t.Errorf("%d after one that was none", n)
	}
	tr.succeeded("a")
	if n := begin(); n != triesAtOnce {
		t.Errorf("%d after a success", n)
	}
}

func TestTriesThatFailTogetherRaiseTheDelayByOneStep(t *testing.T) {
	tr, now := newTries(10, 100), time.Now()
	for range triesAtOnce {
		tr.take("a", now)
	}
	for range triesAtOnce - 1 {
		tr.failed("a", now)
	}
	now = now.Add(10 * time.Second) // the last was slow: it ends after the delay that it was too early for
	tr.failed("a", now)
	for step, want := range []time.Duration{firstDelay, 2 * firstDelay, 4 * firstDelay} {
		r := tr.take("a", now)
		if r.wait != want {
			t.Fatalf("step %d: waits for %v, want %v", step, r.wait, want)
		}
		now = now.Add(r.wait)
		if r := tr.take("a", now); r.wait != 0 {
			t.Fatalf("step %d: waits for %v more", step, r.wait)
		}
		tr.failed("a", now)
	}
	tr.take("a", now.Add(time.Hour))
	tr.succeeded("a")
	for range triesAtOnce {
		tr.take("a", now)
	}
	for range triesAtOnce {
		tr.failed("a", now)
	}
	if r := tr.take("a", now); r.wait != firstDelay {
		t.Errorf("after a success: waits for %v", r.wait)
	}
}

func TestTriesRememberSoManyAndTheAttackedForLongest(t *testing.T) {
	tr, now := newTries(1, 100), time.Now()
	for range 3 {
		tr.take("attacked", now)
		tr.failed("attacked", now)
	}
	for n := range 1000 {
		key := fmt.Sprint(n)
		tr.take(key, now)
		tr.failed(key, now)
	}
	if len(tr.rows) > 101 {
		t.Errorf("%d are remembered", len(tr.rows))
	}
	if tr.take("attacked", now).wait == 0 {
		t.Error("the attacked one is forgotten")
	}
	tr.giveBack("unknown")
	tr.succeeded("unknown")
	if _, known := tr.rows["unknown"]; known {
		t.Error("what is over is kept")
	}
}

package link

import (
	"testing"
	"time"
)

// An event that somebody waits for makes a whole fleet ask at the same moment. If all went on in step, authsvc would get a
// burst twice a second from then on, and an event that meets one would have to wait.
func TestAFleetThatAskedTogetherDoesNotGoOnInStep(t *testing.T) {
	now, least, most := time.Now(), time.Hour, time.Duration(0)
	for range 200 {
		var c cadence
		c.setBounds(30 * time.Second)
		c.asked(now)
		c.answered()
		least, most = min(least, c.wait(now)), max(most, c.wait(now))
	}
	if most > maxAskInterval || least < maxAskInterval*7/8 || most-least < 30*time.Millisecond {
		t.Errorf("the next questions come after %v to %v", least, most)
	}
}

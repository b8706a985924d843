package propagation

import (
	"fmt"
	"sync"
	"time"

	"github.com/tocsin-auth/tocsin/test/bench/load"
)

const (
	// ordinary is an ordinary route of the resource service.
	ordinary = "/v1/whoami"
	// probeGap is how long a prober rests between an answer and its next request; with the request itself and the wake-up
	// that makes some 3,000 requests a second, and only around a revocation.
	probeGap = 100 * time.Microsecond
	// refusedAgain is how often a token must be refused in a row: what was revoked stays revoked.
	refusedAgain = 3
	probeLimit   = 10 * time.Second
)

// prober shows one token to the resource service again and again, on a connection of its own.
type prober struct {
	line    *load.Line
	token   string
	started time.Time
	begun   chan struct{} // closed when the token was accepted twice, or at the end
	sighting
}

// sighting is what a prober saw of one token's end.
type sighting struct {
	accepted time.Time // when the answer to the last accepted request was read
	refused  time.Time // when that to the first refused one was read: what was decided later was refused
	asked    int
}

// watch probes until the token is refused for good.
func (p *prober) watch() error {
	begin := sync.OnceFunc(func() { close(p.begun) })
	defer begin()
	for refusals := 0; refusals < refusedAgain; p.asked++ {
		status, body, err := p.line.Get(ordinary, p.token)
		now := time.Now()
		switch {
		case err != nil:
			return err
		case status == 200 && refusals > 0:
			return fmt.Errorf("accepted again %v after it was refused", now.Sub(p.refused))
		case status == 200:
			p.accepted = now
		case status == 401:
			if refusals++; refusals == 1 {
				p.refused = now
			}
		default:
			return fmt.Errorf("%d %.200s", status, body)
		}
		if p.asked == 1 {
			begin()
		}
		if now.Sub(p.started) > probeLimit {
			return fmt.Errorf("still accepted after %v", probeLimit)
		}
		load.Pause(probeGap)
	}
	return nil
}

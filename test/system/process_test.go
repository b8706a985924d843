package system

import (
	"sync"
	"testing"
)

func TestAProcessCanBeWatchedWhileItIsStartedAgain(t *testing.T) {
	p := &Process{Name: "sleep", path: "/bin/sleep", args: []string{"3600"}}
	p.Start(t)
	stop := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				p.RSS() // of the process before, of this one or of none: never a panic
				p.Ended()
			}
		}
	})
	for range 20 {
		p.Kill()
		p.Start(t)
	}
	close(stop)
	watching.Wait()
	if n, err := p.RSS(); err != nil || n == 0 {
		t.Errorf("%d bytes, %v", n, err)
	}
}

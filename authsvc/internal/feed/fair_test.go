package feed_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tocsin-auth/tocsin/authsvc/internal/feed/feedtest"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store/storetest"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// flood sends proof requests of one service, each in the name of another instance, as fast as the bus takes them.
func (s *site) flood(service string) (stop func()) {
	nc := s.connect(service)
	request := events.ProofRequest{StartNonce: events.NewNonce(), Nonce: events.NewNonce(), State: events.StateFresh, Bound: bound}
	done, running := make(chan struct{}), sync.WaitGroup{}
	running.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			request.Instance = fmt.Sprint(i)
			body, err := json.Marshal(request)
			if err == nil {
				err = nc.PublishRequest(events.ProofSubject(service), "_INBOX_"+service+".flood", body)
			}
			if err != nil {
				s.Error(err)
				return
			}
		}
	})
	stop = sync.OnceFunc(func() { close(done); running.Wait() })
	s.Cleanup(stop)
	return stop
}

func TestAFloodFromOneServiceLeavesTheOthersTheirProofs(t *testing.T) {
	s := newSite(t, storetest.URL(t, store.SQLite), "jobs")
	s.replica()
	l := s.listener("one")
	l.awaitProof(freshFor)
	quiet := l.roundTrips()
	stop := s.flood("jobs")
	loud := l.roundTrips()
	stop()
	t.Logf("median of a proof: %v, and %v under the flood", quiet, loud)
}

// roundTrips asks for proofs as a verifier does, again and again for as long as answers are permitted, and returns the median of
// what they took. A service that is kept waiting behind another's flood gets none, as its requests are too old each time.
func (l *listener) roundTrips() time.Duration {
	l.Helper()
	var all []time.Duration
	for range 50 {
		sent := time.Now()
		l.await("proof beside what others ask", func() bool {
			l.mu.Lock()
			request := l.verifier.Ask(feedtest.NewClock(), bound)
			l.mu.Unlock()
			_, err := l.nc.RequestMsg(&nats.Msg{Subject: events.ProofSubject("cars"), Data: request.Body}, 2*time.Second)
			return err == nil
		})
		all = append(all, time.Since(sent))
	}
	slices.Sort(all)
	return all[len(all)/2]
}

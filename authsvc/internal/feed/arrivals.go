package feed

import (
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// Limits of what waits to be decoded, for each service: twice as many as its instances may be, of the size that they have.
const (
	maxArrivals     = 2 * maxInstances
	maxArrivalBytes = maxArrivals * 512
)

// arrivals holds proof requests from the moment the bus has brought them until they are decoded, in a queue for each
// service: decoding costs many times what it costs to put a request here, and what a service sends too much of must delay
// and displace its own requests only.
//
// What is displaced here was heard by nobody in this process, and still the [Fleet] needn't be told. If this process is the
// dispatcher, a request that was displaced isn't answered, so nobody is fresh by it. If it isn't, it counts only whom the
// dispatcher counts, too, see [rollCall].
type arrivals struct {
	mu      sync.Mutex
	waiting []*arrivalQueue // those with requests; the next to be served first
	byName  map[string]*arrivalQueue
	taken   time.Time // when the request arrived that was taken last; zero once the next is asked for in vain
}

// arrivalQueue is one service's part; it stays when it is empty, as services come back twice a second.
type arrivalQueue struct {
	service string
	ring    []arrival
	first   int // the oldest
	count   int
	bytes   int
}

// arrival is a request as the bus has brought it.
type arrival struct {
	message *nats.Msg
	at      time.Time
}

// add takes a request in, and gives up that service's oldest ones if there isn't room: whoever sent those asks again.
// It reports how many were given up, the new one included when there are too many services.
func (a *arrivals) add(service string, one arrival) (displaced int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	q := a.byName[service]
	if q == nil {
		if len(a.byName) == maxServices && !a.retire() {
			return 1
		}
		if a.byName == nil {
			a.byName = map[string]*arrivalQueue{}
		}
		q = &arrivalQueue{service: service}
		a.byName[service] = q
	}
	if q.count == 0 {
		a.waiting = append(a.waiting, q)
	}
	q.push(one)
	for q.count > maxArrivals || q.count > 1 && q.bytes > maxArrivalBytes {
		q.pop()
		displaced++
	}
	return displaced
}

// retire removes a queue that is empty, and reports whether there was one.
func (a *arrivals) retire() bool {
	for name, q := range a.byName {
		if q.count == 0 {
			delete(a.byName, name)
			return true
		}
	}
	return false
}

// take removes the next request: the oldest of each service in turn.
func (a *arrivals) take() (service string, one arrival, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.waiting) == 0 {
		a.taken = time.Time{}
		return "", arrival{}, false
	}
	q := a.waiting[0]
	a.waiting = a.waiting[1:]
	one = q.pop()
	a.taken = one.at
	if q.count > 0 {
		a.waiting = append(a.waiting, q)
	}
	return q.service, one, true
}

// since returns when the oldest request has arrived that waits or is being decoded, or now if there is none.
func (a *arrivals) since(now time.Time) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.taken.IsZero() && a.taken.Before(now) {
		now = a.taken
	}
	for _, q := range a.waiting {
		if at := q.ring[q.first].at; at.Before(now) {
			now = at
		}
	}
	return now
}

func (q *arrivalQueue) push(one arrival) {
	if q.count == len(q.ring) {
		grown := make([]arrival, max(16, 2*len(q.ring)))
		n := copy(grown, q.ring[q.first:])
		copy(grown[n:], q.ring[:q.first])
		q.ring, q.first = grown, 0
	}
	q.ring[(q.first+q.count)%len(q.ring)] = one
	q.count++
	q.bytes += len(one.message.Data)
}

// pop removes the oldest; there MUST be one.
func (q *arrivalQueue) pop() arrival {
	one := q.ring[q.first]
	q.ring[q.first] = arrival{} // lets go of the message
	q.first = (q.first + 1) % len(q.ring)
	q.count--
	q.bytes -= len(one.message.Data)
	return one
}

package feed

import "sync"

// Limits of what waits for an answer. An instance has one place in its service's queue, however often it asks.
const (
	maxServices  = 1000
	maxInstances = 2000 // of one service
)

// origin is one start of one instance of a resource service.
type origin struct{ service, instance, startNonce string }

func originOf(r Request) origin {
	return origin{service: r.Service, instance: r.Proof.Instance, startNonce: r.Proof.StartNonce}
}

// inbox holds the proof requests that have arrived, and gives them out fairly: one of each service in turn. Of an
// instance's requests it keeps the newest, whose answer keeps it fresh the longest.
type inbox struct {
	mu       sync.Mutex
	services []*queue // those with requests; the next to be served first
	byName   map[string]*queue
}

// queue holds a service's requests, by instance, in the order in which the instances first asked.
type queue struct {
	service string
	order   []origin
	newest  map[origin]Request
}

// add reports whether there was room.
func (b *inbox) add(r Request) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	q := b.byName[r.Service]
	if q == nil {
		if len(b.services) == maxServices {
			return false
		}
		q = &queue{service: r.Service, newest: map[origin]Request{}}
		if b.byName == nil {
			b.byName = map[string]*queue{}
		}
		b.byName[r.Service] = q
		b.services = append(b.services, q)
	}
	from := originOf(r)
	if _, waits := q.newest[from]; !waits {
		if len(q.order) == maxInstances {
			return false
		}
		q.order = append(q.order, from)
	}
	q.newest[from] = r
	return true
}

// take removes at most limit requests and reports whether there are more.
func (b *inbox) take(limit int) (taken []Request, more bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(taken) < limit && len(b.services) > 0 {
		q := b.services[0]
		b.services = b.services[1:]
		from := q.order[0]
		taken = append(taken, q.newest[from])
		q.order = q.order[1:]
		delete(q.newest, from)
		if len(q.order) > 0 {
			b.services = append(b.services, q)
		} else {
			delete(b.byName, q.service)
		}
	}
	return taken, len(b.services) > 0
}

package speed

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

const (
	jwtList   = "golang-jwt, EdDSA, and a polled list"
	ownCache  = "a map of verified tokens of one's own, and a polled list"
	pollSmall = "one poll of the list"
	pollLarge = "one poll of a list of 100,000"
	plainHTTP = "a plain HTTP request"
	plain64   = "a plain HTTP request, 64 at once"
)

var errRevoked = errors.New("revoked")

// list is what a service that polls knows: a map that each poll replaces.
type list struct {
	client *http.Client
	ids    atomic.Pointer[map[string]struct{}]
}

// poll fetches the whole list, as RFC 5280's lists are fetched.
func (l *list) poll(url string) error {
	res, err := l.client.Get(url)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var ids []string
	if err := json.NewDecoder(res.Body).Decode(&ids); err != nil {
		return err
	}
	set := make(map[string]struct{}, len(ids))
	for _, id := range ids {
		set[id] = struct{}{}
	}
	l.ids.Store(&set)
	return nil
}

func (l *list) has(id string) bool {
	_, found := (*l.ids.Load())[id]
	return found
}

// polled is a list and where it is: in this process, which is the least that HTTP can cost.
type polled struct {
	*list
	url string
}

func (w *world) pollList(t *testing.T) polled {
	t.Helper()
	large := make([]string, 100_000)
	for i := range large {
		large[i] = events.ID{1, 2, 3, 4, 5, 6, 0x70, 8, 0x80, 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)}.String()
	}
	bodies := map[string][]byte{"/small": encoded(idsOf(w.dead)), "/large": encoded(large), "/": nil}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write(bodies[r.URL.Path]) }))
	t.Cleanup(server.Close)
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	l := polled{&list{client: &http.Client{Transport: transport}}, server.URL}
	if err := l.poll(l.url + "/small"); err != nil {
		t.Fatal(err)
	}
	return l
}

func encoded(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func (w *world) lists(t *testing.T, p *parser, l polled) []contender {
	other := &list{client: l.client} // so that the look-ups are always in the same one
	get := func() error {
		res, err := l.client.Get(l.url + "/")
		if err == nil {
			err = res.Body.Close()
		}
		return err
	}
	return []contender{
		{jwtList, true, times(func() error {
			c, err := p.verify(w.token)
			if err == nil && l.has(c.ID) {
				err = errRevoked
			}
			return err
		})},
		{ownCache, true, w.ownCache(t, p, l)},
		{pollSmall, false, times(func() error { return other.poll(l.url + "/small") })},
		{pollLarge, false, times(func() error { return other.poll(l.url + "/large") })},
		w.waits.asking(plainHTTP, 1, get),
		{plain64, false, inFlight(64, get)},
	}
}

// ownCache is what a service could write for itself in an hour: no bound on its memory, no check of roles, no knowledge of whether
// the list is complete or fresh.
func (w *world) ownCache(t *testing.T, p *parser, l polled) func(n int) error {
	t.Helper()
	var verified sync.Map
	c, err := p.verify(w.token)
	if err != nil {
		t.Fatal(err)
	}
	verified.Store(w.token, c)
	return func(n int) error {
		for range n {
			found, ok := verified.Load(w.token)
			if !ok {
				return errMissing
			}
			c := found.(*claims)
			if l.has(c.ID) || !time.Now().Before(c.ExpiresAt.Time) {
				return errRevoked
			}
		}
		return nil
	}
}

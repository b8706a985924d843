package link

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/jwk"
)

const (
	// unknownKidPause is the least time between the beginnings of fetches because of tokens with an unknown kid. Good ones may
	// have to wait for it, just after an emergency that this process has yet to hear of.
	unknownKidPause = 500 * time.Millisecond
	// mostWaiting is how many may wait for them at once.
	mostWaiting      = 1024
	tokenKeysTimeout = 2 * time.Second
	// tokenKeysAgain is after how long the question is repeated beside the one that has no answer yet.
	tokenKeysAgain = 250 * time.Millisecond
)

// TokenKey is one public key that may have signed an access token, and the only algorithm it is valid for.
type TokenKey = jwk.Key

// TokenKeys is the token key set. It is never changed.
type TokenKeys struct {
	ByKID map[string]TokenKey
	// Hash is that of all kids that the issuer named, those that can't be used included.
	Hash events.Hash
}

// tokenKeys holds the token key set. Fetches follow one another, so a later set is one that was asked for later.
type tokenKeys struct {
	set    atomic.Pointer[TokenKeys]
	wanted atomic.Bool // a fetch must begin
	// waiting are the callers of RefreshKeys.
	waiting atomic.Int64

	mu      sync.Mutex
	flight  *flight             // the fetch in progress
	next    *flight             // the one that will begin for unknown kids
	refresh time.Time           // when a fetch was last begun for an unknown kid
	fetched error               // how the last fetch ended
	retired map[string]struct{} // kids that left the set: they never come back
}

// flight is a fetch that several callers wait for.
type flight struct {
	done chan struct{}
	err  error // set before done is closed
}

func newFlight() *flight { return &flight{done: make(chan struct{})} }

func (f *flight) end(err error) {
	f.err = err
	close(f.done)
}

func (k *tokenKeys) init() {
	k.set.Store(&TokenKeys{})
	k.retired = make(map[string]struct{})
	k.wanted.Store(true)
}

// Keys returns the token key set, never nil; before the first fetch it is empty.
func (l *Link) Keys() *TokenKeys { return l.tokens.set.Load() }

// ErrCrowded says that too many wait for the token key set already.
var ErrCrowded = errors.New("too many tokens with unknown keys")

// RefreshKeys looks for the key that a token named, which isn't in the set. It returns nil as soon as the key is there, or after a
// fetch that began after the call: then there is no such key. Nor is there one that ever left the set, and nothing is fetched: after an
// emergency everybody shows tokens of such a key. Calls share fetches, and wait out the pause between them; for as long after one
// that failed, its error is returned at once. The caller looks into Keys again.
func (l *Link) RefreshKeys(ctx context.Context, kid string) error {
	if l.tokens.gone(kid) {
		return nil
	}
	f, next, err := l.awaitFetch()
	if err != nil {
		return err
	}
	defer l.tokens.waiting.Add(-1)
	for {
		select {
		case <-f.done:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
		}
		if _, found := l.Keys().ByKID[kid]; found || f == next || f.err != nil {
			return f.err
		}
		f = next
	}
}

// gone reports whether a key left the set, for good.
func (k *tokenKeys) gone(kid string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, gone := k.retired[kid]
	return gone
}

// awaitFetch returns the fetch in progress, which may bring the key, and the next one, which decides whether there is one; they are
// the same while none is in progress. Whoever gets no error is counted as waiting.
func (l *Link) awaitFetch() (now, next *flight, err error) {
	k := &l.tokens
	k.mu.Lock()
	defer k.mu.Unlock()
	pause := unknownKidPause - time.Since(k.refresh)
	switch {
	case k.fetched != nil && pause > 0:
		return nil, nil, k.fetched
	case k.waiting.Add(1) > mostWaiting:
		k.waiting.Add(-1)
		return nil, nil, ErrCrowded
	case k.next == nil && k.flight == nil && pause <= 0:
		k.refresh = time.Now()
		f := l.beginFetch(newFlight())
		return f, f, nil
	case k.next == nil:
		l.planFetch(pause)
	}
	return cmp.Or(k.flight, k.next), k.next, nil
}

// planFetch begins a fetch after the pause, and after what is in progress then. tokens.mu is held.
func (l *Link) planFetch(pause time.Duration) {
	k, f := &l.tokens, newFlight()
	if l.ctx.Err() != nil {
		f.end(errLinkClosed)
		k.next = f
		return
	}
	k.next = f
	l.tasks.Go(func() {
		paused := time.NewTimer(pause)
		defer paused.Stop()
		select {
		case <-paused.C:
		case <-l.ctx.Done():
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		for busy := k.flight; busy != nil; busy = k.flight {
			k.mu.Unlock()
			<-busy.done
			k.mu.Lock()
		}
		k.next, k.refresh = nil, time.Now()
		l.beginFetch(f)
	})
}

// fetchIfWanted begins a fetch if one was demanded, unless one is in progress: a demand wants one that began after it.
func (l *Link) fetchIfWanted() {
	k := &l.tokens
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.flight != nil {
		return
	}
	demanded := l.follower.TakeKeyDemand() // a fetch from here on serves both kinds of demand
	if k.wanted.Swap(false) || demanded {
		l.beginFetch(newFlight())
	}
}

var errLinkClosed = fmt.Errorf("%w: closed", ErrUnavailable)

// beginFetch starts the one fetch. tokens.mu is held.
func (l *Link) beginFetch(f *flight) *flight {
	if l.ctx.Err() != nil { // closing: no goroutine may begin
		f.end(errLinkClosed)
		return f
	}
	l.tokens.flight = f
	ctx := l.session.context()
	l.tasks.Go(func() {
		err := l.fetchTokenKeys(ctx)
		l.tokens.mu.Lock()
		l.tokens.flight, l.tokens.fetched = nil, err
		l.tokens.mu.Unlock()
		if err != nil && l.ctx.Err() == nil {
			l.log.Warn("token keys not fetched", "error", err)
		}
		f.end(err)
		l.rouse()
	})
	return f
}

// fetchTokenKeys takes the answer that comes first, and no other: it was asked for after the fetch began, while one that comes
// after it may have been made before it.
func (l *Link) fetchTokenKeys(ctx context.Context) error {
	q := keyQuestions{ask: l.askTokenKeys, answers: make(chan keysAnswer)}
	defer q.asking.Wait()
	ctx, cancel := context.WithTimeout(ctx, tokenKeysTimeout)
	defer cancel() // and with it the questions
	set, err := q.first(ctx)
	if err != nil {
		return err
	}
	l.replaceTokenKeys(set)
	return nil
}

// keyQuestions are one question that is asked several times: of several replicas one may be silent, and the bus doesn't know.
type keyQuestions struct {
	ask     func(context.Context) (jwk.Set, error)
	answers chan keysAnswer // of those that ask, until their context ends
	asking  sync.WaitGroup
}

type keysAnswer struct {
	set jwk.Set
	err error
}

// first asks until somebody answers, again each tokenKeysAgain. It fails when every question has, or when ctx ends.
func (q *keyQuestions) first(ctx context.Context) (jwk.Set, error) {
	again := time.NewTicker(tokenKeysAgain)
	defer again.Stop()
	q.begin(ctx)
	for waiting := 1; ; {
		select {
		case a := <-q.answers:
			waiting--
			if a.err == nil || waiting == 0 {
				return a.set, a.err
			}
		case <-again.C:
			waiting++
			q.begin(ctx)
		case <-ctx.Done():
			return jwk.Set{}, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
		}
	}
}

// begin asks once.
func (q *keyQuestions) begin(ctx context.Context) {
	q.asking.Go(func() {
		set, err := q.ask(ctx)
		select {
		case q.answers <- keysAnswer{set, err}:
		case <-ctx.Done():
		}
	})
}

func (l *Link) askTokenKeys(ctx context.Context) (jwk.Set, error) {
	nonce := events.NewNonce()
	request, err := json.Marshal(events.KeysRequest{Nonce: nonce})
	if err != nil {
		return jwk.Set{}, err
	}
	body, err := l.Request(ctx, events.KindKeys, events.KeysSubject(l.cfg.Service), request)
	if err != nil {
		return jwk.Set{}, err
	}
	return decodeKeysAnswer(body, nonce, request)
}

var errOtherQuestion = errors.New("answer to another question")

func decodeKeysAnswer(body []byte, nonce string, request []byte) (jwk.Set, error) {
	a, err := events.DecodeKeysAnswer(body)
	if err != nil {
		return jwk.Set{}, err
	}
	if a.Nonce != nonce || a.Request != events.HashOf(request) {
		return jwk.Set{}, errOtherQuestion
	}
	return jwk.Parse(a.JWKS)
}

// replaceTokenKeys makes a set the current one, without the kids that ever left it, and then lets the follower see
// whether an answer waited for it.
func (l *Link) replaceTokenKeys(set jwk.Set) {
	next := &TokenKeys{ByKID: set.Keys, Hash: events.KeySetHash(set.KIDs)}
	l.tokens.mu.Lock()
	old := l.tokens.set.Load()
	for kid := range old.ByKID {
		if _, stays := set.Keys[kid]; !stays {
			l.tokens.retired[kid] = struct{}{}
		}
	}
	for kid := range l.tokens.retired {
		if _, back := next.ByKID[kid]; back {
			l.log.Error("the issuer lists a token key again that it had withdrawn; it stays refused", "kid", kid)
			delete(next.ByKID, kid)
		}
	}
	l.tokens.set.Store(next)
	l.tokens.mu.Unlock()
	l.follower.KeysReplaced()
	if old.Hash != next.Hash {
		l.cadence.hurry() // somebody may wait to hear that it is seen
	}
	l.changed()
}

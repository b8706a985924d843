package auth

import (
	"strings"
	"sync"
)

// verifiedTokens remembers what access tokens say whose signature was verified, the whole token being the key. It holds
// claims, never decisions: whether the key is still in the set, and the token alive, is asked each time. It is safe for
// concurrent use.
type verifiedTokens struct {
	mu sync.RWMutex
	// young takes new tokens until it is full; then it becomes old, and what was old and not used since is forgotten.
	young, old map[string]foundToken
	size       int // of each
}

// rememberedTokens is the size for half of those that are remembered: 8 MiB of tokens of the usual length.
const rememberedTokens = 4096

func newVerifiedTokens(size int) *verifiedTokens {
	return &verifiedTokens{young: map[string]foundToken{}, size: size}
}

func (v *verifiedTokens) get(token string) (foundToken, bool) {
	v.mu.RLock()
	found, isYoung := v.young[token]
	isOld := false
	if !isYoung {
		found, isOld = v.old[token]
	}
	v.mu.RUnlock()
	if isOld {
		v.put(token, found)
	}
	return found, isYoung || isOld
}

func (v *verifiedTokens) put(token string, found foundToken) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.young) >= v.size {
		v.young, v.old = make(map[string]foundToken, v.size), v.young
	}
	v.young[strings.Clone(token)] = found // a part of a request would keep all of it
}

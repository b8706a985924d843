package faults

import (
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
)

type messageKind int

const (
	otherKind messageKind = iota
	liveKind
	questionKind
	answerKind
	streamedKind
)

// kindOf goes by the subject, and for what comes to an inbox (of another account, authsvc sees a stand-in) by the headers.
func kindOf(f frame) messageKind {
	header := string(f.header)
	switch {
	case strings.HasPrefix(f.subject, "tocsin.v1.live."):
		return liveKind
	case strings.HasPrefix(f.subject, "tocsin.v1.feed."): // what the stream keeps is meddled with on its way out
		return otherKind
	case strings.HasPrefix(f.subject, "tocsin.v1.") && f.reply != "":
		return questionKind
	case strings.Contains(header, "Nats-Sequence:"), strings.HasPrefix(header, "NATS/1.0 204"):
		return streamedKind
	case strings.Contains(header, "Tocsin-Signature:"):
		return answerKind
	}
	return otherKind
}

// Memory is the messages of a run that may be sent again. It is safe for concurrent use.
type Memory struct {
	seed            uint64
	proxies         atomic.Uint64
	events, answers kept
}

// Limits of a memory: when it is full, a message takes the place of any other, so that all ages stay in it.
const (
	keptMessages = 4096
	keptSize     = 16 << 10
)

type kept struct {
	mu  sync.Mutex
	all []frame
}

// keep takes messages on their way to a client only: they have the form in which one gets them.
func (k *kept) keep(f frame, rng *rand.Rand) {
	if !f.toClient() || len(f.header)+len(f.payload) > keptSize {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.all) < keptMessages {
		k.all = append(k.all, f)
		return
	}
	k.all[rng.IntN(len(k.all))] = f
}

func (k *kept) any(rng *rand.Rand) (frame, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.all) == 0 {
		return frame{}, false
	}
	return k.all[rng.IntN(len(k.all))], true
}

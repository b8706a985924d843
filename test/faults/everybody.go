package faults

import (
	"context"
	"math/rand/v2"
	"time"
)

// strikePause is the mean time between changes of everybody's trust.
const strikePause = 20 * time.Second

// strikeEverybody now and then ends all tokens, all keys too, or changes the signing keys.
func (f *Traffic) strikeEverybody(ctx context.Context, rng *rand.Rand) {
	for pause(ctx, strikePause/2+time.Duration(rng.Int64N(int64(strikePause)))) {
		f.strike(ctx, rng)
	}
}

func (f *Traffic) strike(ctx context.Context, rng *rand.Rand) {
	f.everybody.Lock()
	defer f.everybody.Unlock()
	pause(ctx, 2*time.Millisecond) // ids count milliseconds
	latest, known := f.clocks.latest()
	q := request{method: "POST", path: "/v1/admin/revocations", allTokens: true, allKeys: rng.IntN(3) == 0}
	switch n := rng.IntN(8); {
	case n < 3 && known:
		q.name, q.body = "revoke issued before", map[string]any{"issued_before": latest.UTC().Format(time.RFC3339Nano), "keys": q.allKeys}
	case n < 6:
		q.name, q.body = "revoke all", map[string]any{"all": true, "keys": q.allKeys}
	case n == 6:
		q = request{name: "rotate signing key", method: "POST", path: "/v1/admin/signing-keys/rotate", body: map[string]any{}}
	default:
		q = request{name: emergency, method: "POST", path: "/v1/admin/signing-keys/rotate",
			body: map[string]any{"emergency": true}, allTokens: true}
	}
	outcome, _ := f.change(ctx, rng, q)
	if outcome == Failed || !q.allTokens {
		return
	}
	f.logAdminOut()
	f.generation++
	if outcome == Unknown {
		f.unsure = f.generation
	}
	f.pool.heatActive(f.Recorder.Now())
}

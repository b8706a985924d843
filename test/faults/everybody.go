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
	q := request{method: "POST", path: "/v1/admin/revocations", allTokens: true, allKeys: rng.IntN(3) == 0}
	switch rng.IntN(8) {
	case 0, 1, 2:
		q.name, q.body = "revoke all", map[string]any{"all": true, "keys": q.allKeys}
	case 3, 4, 5:
		q.name, q.body = "revoke issued before", map[string]any{"issued_before": f.clocks.latest().UTC().Format(time.RFC3339Nano), "keys": q.allKeys}
	case 6:
		q = request{name: "rotate signing key", method: "POST", path: "/v1/admin/signing-keys/rotate", body: map[string]any{}}
	case 7:
		q = request{name: emergency, method: "POST", path: "/v1/admin/signing-keys/rotate",
			body: map[string]any{"emergency": true}, allTokens: true}
	}
	if outcome, _ := f.change(ctx, rng, q); outcome == Failed || !q.allTokens {
		return
	}
	f.logAdminOut()
	f.generation++
	f.pool.heatActive(f.Recorder.Now())
}

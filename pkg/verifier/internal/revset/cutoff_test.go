package revset

import (
	"testing"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

func TestKeysStayCutOffWhenOnlyTokensAreCutOffLater(t *testing.T) {
	user := poolID(1)
	for _, order := range [][]int{{0, 1}, {1, 0}} {
		list := []events.Event{
			{Seq: 1, At: 10, Until: 300 * bucketWidth, Payload: events.TokenRevoked{UserID: user.String(), TV: 5, Keys: true}},
			{Seq: 2, At: 10, Until: 100 * bucketWidth, Payload: events.TokenRevoked{UserID: user.String(), TV: 7}},
		}
		set := New()
		for _, i := range order {
			set.Apply(list[i], 0)
		}
		set.Forget(200*bucketWidth, 200*bucketWidth)
		if !set.Key(Key{ID: poolID(2), Owner: user, TV: 4}).Revoked {
			t.Errorf("order %v: the keys' cut-off was forgotten before its until", order)
		}
		if set.Key(Key{ID: poolID(2), Owner: user, TV: 5}).Revoked {
			t.Errorf("order %v: a later key is dead", order)
		}
		if !set.Token(Credential{Subject: user, TV: 6}).Revoked {
			t.Errorf("order %v: a token is alive", order)
		}
	}
}

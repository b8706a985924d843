package elite

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// FuzzAnswer gives every responder arbitrary bytes. A question is answered with a signature that verifies, or refused for
// one of the known reasons; a query never fails because of what was asked.
func FuzzAnswer(f *testing.F) {
	w := newWorld(f, store.SQLite)
	add := func(v any) {
		raw, err := json.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	check := w.token()
	check.Nonce, check.Parents = events.NewNonce(), []events.Parent{w.parent(), w.keyParent()}
	add(check)
	add(events.ResolveRequest{Nonce: events.NewNonce(), KeyHash: events.Hash(w.key.Hash)})
	add(events.KeysRequest{Nonce: events.NewNonce()})
	add(events.SnapshotRequest{Epoch: testEpoch, From: 1})
	f.Add([]byte(`{"nonce":"00000000000000000000000000000000","kid":"\u0000","jti":"` + w.jti + `","sub":"` + w.jti + `","mode":"live"}`))
	f.Add([]byte(`{"nonce":"00000000000000000000000000000000","key_hash":null}`))

	kinds := map[Question]events.Kind{Check: events.KindCheck, Resolve: events.KindResolve, Keys: events.KindKeys, Snapshot: events.KindFeed}
	f.Fuzz(func(t *testing.T, body []byte) {
		for question, kind := range kinds {
			page, err := w.answer(context.Background(), question, body)
			switch {
			case err == nil:
				if err := feedKeys().Verify(kind, page.Key, page.Signature, page.Body); err != nil {
					t.Errorf("%s: %v", question, err)
				}
			case question == Snapshot && !errors.Is(err, events.ErrInvalid): // the pages' own refusals
			case !errors.Is(err, events.ErrInvalid):
				t.Errorf("%s: %v", question, err)
			}
		}
	})
}

package auth

import (
	"errors"
	"strconv"
	"testing"
)

func TestVerifiedTokensAreBoundedAndKeepWhatIsUsed(t *testing.T) {
	v := newVerifiedTokens(10)
	v.put("used", foundToken{})
	for i := range 100 {
		v.put(strconv.Itoa(i), foundToken{})
		if _, ok := v.get("used"); !ok {
			t.Fatalf("forgotten after %d others", i)
		}
		if n := len(v.young) + len(v.old); n > 20 {
			t.Fatalf("%d are remembered", n)
		}
	}
	if _, ok := v.get("0"); ok {
		t.Error("what nobody used is remembered")
	}
}

// What is remembered of a token are its claims: with its key out of the set it is dead, whoever has verified it before.
func TestARememberedTokenDiesWithItsKey(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		if _, ok := s.verified.get(s.a.AccessToken); !ok {
			t.Fatal("the token isn't remembered")
		}
		if _, _, err := w.RotateSigningKey(t.Context(), s.root, true); err != nil {
			t.Fatal(err)
		}
		if _, err := w.AuthenticateBearer(t.Context(), s.a.AccessToken, Client{}); !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("after its key was dropped: %v", err)
		}
	})
}

package auth

import (
	"errors"
	"hash/crc32"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// sealed returns a body of a key with its right checksum.
func sealed(body string) string {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	crc, n := []byte("000000"), crc32.ChecksumIEEE([]byte(body))
	for i := len(crc) - 1; i >= 0; i, n = i-1, n/62 {
		crc[i] = digits[n%62]
	}
	return body + string(crc)
}

func swapCase(s string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case 'a' <= c && c <= 'z':
			return c - 'a' + 'A'
		case 'A' <= c && c <= 'Z':
			return c - 'A' + 'a'
		}
		return c
	}, s)
}

func TestDamagedAndExpiredKeysAreNobodysHereAndInactive(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		good, body := s.key.Key, s.key.Key[:len(s.key.Key)-6]
		if sealed(body) != good {
			t.Fatal("the test's checksum is another")
		}
		expiring := s.key1(t, NewAPIKey{Name: "short", Mode: events.ModeLive, ExpiresAt: ptr(time.Now().Add(time.Hour))})
		own := keyCaller(t, s, good)
		refused := func(name, key string) {
			t.Helper()
			if _, err := w.AuthenticateKey(t.Context(), key, Client{}); !errors.Is(err, ErrUnauthenticated) {
				t.Errorf("%s, as a caller's: %v", name, err)
			}
			if found, err := w.Introspect(t.Context(), own, key); err != nil || found.Active || found.Sub != "" || found.KeyID != "" {
				t.Errorf("%s, introspected: %+v, %v", name, found, err)
			}
		}
		for name, key := range map[string]string{
			"empty": "", "truncated": good[:len(good)-1], "truncated, with its checksum": sealed(body[:len(body)-1]),
			"longer, with its checksum": sealed(body + "0"), "upper case": strings.ToUpper(good),
			"changed case": good[:9] + swapCase(good[9:]), "changed case, with its checksum": sealed(body[:9] + swapCase(body[9:])),
			"swapped prefix": "tcs_test_" + good[9:], "swapped prefix, with its checksum": sealed("tcs_test_" + body[9:]),
			"a prefix of no mode, with its checksum": sealed("tcs_prod_" + body[9:]), "the shown prefix": s.key.Prefix,
			"blanks around": " " + good + " ", "NUL after": good + "\x00",
		} {
			refused(name, key)
		}
		w.clock.Advance(time.Until(*expiring.ExpiresAt) - time.Minute)
		if !s.works(expiring.Key) {
			t.Error("dead a minute before its end")
		}
		w.clock.Advance(time.Minute)
		refused("expired", expiring.Key)
		if !s.works(good) {
			t.Error("the good key was harmed")
		}
	})
}

func TestTestCredentialsReachNoLiveOnes(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ada := w.register(t, "ada")
		live, test := ada.Keys[0], ada.Keys[1]
		byTest, err := w.AuthenticateKey(t.Context(), test.Key, Client{})
		if err != nil || byTest.Mode != events.ModeTest {
			t.Fatalf("%+v, %v", byTest, err)
		}
		if found, err := w.Introspect(t.Context(), byTest, live.Key); err != nil || found.Active {
			t.Errorf("a live key, by a test key: %+v, %v", found, err)
		}
		if found, err := w.Introspect(t.Context(), byTest, test.Key); err != nil || found.Mode != "test" {
			t.Errorf("a test key, by itself: %+v, %v", found, err)
		}
		tokens, err := w.Login(t.Context(), Login{Username: "ada", Password: password, Mode: events.ModeTest}, Client{})
		if err != nil {
			t.Fatal(err)
		}
		c := w.caller(t, tokens.AccessToken)
		if _, err := w.DeleteAPIKey(t.Context(), c, live.ID); !errors.Is(err, ErrForbidden) {
			t.Errorf("a test token deletes a live key: %v", err)
		}
		if _, err := w.CreateAPIKey(t.Context(), c, NewAPIKey{Name: "live", Mode: events.ModeLive}); !errors.Is(err, ErrForbidden) {
			t.Errorf("a test token makes a live key: %v", err)
		}
		if _, _, err := w.UpdateAnyAPIKey(t.Context(), c, live.ID, APIKeyPatch{}); !errors.Is(err, ErrForbidden) {
			t.Errorf("a test token acts as an admin: %v", err)
		}
	})
}

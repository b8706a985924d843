package auth

import (
	"errors"
	"strings"
	"testing"
)

func TestPasswordPolicy(t *testing.T) {
	for _, tc := range []struct {
		name, password string
		code           Code // empty: accepted
	}{
		{"passphrase", "correct horse battery", ""},
		{"twelve mixed characters", "vK3!uw-9qLzr", ""},
		{"twelve letters outside ASCII", "äöüßéèñçøåłž", ""},
		{"code points are counted, not bytes", "äöüßéè", CodeWeakPassword},
		{"composed characters count once", strings.Repeat("e\u0301u\u0308", 5), CodeWeakPassword},
		{"128 characters", strings.Repeat("correct horse x7", 8), ""},
		{"512 bytes of 128 characters", strings.Repeat("🐴🔋🪜🧷🦑🐙🎻🧶", 16), ""},
		{"spaces count", "a b c d e z y x", ""},
		{"eleven characters", "vK3!uw-9qLz", CodeWeakPassword},
		{"common word with digits", "password1234", CodeWeakPassword},
		{"common word with substitutions", "P@ssw0rd2024!", CodeWeakPassword},
		{"common word repeated", "letmeinletmein", CodeWeakPassword},
		{"digits in a row", "123456789012", CodeWeakPassword},
		{"digits down", "987654321098", CodeWeakPassword},
		{"keyboard row", "qwertyuiop[]", CodeWeakPassword},
		{"keyboard zigzag", "1q2w3e4r5t6y", CodeWeakPassword},
		{"one character", "aaaaaaaaaaaa", CodeWeakPassword},
		{"two characters", "abababaabbab", CodeWeakPassword},
		{"username with digits", "Margarete.K-2024", CodeWeakPassword},
		{"username twice", "margarete.kmargarete.k", CodeWeakPassword},
		{"common word with a date", "iloveyou20.11.26", CodeWeakPassword},
		{"common word with a long sequence", "love1234567890", CodeWeakPassword},
		{"common word with many random digits", "love8203918374", ""},
		{"letters between random digits", "8392-ab-0917364", ""},
		{"username within a phrase", "margarete.k eats seven apples", ""},
		{"NUL", "correct horse\x00battery", CodeInvalidRequest},
		{"not UTF-8", "correct horse\xffbattery", CodeInvalidRequest},
		{"absurdly long", strings.Repeat("x1", 4096), CodeInvalidRequest},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := checkPassword("password", tc.password, "margarete.k", 12)
			var refusal *Error
			switch {
			case tc.code == "" && err != nil:
				t.Fatalf("refused: %v", err)
			case tc.code != "" && (!errors.As(err, &refusal) || refusal.Code != tc.code || refusal.Field != "password"):
				t.Fatalf("got %v, want %s of field password", err, tc.code)
			case err != nil && strings.Contains(err.Error(), tc.password):
				t.Fatal("the refusal echoes the password")
			}
		})
	}
}

var cheap = argonParams{memory: 64, time: 1, lanes: 1}

func TestHashVerifiesOnlyTheWholePassword(t *testing.T) {
	h := newHasher(cheap)
	long := strings.Repeat("correct horse x7", 8)
	phc, err := h.hash(t.Context(), long)
	if err != nil {
		t.Fatal(err)
	}
	for password, want := range map[string]bool{long: true, long[:len(long)-1]: false, long + "x": false, "": false} {
		ok, stale, err := h.verify(t.Context(), phc, password)
		if err != nil || ok != want || stale {
			t.Errorf("%d bytes: ok=%v stale=%v err=%v", len(password), ok, stale, err)
		}
	}
}

func TestHashIsTheSameForBothUnicodeForms(t *testing.T) {
	h := newHasher(cheap)
	phc, _ := h.hash(t.Context(), "caf\u00e9 au lait")
	if ok, _, err := h.verify(t.Context(), phc, "cafe\u0301 au lait"); !ok || err != nil {
		t.Fatalf("ok=%v err=%v", ok, err)
	}
}

func TestHashOfOtherCostsIsStale(t *testing.T) {
	phc, _ := newHasher(cheap).hash(t.Context(), "x")
	ok, stale, err := newHasher(argonParams{memory: 128, time: 1, lanes: 1}).verify(t.Context(), phc, "x")
	if !ok || !stale || err != nil {
		t.Fatalf("ok=%v stale=%v err=%v", ok, stale, err)
	}
}

func TestMalformedHashesAreRefused(t *testing.T) {
	h := newHasher(cheap)
	good, _ := h.hash(t.Context(), "x")
	for _, phc := range []string{
		"", "x", good + "$", strings.Replace(good, "argon2id", "argon2i", 1), strings.Replace(good, "m=64", "m=4294967295", 1),
		strings.Replace(good, "t=1", "t=0", 1), strings.Replace(good, "p=1", "p=0", 1), good[:len(good)-24], // the last: 14 bytes
	} {
		if _, _, err := h.verify(t.Context(), phc, "x"); !errors.Is(err, errBadHash) {
			t.Errorf("%q: %v", phc, err)
		}
	}
}

func TestUnknownUsersCostTheSameHash(t *testing.T) {
	h := newHasher(currentParams)
	p, salt, sum, err := decodePHC(h.dummy)
	if err != nil || p != currentParams || len(salt) != saltLength || len(sum) != hashLength {
		t.Fatalf("dummy %+v %d %d %v", p, len(salt), len(sum), err)
	}
}

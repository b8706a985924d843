package auth

import (
	"context"
	"testing"
	"time"
)

// An RSA key takes long to make, and SQLite has one writer.
func TestASigningKeyIsMadeWhileOthersWrite(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		root, made := w.as(t, "root"), 0
		w.ring.making = func() {
			made++
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if _, err := w.Register(ctx, Registration{Username: "meanwhile", Password: password}, Client{}); err != nil {
				t.Errorf("nobody can write meanwhile: %v", err)
			}
		}
		if _, done, err := w.RotateSigningKey(t.Context(), root, false); err != nil || !done.Changed() {
			t.Fatalf("%+v %v", done, err)
		}
		_, _, err := w.RotateSigningKey(t.Context(), w.as(t, "meanwhile"), false)
		wantError(t, err, ErrForbidden, "")
		if made != 1 {
			t.Errorf("%d keys were made, want 1: none for those who may not rotate", made)
		}
	})
}

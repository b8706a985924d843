package link

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/jwk"
)

var errRefused = errors.New("refused")

// reply is what becomes of one question.
type reply struct {
	after time.Duration
	kid   string // "": an error
}

const silent = 24 * time.Hour

func (r reply) come(ctx context.Context) (jwk.Set, error) {
	select {
	case <-time.After(r.after):
	case <-ctx.Done():
		return jwk.Set{}, ctx.Err()
	}
	if r.kid == "" {
		return jwk.Set{}, errRefused
	}
	return jwk.Set{KIDs: []string{r.kid}}, nil
}

// The first answer counts, whichever question it is to; one that fails ends nothing while another waits.
func TestTheFirstAnswerOfTokenKeysCounts(t *testing.T) {
	for name, c := range map[string]struct {
		replies []reply // to each question; the last also to all after it
		kid     string
		err     error
		asked   int
		took    time.Duration
	}{
		"at once":                           {replies: []reply{{0, "a"}}, kid: "a", asked: 1},
		"refused":                           {replies: []reply{{0, ""}}, err: errRefused, asked: 1},
		"by another, the first is silent":   {replies: []reply{{silent, ""}, {0, "b"}}, kid: "b", asked: 2, took: tokenKeysAgain},
		"by the first, the second is later": {replies: []reply{{tokenKeysAgain + 1, "a"}, {2, "b"}}, kid: "a", asked: 2, took: tokenKeysAgain + 1},
		"by the first, the second fails":    {replies: []reply{{tokenKeysAgain + 2, "a"}, {1, ""}}, kid: "a", asked: 2, took: tokenKeysAgain + 2},
		"all have failed":                   {replies: []reply{{tokenKeysAgain + 2, ""}, {1, ""}}, err: errRefused, asked: 2, took: tokenKeysAgain + 2},
		"nobody answers":                    {replies: []reply{{silent, ""}}, err: ErrUnavailable, asked: 8, took: tokenKeysTimeout - 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), tokenKeysTimeout-1)
				defer cancel()
				var asked atomic.Int64
				q := keyQuestions{answers: make(chan keysAnswer)}
				q.ask = func(ctx context.Context) (jwk.Set, error) {
					return c.replies[min(int(asked.Add(1)), len(c.replies))-1].come(ctx)
				}
				begun := time.Now()
				set, err := q.first(ctx)
				took := time.Since(begun)
				cancel()
				q.asking.Wait()
				if !errors.Is(err, c.err) || took != c.took || int(asked.Load()) != c.asked {
					t.Errorf("%v after %v and %d questions, want %v after %v and %d", err, took, asked.Load(), c.err, c.took, c.asked)
				}
				if c.err == nil && (len(set.KIDs) != 1 || set.KIDs[0] != c.kid) {
					t.Errorf("the set %q, want that of %q", set.KIDs, c.kid)
				}
			})
		})
	}
}

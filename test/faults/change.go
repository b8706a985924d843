package faults

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/tocsin-auth/tocsin/test/system"
)

// request is a call of authsvc that changes what is trusted.
type request struct {
	name         string
	method, path string
	auth         string // empty: the administrator's
	anonymous    bool   // it is made without any, and has no receipt
	body         any
	user         string
	kills        []*credential
	suspends     []*credential
	revives      []*credential
	allTokens    bool
	allKeys      bool
	everyToken   bool // it ends every token of the person's, whatever that is of; and, if peer, of the other one's in the family
	peer         bool
	role         int
	// outcome, if given, reads the answer instead of outcomeOf.
	outcome func(system.Answer, error) Outcome
}

// change makes the call, with a random wait, and records it with what it does to whom.
func (f *Traffic) change(ctx context.Context, rng *rand.Rand, q request) (Outcome, system.Answer) {
	authorization, ok := f.authorize(ctx, rng, q)
	if !ok {
		return Failed, system.Answer{}
	}
	done := Change{Name: q.name, User: q.user, Role: q.role, AllTokens: q.allTokens, AllKeys: q.allKeys, Kills: names(q.kills), Suspends: names(q.suspends), Revives: names(q.revives)}
	done.Begin = f.Recorder.Now()
	answer, replica, err := f.auth(ctx, rng, q.method, q.path+q.wait(rng), authorization, q.body)
	done.End = f.Recorder.Now()
	done.Replica, done.Status, done.Outcome = replica, answer.Status, q.read(answer, err)
	if done.Outcome == Done {
		done.Fleet = fleetIn(answer)
	}
	f.Recorder.Add(done)
	if answer.Status == 401 && authorization != q.auth {
		f.logAdminOut()
	}
	if done.Outcome != Failed {
		f.pool.heat(slices.DeleteFunc(slices.Concat(q.kills, q.suspends, q.revives), func(c *credential) bool { return c.name == "" }), done.End)
		select {
		case f.changed <- struct{}{}:
		default:
		}
	}
	return done.Outcome, answer
}

// authorize returns the Authorization header of a call, false while there is none to be had.
func (f *Traffic) authorize(ctx context.Context, rng *rand.Rand, q request) (string, bool) {
	if q.anonymous || q.auth != "" {
		return q.auth, true
	}
	administrator := f.asAdmin(ctx, rng)
	return administrator, administrator != ""
}

// wait draws what the call waits for.
func (q request) wait(rng *rand.Rand) string {
	if q.anonymous {
		return ""
	}
	return "?wait=" + []string{"none", "none", "published", "fleet&timeout=1500ms"}[rng.IntN(4)]
}

func (q request) read(answer system.Answer, err error) Outcome {
	if q.outcome != nil {
		return q.outcome(answer, err)
	}
	return outcomeOf(answer, err)
}

func names(cs []*credential) []string {
	var all []string
	for _, c := range cs {
		if c.name != "" { // it isn't a job grant, which nobody but authsvc takes
			all = append(all, c.name)
		}
	}
	return all
}

// fleetIn reads what a receipt says about the fleet, nil when it says nothing.
func fleetIn(a system.Answer) *Fleet {
	var receipt struct {
		Seq   *uint64
		Fleet *struct {
			Applied  int
			Total    *int
			Laggards []struct{ Instance string }
		}
	}
	if json.Unmarshal([]byte(a.Header.Get("Tocsin-Receipt")), &receipt) != nil || receipt.Fleet == nil || receipt.Seq == nil {
		return nil
	}
	got := Fleet{Applied: receipt.Fleet.Applied, Total: receipt.Fleet.Total}
	for _, l := range receipt.Fleet.Laggards {
		got.Laggards = append(got.Laggards, l.Instance)
	}
	return &got
}

// issued is what the calls that give credentials answer.
type issued struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	SessionID    string `json:"session_id"`
	ExpiresIn    int64  `json:"expires_in"`
	User         struct{ ID string }
	APIKeys      []apiKey `json:"api_keys"`
	APIKey       apiKey   `json:"api_key"`
}

type apiKey struct{ ID, Mode, Key string }

func tokenIn(a system.Answer) issued {
	var got issued
	json.Unmarshal(a.Body, &got) // what isn't there is empty
	return got
}

// jtiOf reads the jti of an access token without checking anything.
func jtiOf(token string) string {
	var claims struct{ JTI string }
	parts := strings.Split(token, ".")
	if len(parts) == 3 {
		raw, _ := decodeSegment(parts[1])
		json.Unmarshal(raw, &claims)
	}
	return claims.JTI
}

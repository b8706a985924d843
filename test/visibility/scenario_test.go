package visibility

import (
	"fmt"
	"maps"
	"strings"
)

// series are time series with their samples of each 5 s, in promtool's notation.
type series map[string]string

// The processes of every scenario.
const (
	auth1 = `job="authsvc",instance="auth-1"`
	auth2 = `job="authsvc",instance="auth-2"`
	res1  = `job="resourcesvc",instance="res-1"`
	res2  = `job="resourcesvc",instance="res-2"`
)

func name(metric string, labels ...string) string {
	return metric + "{" + strings.Join(labels, ",") + "}"
}

// healthy is ten minutes in which nothing is wrong; single losses that were made good are no news.
func healthy() series {
	s := series{}
	for i, a := range []string{auth1, auth2} {
		held := 1 - i
		maps.Copy(s, series{
			name("up", a):                                                        "1x120",
			name("tocsin_database_up", a):                                        "1x120",
			name("tocsin_feed_dispatcher", a):                                    fmt.Sprintf("%dx120", held),
			name("tocsin_feed_step_errors_total", a):                             "0x120",
			name("tocsin_feed_takeovers_total", a):                               fmt.Sprintf("%dx120", held),
			name("tocsin_feed_oldest_unpublished_seconds", a):                    "0 0.01 0 0x117",
			name("tocsin_feed_stream_unavailable", a):                            "0x120",
			name("tocsin_feed_repairs_total", a):                                 "0x120",
			name("tocsin_feed_epoch_timestamp_seconds", a):                       "1700000000.123x120",
			name("tocsin_feed_late_requests_total", a):                           "0x120",
			name("tocsin_feed_displaced_requests_total", a):                      "0x120",
			name("tocsin_feed_proofs_total", a):                                  fmt.Sprintf("0+%dx120", 20*held),
			name("tocsin_feed_verifiers", a, stale, cars):                        "0x120",
			name("tocsin_elite_questions_total", a, check, `outcome="answered"`): "0+50x120",
			name("tocsin_elite_questions_total", a, check, `outcome="failed"`):   "0x120",
			name("tocsin_reported_keys_total", a, `outcome="revoked"`):           "0x120",
			name("tocsin_reported_keys_total", a, `outcome="unknown"`):           "0+1x120",
		})
	}
	for _, r := range []string{res1, res2} {
		maps.Copy(s, states(r, "fresh", 120))
		maps.Copy(s, buckets(r, 8, 10, 10, 10))
		maps.Copy(s, series{
			name("up", r): "1x120",
			name("tocsin_verifier_proof_age_seconds", r):                        "0.3x120",
			name("tocsin_verifier_max_staleness_seconds", r):                    "30x120",
			name("tocsin_verifier_refused_total", r, `code="stale"`):            "0x120",
			name("tocsin_verifier_refused_total", r, `code="revoked"`):          "0+10x120",
			name("tocsin_verifier_refused_total", r, `code="auth_unavailable"`): "3x120",
			name("tocsin_verifier_mismatches_total", r):                         "0x120",
			name("tocsin_verifier_bad_messages_total", r):                       "0x120",
			name("tocsin_verifier_slow_consumer_total", r):                      "0x120",
			name("tocsin_verifier_quota_uncounted_total", r):                    "0x120",
			name("tocsin_verifier_gaps_total", r):                               "0 0 1x118",
			name("tocsin_verifier_catch_up_errors_total", r):                    "0 0 1x118",
		})
	}
	return s
}

const (
	stale = `state="stale"`
	cars  = `service="cars"`
	check = `question="check"`
)

// states makes the series of the verifier's state, from pairs of a state and for how many samples.
func states(verifier string, pairs ...any) series {
	s := series{}
	for _, state := range []string{"starting", "fresh", "stale"} {
		var values []string
		for i := 0; i < len(pairs); i += 2 {
			in := 0
			if pairs[i] == state {
				in = 1
			}
			values = append(values, fmt.Sprintf("%dx%d", in, pairs[i+1].(int)-1))
		}
		s[name("tocsin_verifier_state", verifier, fmt.Sprintf("state=%q", state))] = strings.Join(values, " ")
	}
	return s
}

// buckets makes the propagation histogram, from how many events more each bucket has with each sample.
func buckets(verifier string, upTo5ms, upTo10ms, upTo250ms, upTo1s int) series {
	s := series{}
	for le, n := range map[string]int{"0.005": upTo5ms, "0.01": upTo10ms, "0.25": upTo250ms, "1": upTo1s, "+Inf": 10} {
		s[name("tocsin_verifier_propagation_seconds_bucket", verifier, fmt.Sprintf("le=%q", le))] = fmt.Sprintf("0+%dx120", n)
	}
	return s
}

// both gives the two authsvc the same values.
func both(metric, values string, labels ...string) series {
	s := series{}
	for _, a := range []string{auth1, auth2} {
		s[name(metric, append([]string{a}, labels...)...)] = values
	}
	return s
}

func join(all ...series) series {
	s := series{}
	for _, one := range all {
		maps.Copy(s, one)
	}
	return s
}

// scenario is a change of the healthy ten minutes, and exactly the alerts that fire at moments of it.
type scenario struct {
	change series
	fire   map[string]map[string]int // by the time since the beginning, by alert
}

// quiet is a moment at which no alert may fire.
var quiet map[string]int

// silence takes series away.
func silence(of string) series {
	s := series{}
	for k := range healthy() {
		if strings.Contains(k, of) {
			s[k] = "_x120"
		}
	}
	return s
}

var scenarios = map[string]scenario{
	"all is well": {series{}, map[string]map[string]int{"5m": quiet, "10m": quiet}},
	"a rolling restart: the lease changes hands, an instance starts anew, the old one goes silent": {
		join(states(res1, "fresh", 48, "starting", 3, "fresh", 69),
			both("tocsin_feed_verifiers", "0x53 1x6 0x59", stale, cars),
			series{
				name("up", auth1):                          "1x23 0x3 1x92",
				name("up", res1):                           "1x47 0x2 1x69",
				name("tocsin_feed_dispatcher", auth1):      "1x23 _x3 0x92",
				name("tocsin_feed_dispatcher", auth2):      "0x24 1x95",
				name("tocsin_feed_proofs_total", auth2):    "0x24 20+20x95",
				name("tocsin_feed_takeovers_total", auth2): "0x24 1x95",
			}),
		map[string]map[string]int{"2m5s": quiet, "2m15s": quiet, "4m10s": quiet, "4m50s": quiet, "8m": quiet},
	},
	"a program is gone": {
		series{name("up", res1): "1x60 0x59"},
		map[string]map[string]int{"5m30s": quiet, "6m10s": {"TocsinProcessDown": 1}},
	},
	"the database is away from both, and the fleet grows old": {
		join(both("tocsin_database_up", "1x60 0x59"), both("tocsin_feed_oldest_unpublished_seconds", "0x60 _x59"), series{
			name("tocsin_feed_dispatcher", auth1):           "1x60 0x59",
			name("tocsin_feed_step_errors_total", auth1):    "0x60 1+5x58",
			name("tocsin_verifier_proof_age_seconds", res1): "0.3x60 5+5x5 31x53",
		}),
		map[string]map[string]int{
			"5m10s": quiet,
			"5m15s": {"TocsinDatabaseAway": 2},
			"5m20s": {"TocsinDatabaseAway": 2, "TocsinVerifierAging": 1, "TocsinDispatcherMissing": 1},
			"5m40s": {"TocsinDatabaseAway": 2, "TocsinVerifierAging": 1, "TocsinDispatcherMissing": 1, "TocsinDispatcherFails": 1},
		},
	},
	"one verifier is cut off and refuses: it isn't ageing any more, it is stale": {
		join(states(res1, "fresh", 61, "stale", 60), series{
			name("tocsin_verifier_refused_total", res1, `code="stale"`): "0x60 10+10x58",
			name("tocsin_verifier_proof_age_seconds", res1):             "0.3x60 31+5x58",
		}),
		map[string]map[string]int{"5m": quiet, "5m30s": {"TocsinVerifierStale": 1, "TocsinRefusingWithoutFault": 1}},
	},
	"a verifier never gets its first proof": {
		states(res2, "fresh", 61, "starting", 60),
		map[string]map[string]int{"5m30s": quiet, "6m15s": {"TocsinVerifierNotReady": 1}},
	},
	"one event in ten is slow": {
		join(buckets(res1, 5, 9, 9, 10), buckets(res2, 5, 9, 9, 10)),
		map[string]map[string]int{"1m": quiet, "5m": {"TocsinPropagationSlow": 1}},
	},
	"a branch, forged messages, lost messages and catch-ups that fail": {
		series{
			name("tocsin_verifier_mismatches_total", res1):      "0x60 1x59",
			name("tocsin_verifier_bad_messages_total", res2):    "0x60 2x59",
			name("tocsin_verifier_slow_consumer_total", res1):   "0x60 1x59",
			name("tocsin_verifier_gaps_total", res2):            "0x60 5+5x58",
			name("tocsin_verifier_catch_up_errors_total", res1): "0x60 3+3x58",
		},
		map[string]map[string]int{"5m": quiet, "6m30s": {
			"TocsinVerifierMismatch": 1, "TocsinVerifierBadMessages": 1, "TocsinVerifierLosesMessages": 2, "TocsinCatchUpFails": 1,
		}},
	},
	"nobody is the dispatcher": {
		series{name("tocsin_feed_dispatcher", auth1): "1x60 0x59"},
		map[string]map[string]int{"5m10s": quiet, "5m30s": {"TocsinDispatcherMissing": 1}},
	},
	"the dispatcher proves nothing": {
		series{name("tocsin_feed_proofs_total", auth1): "0+5x60 300x59"},
		map[string]map[string]int{"5m": quiet, "6m30s": {"TocsinDispatcherSilent": 1}},
	},
	"no authsvc tells anything at all": {
		silence("authsvc"),
		map[string]map[string]int{"1m": {"TocsinDispatcherMissing": 1}},
	},
	"two dispatchers, and a lease that wanders": {
		series{
			name("tocsin_feed_dispatcher", auth2):      "0x60 1x59",
			name("tocsin_feed_proofs_total", auth2):    "0x60 20+20x59",
			name("tocsin_feed_takeovers_total", auth2): "0x60 1+1x20 21x38",
		},
		map[string]map[string]int{"5m20s": quiet, "6m30s": {"TocsinDispatcherTwice": 1, "TocsinDispatcherUnsteady": 1}},
	},
	"the stream is away, and is filled again after": {
		join(both("tocsin_feed_oldest_unpublished_seconds", "0x60 0+5x10 0x48"), series{
			name("tocsin_feed_stream_unavailable", auth1): "0x60 1x11 0x47",
			name("tocsin_feed_repairs_total", auth1):      "0x72 1x47",
		}),
		map[string]map[string]int{
			"5m10s": quiet,
			"5m40s": {"TocsinStreamUnavailable": 1, "TocsinEventsNotPublished": 1},
			"7m":    {"TocsinStreamRepaired": 1},
		},
	},
	"somebody guesses passwords": {
		series{name("tocsin_throttled_total", auth2, `limit="account"`): "0x60 30+30x59"},
		map[string]map[string]int{"5m": quiet, "7m": {"TocsinGuessing": 1}},
	},
	"a key was found in public and reported": {
		series{name("tocsin_reported_keys_total", auth2, `outcome="revoked"`): "0x60 1x59"},
		map[string]map[string]int{"5m": quiet, "5m10s": {"TocsinKeysLeaked": 1}},
	},
	"the database was restored from a backup": {
		both("tocsin_feed_epoch_timestamp_seconds", "1700000000.123x60 1700005000.5x59"),
		map[string]map[string]int{"5m": quiet, "5m10s": {"TocsinEpochOpened": 1}},
	},
	"a restored database can't get everything back": {
		series{name("tocsin_feed_import_incomplete", auth1): "0x60 1x59"},
		map[string]map[string]int{"5m": quiet, "5m10s": {"TocsinImportIncomplete": 1}},
	},
	"the dispatcher and the elite responders are too slow": {
		series{
			name("tocsin_feed_late_requests_total", auth1):                         "0x60 2+2x58",
			name("tocsin_elite_questions_total", auth2, check, `outcome="failed"`): "0x60 1+1x58",
		},
		map[string]map[string]int{"5m15s": quiet, "6m30s": {"TocsinProofsLate": 1, "TocsinEliteUnanswered": 1}},
	},
	"authsvc isn't asked about quotas": {
		series{name("tocsin_verifier_quota_uncounted_total", res1): "0x60 30+30x58"},
		map[string]map[string]int{"5m15s": quiet, "7m": {"TocsinQuotaUncounted": 1}},
	},
	"a service floods with proof requests": {
		series{name("tocsin_feed_displaced_requests_total", auth1): "0x60 500+500x58"},
		map[string]map[string]int{"5m30s": quiet, "7m": {"TocsinProofRequestsDisplaced": 1}},
	},
	"a service that nobody scrapes says that it is stale": {
		both("tocsin_feed_verifiers", "0x60 1x59", stale, cars),
		map[string]map[string]int{"7m": quiet, "8m30s": {"TocsinFleetStale": 1}},
	},
}

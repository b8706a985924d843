package speed

import "fmt"

// ratio is how many times as fast one is as another, in the same rounds. These are what `make bench-check` compares, because
// they hold on another machine, too, as absolute times don't.
type ratio struct {
	ours, theirs string
	target       float64 // 0: none
	// tolerance is by which factor a short run may be worse than the committed one. What runs in this process alone is
	// steady; what goes through other processes depends on how the kernel wakes them.
	tolerance float64
}

const (
	within  = 1.35 // this process
	between = 1.7  // several
)

var ratios = []ratio{
	{hot, optIn, 2, within},
	{hot, broadcast, 0, within},
	{hot, jwtEdDSA, 300, within},
	{hot, jwtRS256, 0, within},
	{hot, jwtHS256, 0, within},
	{hot, jwtRedis, 400, between},
	{hot, jwtRedisPiped, 0, between},
	{hot, jwtOptIn, 0, within},
	{hot, jwtList, 0, within},
	{hot, ownCache, 0, within},
	{hot, introspect, 0, between},
	{hotRoles, hot, 0, within},
	{hotQuota, hot, 0, within},
	{hotRevoked, hot, 0, within},
	{hotAll, hot, 0, within},
	{hotKey, optIn, 2, within},
	{hotKey, jwtEdDSA, 300, within},
	{hotKey, jwtRedis, 400, between},
	{manyOurs, manyMap, 1 / 0.9, within},
	{manyOurs, manyClock, 0, within},
	{manyOurs, optInMany, 0, within},
	{cold, signature, 0, within},
	{cold, jwtEdDSA, 0, within},
	{cold, jwtRedis, 0, between},
	{coldDead, cold, 0, within},
	{elite, plainNATS, 0, between},
	{elite, plainHTTP, 0, between},
	{elite, introspect, 0, between},
	{elitePG, introspectPG, 0, between},
	{introspect, plainHTTP, 0, between},
}

func (r ratio) name() string { return fmt.Sprintf("%s, against: %s", r.ours, r.theirs) }

// by returns the ratio of each round, or nil if one of the two wasn't measured.
func (r ratio) by(s session) []float64 {
	ours, theirs := s.of(r.ours), s.of(r.theirs)
	if ours == nil || theirs == nil {
		return nil
	}
	all := make([]float64, len(ours.nanos))
	for i := range all {
		all[i] = theirs.nanos[i] / ours.nanos[i]
	}
	return all
}

// bound is what must not take longer, or allocate more.
type bound struct {
	name   string
	nanos  float64
	allocs int // -1: any
}

var bounds = []bound{
	{hot, 100, 0}, {hotKey, 100, 0}, {hotRoles, 0, 0}, {hotQuota, 0, 0}, {quotaPG, 1e6, -1}, {quota, 1e6, -1}, {hotRevoked, 0, 0}, {manyOurs, 0, 0},
	{elitePG, 250e3, -1}, {elitePG64, 1e9 / 12_000, -1}, {introspectPG, 840e3 / 3, -1}, {introspectPG64, 1e9 / (3 * 2900), -1},
}

// addition is what something may take more than without it.
type addition struct {
	name, to string
	nanos    float64
}

var additions = []addition{{hotQuota, hot, 50}}

// loss is where another way is better or could be, and why.
type loss struct{ ours, theirs, why string }

var losses = []loss{
	{hot, oneMap, "a map says nothing of time, of revocation or of freshness; the clock alone takes the greater part"},
	{manyOurs, manyMap, "the map reads no clock. Reading it waits until all loads before it are done (the vDSO orders it with LFENCE), so what one request has to wait for from memory can't overlap with the next request's"},
	{manyOurs, manyAtOnce, "the same, where look-ups of several requests overlap in one processor, as in a loop over them; requests of a service seldom come like that"},
	{manyOurs, optInMany, "rueidis looks for a short key, not for a whole token, and hasn't verified it"},
	{hot, ownCache, "what one writes for oneself has no bound on its memory and doesn't know whether its list is complete or fresh"},
	{cold, jwtHS256, "an HMAC is no signature: whoever can verify can issue. RS256 verifies faster than Ed25519, and issues slower"},
	{cold, jwtRS256, "RS256 verifies faster than Ed25519; authsvc can be set to RS256"},
	{coldDead, redisExists, "a revoked token that was never seen is verified before it is refused: by what it says of itself nobody may be refused before it is known to be true. A list that is asked first doesn't have to"},
	{coldDead, redisPipelined, "the same, where a hundred are asked about at once"},
	{cold, optInTouch, "the first touch of a client-side cache is a question over the network, but no signature is in it"},
	{elite, hot, "an elite route asks authsvc and its database each time. That is what it is for"},
	{elite, redisExists, "authsvc reads a database, not memory"},
	{elite, plainNATS, "the database, two signatures and their verification come on top of the bus"},
	{elite, plainHTTP, "the same; a plain HTTP request asks nobody anything"},
	{firstKey, optInTouch, "the first use of a key asks authsvc, which reads its database and signs; the first touch of a client-side cache asks memory"},
	{introspect, redisExists, "HTTP, the caller's own credential and the database"},
}

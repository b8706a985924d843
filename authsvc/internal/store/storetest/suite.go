package storetest

import (
	"testing"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
)

// Run runs the whole suite on fresh databases of an engine.
func Run(t *testing.T, engine store.Engine) {
	tests := []struct {
		name string
		test func(*testing.T, *store.DB)
	}{
		{"a user is read as written", userIsReadAsWritten},
		{"a username is taken once", usernameIsTakenOnce},
		{"users are paged and searched", usersArePagedAndSearched},
		{"versions only rise", versionsOnlyRise},
		{"admins are counted, disabled ones too", adminsAreCounted},
		{"users of a list share one version", usersOfAListShareOneVersion},
		{"everybody with a role gets one version", everybodyWithARoleGetsOneVersion},
		{"nobody has a role that isn't there, nor a part of one", nobodyHasARole},
		{"deleting a user deletes all that is the user's", deletingAUser},
		{"a session is read as written and ends once", sessionEndsOnce},
		{"a session lives only while everything lets it", sessionLife},
		{"a refresh token is used once", refreshTokenIsUsedOnce},
		{"old sessions are pruned", oldSessionsArePruned},
		{"old API keys are pruned", oldKeysArePruned},
		{"an API key is read as written", keyIsReadAsWritten},
		{"an API key isn't held without being suspended", heldKeyIsSuspended},
		{"an API key lives only while everything lets it", keyLife},
		{"uses of API keys are written, once in a while", keyUsesAreWritten},
		{"uses of API keys wait for no other transaction", keyUsesWaitForNobody},
		{"as many uses of API keys as a list may hold", asManyKeyUsesAsMayBe},
		{"an API key's end only comes nearer", keyEndOnlyComesNearer},
		{"API keys are listed and filtered", keysAreListed},
		{"an event is read as written", eventIsReadAsWritten},
		{"an event that would be too large is refused", largeEventIsRefused},
		{"an event of many users is split", eventOfManyUsersIsSplit},
		{"live revocations are paged", revocationsArePaged},
		{"the audit log is paged", auditIsPaged},
		{"the audit log is pruned from its beginning", auditIsPruned},
		{"services have unique names", servicesHaveUniqueNames},
		{"a retired kid never comes back", retiredKidNeverComesBack},
		{"secrets are kept once", secretsAreKeptOnce},
		{"issuing raises the bounds first", issuingRaisesTheBounds},
		{"ids ascend and stay above the watermark", idsAscend},
		{"an import redoes every effect, once", importRedoesEveryEffect},
		{"an import redoes what has lapsed", importRedoesLapsedEvents},
		{"an import keeps revoked tokens for a day", importKeepsRevokedTokensForADay},
		{"an import never loosens", importNeverLoosens},
		{"an import holds keys and lets them go", importHoldsAndLetsGo},
		{"an import ends keys for good", importEndsKeysForGood},
		{"an import keeps events of the unknown", importKeepsEventsOfTheUnknown},
		{"plans are replaced", plansAreReplaced},
		{"quotas are read as written", quotasAreReadAsWritten},
		{"ended quotas are pruned", endedQuotasArePruned},
		{"deleted users have no quotas", deletedUsersHaveNoQuotas},
		{"a failed transaction leaves nothing", failedTransactionLeavesNothing},
		{"a view can't write", viewCannotWrite},
		{"a view sees one snapshot", viewSeesOneSnapshot},
		{"a cancelled context ends a transaction", cancelledContext},
		{"parallel: the last admin stays", lastAdminStays},
		{"parallel: versions are never used twice", versionsAreNeverUsedTwice},
		{"parallel: a refresh token has one first use", refreshTokenHasOneFirstUse},
		{"parallel: one of many gets a username", oneGetsAUsername},
		{"parallel: no issuing straddles a revocation of everything", noIssuingStraddles},
		{"parallel: revoking everything isn't starved", revokingIsNotStarved},
		{"parallel: deadlocks are retried", deadlocksAreRetried},
		{"parallel: locking everybody with a role makes no deadlock", massWaitsForNobodyWhoWaits},
		{"parallel: quotas are counted one after the other", quotasAreCountedOneAfterTheOther},
		{"parallel: issuers are awaited, and not kept out", issuersAreAwaited},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.test(t, Open(t, URL(t, engine)))
		})
	}
}

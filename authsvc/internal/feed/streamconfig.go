package feed

import (
	"context"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// configure brings the stream's configuration back to what the feed needs, and reports whether it had to: messages may be
// missing then, for limits that others set may have removed them. What doesn't matter to the feed, such as where the stream
// is placed, stays as it is; so does what a server can't change in a stream that exists.
func (b *natsBus) configure(ctx context.Context, have jetstream.StreamConfig) (changed bool) {
	want := b.wanted(have)
	if same(have, want) {
		b.refusal = ""
		return false
	}
	if _, err := b.js.UpdateStream(ctx, want); err != nil {
		if b.refusal != err.Error() {
			b.refusal = err.Error()
			b.log.Warn("the stream keeps a configuration that the feed can't rely on", "stream", events.StreamName, "error", err)
		}
		return false
	}
	b.log.Warn("the stream's configuration was brought back to what the feed needs", "stream", events.StreamName)
	return true
}

// compare says when the stream isn't what this process would make of it. Who isn't the dispatcher leaves it so: two replicas
// with different settings would go on undoing what the other did.
func (b *natsBus) compare(have jetstream.StreamConfig) {
	if !same(have, b.wanted(have)) {
		b.log.Warn("the stream has another configuration than this process would give it; the dispatcher decides (compare TOCSIN_STREAM_REPLICAS and TOCSIN_STREAM_MAX_AGE of all replicas)",
			"stream", events.StreamName, "replicas", have.Replicas, "max_age", have.MaxAge)
	}
}

// wanted is a stream's configuration with what the feed needs put in.
func (b *natsBus) wanted(have jetstream.StreamConfig) jetstream.StreamConfig {
	want, needs := have, b.config
	want.Description, want.Subjects, want.Replicas = needs.Description, needs.Subjects, needs.Replicas
	want.MaxAge, want.MaxBytes, want.Discard = needs.MaxAge, needs.MaxBytes, jetstream.DiscardOld
	want.MaxMsgs, want.MaxMsgsPerSubject, want.MaxMsgSize = -1, -1, -1
	want.DiscardNewPerSubject, want.NoAck = false, false
	want.AllowDirect, want.DenyDelete, want.DenyPurge = needs.AllowDirect, needs.DenyDelete, needs.DenyPurge
	want.SubjectTransform, want.RePublish = nil, nil
	return want
}

// same compares what wanted puts in.
func same(a, b jetstream.StreamConfig) bool {
	return a.Description == b.Description && slices.Equal(a.Subjects, b.Subjects) && a.Replicas == b.Replicas &&
		a.MaxAge == b.MaxAge && a.MaxBytes == b.MaxBytes && a.Discard == b.Discard &&
		a.MaxMsgs == b.MaxMsgs && a.MaxMsgsPerSubject == b.MaxMsgsPerSubject && a.MaxMsgSize == b.MaxMsgSize &&
		a.DiscardNewPerSubject == b.DiscardNewPerSubject && a.NoAck == b.NoAck &&
		a.AllowDirect == b.AllowDirect && a.DenyDelete == b.DenyDelete && a.DenyPurge == b.DenyPurge &&
		a.SubjectTransform == nil && a.RePublish == nil
}

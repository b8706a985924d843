package natstest_test

import (
	"context"
	"errors"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tocsin-auth/tocsin/test/natstest"
)

// serviceHasAQueue does what a service and its workers do with their job queue, and finds that it is in nobody else's account.
func (p *permissionTest) serviceHasAQueue(t *testing.T) {
	drainErrors(p.carsErrors)
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	js, err := jetstream.New(p.cars)
	if err != nil {
		t.Fatal(err)
	}
	queue := jetstream.StreamConfig{Name: "JOBS", Subjects: []string{"jobs.>"}, Retention: jetstream.WorkQueuePolicy, MaxBytes: 48 << 20,
		Storage: jetstream.FileStorage, Replicas: p.replicas}
	for range 2 { // made, and brought up to date
		natstest.Insist(t, "make the queue", func(ctx context.Context) error {
			_, err := js.CreateOrUpdateStream(ctx, queue)
			return err
		})
	}
	natstest.Insist(t, "make the consumer", func(ctx context.Context) error {
		_, err := js.CreateOrUpdateConsumer(ctx, "JOBS", jetstream.ConsumerConfig{Durable: "workers", AckPolicy: jetstream.AckExplicitPolicy})
		return err
	})
	natstest.Insist(t, "put a job on the queue", func(ctx context.Context) error {
		_, err := js.Publish(ctx, "jobs.u.x", []byte("job"), jetstream.WithExpectLastSequencePerSubject(0))
		if isThere(err) { // the acknowledgement of an earlier try was lost
			return nil
		}
		return err
	})
	if _, err := js.Publish(ctx, "jobs.u.x", []byte("job"), jetstream.WithExpectLastSequencePerSubject(0)); !isThere(err) {
		t.Errorf("a job that is on the queue already: %v", err)
	}
	consumer, err := js.Consumer(ctx, "JOBS", "workers")
	if err != nil {
		t.Fatal(err)
	}
	var message jetstream.Msg
	natstest.Insist(t, "take a job from the queue", func(context.Context) (err error) {
		message, err = consumer.Next()
		return err
	})
	if string(message.Data()) != "job" {
		t.Fatal(message)
	}
	for err = message.DoubleAck(ctx); err == nil || isThere(err); { // between nodes, what was taken leaves a moment later
		if _, err = js.Publish(ctx, "jobs.u.x", []byte("job"), jetstream.WithExpectLastSequencePerSubject(0)); err == nil {
			break
		}
	}
	if err != nil {
		t.Errorf("once more, after it was taken: %v", err)
	}
	elsewhere, err := jetstream.New(p.jobs)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := elsewhere.Stream(ctx, "JOBS"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("another service's queue: %v", err)
	}
	p.queueIsBounded(t, js)
}

func isThere(err error) bool {
	var refused *jetstream.APIError
	return errors.As(err, &refused) && (refused.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		refused.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

func (p *permissionTest) queueIsBounded(t *testing.T, js jetstream.JetStream) {
	for _, subject := range []string{
		"$JS.API.STREAM.CREATE.MORE", "$JS.API.STREAM.DELETE.JOBS", "$JS.API.STREAM.PURGE.JOBS", "$JS.API.STREAM.MSG.GET.JOBS",
		"$JS.API.CONSUMER.CREATE.JOBS", "$JS.API.CONSUMER.CREATE.JOBS.other", "$JS.API.CONSUMER.CREATE.JOBS.workers.jobs.u.x",
		"$JS.API.CONSUMER.DURABLE.CREATE.JOBS.workers", "$JS.API.CONSUMER.DELETE.JOBS.workers", "$JS.ACK.TOCSIN.workers.1.1.1.1.1",
		"$JS.API.STREAM.INFO.TOCSIN", "$JS.API.CONSUMER.MSG.NEXT.TOCSIN.workers",
	} {
		if err := p.cars.PublishRequest(subject, p.cars.NewRespInbox(), []byte("{}")); err != nil {
			t.Fatal(err)
		}
		refused(t, p.carsErrors, subject)
	}
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	if _, err := js.UpdateStream(ctx, jetstream.StreamConfig{Name: "JOBS", Subjects: []string{"jobs.>"}, Retention: jetstream.WorkQueuePolicy,
		Storage: jetstream.FileStorage, MaxBytes: 1 << 30, Replicas: p.replicas}); err == nil {
		t.Error("the queue may be larger than the account's limit")
	}
}

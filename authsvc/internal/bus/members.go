package bus

import (
	"context"
	"sync"
)

// NewMember makes credentials for a service: its public NKey, and the seed that it connects with. With the embedded
// server the seed is kept in memory until [Bus.Sync] admits the service, and then lies in DATA_DIR/nats/<name>.nk (0600).
func (b *Bus) NewMember(name string) (nkey, seed string, err error) {
	if err := validateName(name); err != nil {
		return "", "", err
	}
	if nkey, seed, err = newKey(); err == nil && b.embedded != nil {
		b.newcomers.add(nkey, seed)
	}
	return nkey, seed, err
}

// Configuration returns what the operator of an external NATS must add for a service; empty for the embedded server.
func (b *Bus) Configuration(name, nkey string) (string, error) {
	if b.embedded != nil {
		return "", nil
	}
	return AccountBlock(Service{Name: name, NKey: nkey})
}

// Sync makes the embedded server admit exactly these services; connections of the others are closed, all else goes on.
// For an external NATS it does nothing: the operator owns its configuration, whatever the number of replicas. Callers
// pass what the services table holds after their commit; a call that returns an error may be repeated.
func (b *Bus) Sync(_ context.Context, services []Service) error {
	if b.embedded == nil {
		return nil
	}
	b.syncing.Lock()
	defer b.syncing.Unlock()
	if err := b.embedded.sync(services); err != nil {
		return err
	}
	for _, s := range services {
		seed, ok := b.newcomers.take(s.NKey)
		if !ok {
			continue
		}
		if err := writeFile(seedPath(b.embedded.dir, s.Name), seed+"\n"); err != nil {
			return err
		}
	}
	return nil
}

// maxNewcomers bounds the seeds of services that were never admitted, since their names were taken.
const maxNewcomers = 16

// newcomers holds the seeds of services between their creation and their admission. A seed is written to disk only then,
// or it could replace that of a service that has the name already.
type newcomers struct {
	mu    sync.Mutex
	seeds map[string]string // by public key
	order []string
}

func (n *newcomers) add(nkey, seed string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.seeds == nil {
		n.seeds = map[string]string{}
	}
	if len(n.order) == maxNewcomers {
		delete(n.seeds, n.order[0])
		n.order = n.order[1:]
	}
	n.seeds[nkey] = seed
	n.order = append(n.order, nkey)
}

func (n *newcomers) take(nkey string) (seed string, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	seed, ok = n.seeds[nkey]
	delete(n.seeds, nkey)
	return seed, ok
}

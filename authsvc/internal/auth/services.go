package auth

import (
	"context"
	"errors"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
)

// ServiceBus lets resource services join and leave the message bus.
type ServiceBus interface {
	// NewMember makes credentials for a service: its public NKey and the seed, which is stored nowhere.
	NewMember(name string) (nkey, seed string, err error)
	// Configuration returns what an operator must add to an external NATS; empty when there is nothing to do.
	Configuration(name, nkey string) (string, error)
	// Sync admits exactly these services. It may be repeated.
	Sync(ctx context.Context, members []store.Service) error
}

// BusService is a resource service that may join the bus.
type BusService struct {
	Name      string    `json:"name"`
	CreatedAt time.Time `json:"created_at"`
}

// AddedService carries a new service's credentials, shown once.
type AddedService struct {
	BusService
	Seed   string `json:"nkey_seed"`
	Config string `json:"nats_config"`
}

// Services lists the services, by name, for admins.
func (s *Service) Services(ctx context.Context, c Caller) ([]BusService, error) {
	var rows []store.Service
	err := s.view(ctx, func(tx *store.Tx) (err error) {
		if err = admin(ctx, tx, c); err == nil {
			rows, err = tx.Services(ctx)
		}
		return err
	})
	all := make([]BusService, 0, len(rows))
	for _, row := range rows {
		all = append(all, BusService{Name: row.Name, CreatedAt: fromMicros(row.CreatedAt)})
	}
	return all, err
}

// AddService lets a service join the bus, for admins. A taken name is [ErrConflict].
func (s *Service) AddService(ctx context.Context, c Caller, name string) (AddedService, error) {
	if err := checkName("name", name); err != nil {
		return AddedService{}, err
	}
	nkey, seed, err := s.cfg.Bus.NewMember(name)
	if err != nil {
		return AddedService{}, err
	}
	config, err := s.cfg.Bus.Configuration(name, nkey)
	if err != nil {
		return AddedService{}, err
	}
	var created int64
	_, err = s.change(ctx, c, func(w *work) error {
		if err := w.lockAdmin(ctx); err != nil {
			return err
		}
		created = w.Now()
		if err := w.InsertService(ctx, store.Service{Name: name, NKey: nkey}); err != nil {
			return err
		}
		return w.record(ctx, deed{action: "service.added", target: "service:" + name})
	})
	if errors.Is(err, store.ErrConflict) {
		return AddedService{}, &Error{Code: CodeConflict, Field: "name", Message: "a service has this name already"}
	}
	if err == nil {
		err = s.syncBus(ctx)
	}
	return AddedService{BusService: BusService{Name: name, CreatedAt: fromMicros(created)}, Seed: seed, Config: config}, err
}

// RemoveService shuts a service out, for admins. An unknown name is [ErrNotFound], after the bus was told once more: an
// earlier call may have failed at that.
func (s *Service) RemoveService(ctx context.Context, c Caller, name string) error {
	if err := checkName("name", name); err != nil {
		return err
	}
	_, err := s.change(ctx, c, func(w *work) error {
		if err := admin(ctx, w.Tx, c); err != nil {
			return err
		}
		if err := w.DeleteService(ctx, name); err != nil {
			return err
		}
		return w.record(ctx, deed{action: "service.removed", target: "service:" + name})
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	return errors.Join(err, s.syncBus(ctx))
}

// syncBus tells the bus who belongs to it now. The rows are the truth: what fails here is mended by the next call. One
// call at a time reads and tells, so that an older reading never lets in again whom a newer one has shut out.
func (s *Service) syncBus(ctx context.Context) error {
	s.syncing.Lock()
	defer s.syncing.Unlock()
	var members []store.Service
	err := s.view(ctx, func(tx *store.Tx) (err error) {
		members, err = tx.Services(ctx)
		return err
	})
	if err != nil {
		return err
	}
	return s.cfg.Bus.Sync(ctx, members)
}

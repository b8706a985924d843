package auth

import (
	"context"
	"time"
)

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
	return nil, errNotImplemented
}

// AddService lets a service join the bus, for admins. A taken name is [ErrConflict].
func (s *Service) AddService(ctx context.Context, c Caller, name string) (AddedService, error) {
	return AddedService{}, errNotImplemented
}

// RemoveService shuts a service out, for admins.
func (s *Service) RemoveService(ctx context.Context, c Caller, name string) error {
	return errNotImplemented
}

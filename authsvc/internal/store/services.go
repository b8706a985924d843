package store

import "context"

// Service is a row of services: a resource service that may join the bus.
type Service struct {
	Name      string
	NKey      string // public user NKey
	CreatedAt int64
}

func scanService(s scanner) (v Service, err error) {
	err = s.Scan(&v.Name, &v.NKey, &v.CreatedAt)
	return v, err
}

// InsertService adds a service; a name that is taken is [ErrConflict].
func (tx *Tx) InsertService(ctx context.Context, s Service) error {
	_, err := tx.exec(ctx, `INSERT INTO services (name, nkey, created_at) VALUES ($1, $2, $3)`, s.Name, s.NKey, tx.Now())
	return err
}

// Service reads a service.
func (tx *Tx) Service(ctx context.Context, name string) (Service, error) {
	return scanService(tx.queryRow(ctx, `SELECT name, nkey, created_at FROM services WHERE name = $1`, name))
}

// Services reads all services in the order of their names.
func (tx *Tx) Services(ctx context.Context) ([]Service, error) {
	return queryAll(ctx, tx, scanService, `SELECT name, nkey, created_at FROM services ORDER BY name`)
}

// SetServiceNKey replaces a service's NKey.
func (tx *Tx) SetServiceNKey(ctx context.Context, name, nkey string) error {
	return tx.execOne(ctx, `UPDATE services SET nkey = $2 WHERE name = $1`, name, nkey)
}

// DeleteService deletes a service.
func (tx *Tx) DeleteService(ctx context.Context, name string) error {
	return tx.execOne(ctx, `DELETE FROM services WHERE name = $1`, name)
}

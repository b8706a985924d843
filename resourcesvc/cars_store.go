package main

import (
	"context"
	"database/sql"
	"errors"

	"github.com/google/uuid"
)

const carColumns = `id, owner, make, model, year, price, created_at, sold_at`

func scanCar(row interface{ Scan(...any) error }) (car, error) {
	var (
		c       car
		created int64
		sold    sql.NullInt64
	)
	err := row.Scan(&c.ID, &c.Owner, &c.Make, &c.Model, &c.Year, &c.Price, &created, &sold)
	c.CreatedAt, c.Sold = fromMicros(created), sold.Valid
	return c, err
}

// listCars returns the cars after the one with the id `after`, oldest first.
func (s *store) listCars(ctx context.Context, after string, limit int) ([]car, error) {
	rows, err := s.db.QueryContext(ctx,
		`SELECT `+carColumns+` FROM cars WHERE id > $1 ORDER BY id LIMIT $2`, after, limit)
	if err != nil {
		return nil, inDB("list cars", err)
	}
	defer rows.Close()
	cars := []car{}
	for rows.Next() {
		c, err := scanCar(rows)
		if err != nil {
			return nil, inDB("list cars", err)
		}
		cars = append(cars, c)
	}
	return cars, inDB("list cars", rows.Err())
}

func (s *store) car(ctx context.Context, id string) (car, error) {
	c, err := scanCar(s.db.QueryRowContext(ctx, `SELECT `+carColumns+` FROM cars WHERE id = $1`, id))
	return c, inDB("read a car", err)
}

func (s *store) addCar(ctx context.Context, owner string, in newCar) (car, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return car{}, err
	}
	c, err := scanCar(s.db.QueryRowContext(ctx,
		`INSERT INTO cars (id, owner, make, model, year, price, created_at)
		 VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING `+carColumns,
		id.String(), owner, in.Make, in.Model, in.Year, int64(*in.Price), s.now().UnixMicro()))
	return c, inDB("add a car", err)
}

// sellCar gives the car to the buyer, once. The condition is part of the update: of two buyers one wins.
func (s *store) sellCar(ctx context.Context, id, buyer string) (car, error) {
	c, err := scanCar(s.db.QueryRowContext(ctx,
		`UPDATE cars SET owner = $2, sold_at = $3 WHERE id = $1 AND sold_at IS NULL RETURNING `+carColumns,
		id, buyer, s.now().UnixMicro()))
	if !errors.Is(err, sql.ErrNoRows) {
		return c, inDB("sell a car", err)
	}
	if _, err := s.car(ctx, id); err != nil {
		return car{}, err
	}
	return car{}, errSold
}

func (s *store) deleteCar(ctx context.Context, id string) error {
	err := s.db.QueryRowContext(ctx, `DELETE FROM cars WHERE id = $1 RETURNING id`, id).Scan(&id)
	return inDB("delete a car", err)
}

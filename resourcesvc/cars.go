package main

import (
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// car is what the API shows. Sold is ours: it tells which cars can still be bought.
type car struct {
	ID        string    `json:"id"`
	Owner     string    `json:"owner"`
	Make      string    `json:"make"`
	Model     string    `json:"model"`
	Year      *int64    `json:"year,omitempty"`
	Price     price     `json:"price"`
	Sold      bool      `json:"sold"`
	CreatedAt time.Time `json:"created_at"`
}

type newCar struct {
	Make  string `json:"make"`
	Model string `json:"model"`
	Year  *int64 `json:"year"`
	Price *price `json:"price"`
}

func (c newCar) check() error {
	if err := checkText("make", c.Make); err != nil {
		return err
	}
	if err := checkText("model", c.Model); err != nil {
		return err
	}
	if c.Year != nil && (*c.Year < 1885 || *c.Year > 2100) {
		return invalid("year", "must be from 1885 to 2100")
	}
	if c.Price == nil {
		return invalid("price", "is required")
	}
	return nil
}

const (
	defaultLimit = 50
	maxLimit     = 200
)

func (a *api) listCars(w http.ResponseWriter, r *http.Request) error {
	limit, err := pageLimit(r.URL.Query().Get("limit"))
	if err != nil {
		return err
	}
	cursor := r.URL.Query().Get("cursor")
	if cursor != "" {
		if cursor, err = parseID("cursor", cursor); err != nil {
			return err
		}
	}
	cars, err := a.store.listCars(r.Context(), cursor, limit+1)
	if err != nil {
		return err
	}
	page := struct {
		Items []car  `json:"items"`
		Next  string `json:"next_cursor,omitempty"`
	}{Items: cars}
	if len(cars) > limit { // one more than asked for: so there is a next page
		page.Items = cars[:limit]
		page.Next = cars[limit-1].ID
	}
	return writeJSON(w, http.StatusOK, page)
}

func (a *api) getCar(w http.ResponseWriter, r *http.Request) error {
	id, err := parseID("id", param(r, "id"))
	if err != nil {
		return err
	}
	c, err := a.store.car(r.Context(), id)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, c)
}

func (a *api) createCar(w http.ResponseWriter, r *http.Request) error {
	var in newCar
	if err := decodeBody(w, r, &in); err != nil {
		return err
	}
	if err := in.check(); err != nil {
		return err
	}
	c, err := a.store.addCar(r.Context(), principal(r).Subject, in)
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/v1/cars/"+c.ID)
	return writeJSON(w, http.StatusCreated, c)
}

// purchaseCar is elite: money moves, so auth itself is asked whether the buyer still may.
func (a *api) purchaseCar(w http.ResponseWriter, r *http.Request) error {
	id, err := parseID("id", param(r, "id"))
	if err != nil {
		return err
	}
	c, err := a.store.sellCar(r.Context(), id, principal(r).Subject)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, c)
}

func (a *api) deleteCar(w http.ResponseWriter, r *http.Request) error {
	id, err := parseID("id", param(r, "id"))
	if err != nil {
		return err
	}
	if err := a.store.deleteCar(r.Context(), id); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func pageLimit(s string) (int, error) {
	if s == "" {
		return defaultLimit, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > maxLimit {
		return 0, invalid("limit", "must be from 1 to 200")
	}
	return n, nil
}

// parseID takes the canonical form only, so that one id has one spelling.
func parseID(field, s string) (string, error) {
	id, err := uuid.Parse(s)
	if err != nil || id.String() != s {
		return "", invalid(field, "is not an id")
	}
	return s, nil
}

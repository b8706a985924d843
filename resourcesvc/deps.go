package resourcesvc

import (
	_ "github.com/alecthomas/kong"
	_ "github.com/go-chi/chi/v5"
	_ "github.com/google/uuid"
	_ "github.com/jackc/pgx/v5/stdlib"
	_ "github.com/pressly/goose/v3"
	_ "github.com/prometheus/client_golang/prometheus"
	_ "github.com/prometheus/client_golang/prometheus/promhttp"
	_ "modernc.org/sqlite"
	_ "go.uber.org/goleak"
	_ "github.com/google/go-cmp/cmp"
)

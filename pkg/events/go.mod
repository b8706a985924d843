module github.com/tocsin-auth/tocsin/pkg/events

go 1.26.0

package main

import (
	"net/http"
	"testing"
)

// discard is a ResponseWriter of nobody.
type discard struct{ h http.Header }

func (d discard) Header() http.Header         { return d.h }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

// BenchmarkCheck is a question of nginx from its parsed request to the answer's headers, without the verification.
func BenchmarkCheck(b *testing.B) {
	r := newRig(b, "nginx")
	handler := r.api.routes()
	q, _ := http.NewRequest("GET", "http://sidecar/check", nil)
	q.RemoteAddr = "127.0.0.1:4711"
	q.Header = header("X-Original-Method", "GET", "X-Original-Host", "api.example.com", "X-Original-Uri", "/v1/cars", "Authorization", bearer,
		"User-Agent", "curl/8.5.0", "Accept", "*/*", "Accept-Encoding", "gzip", "X-Forwarded-For", "203.0.113.7")
	b.ReportAllocs()
	for b.Loop() {
		handler.ServeHTTP(discard{http.Header{}}, q)
	}
}

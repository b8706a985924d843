package main

import (
	"errors"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/resourcesvc/internal/worker"
)

// workerConfig is every setting of a worker. Its API key is a secret, which only $TOCSIN_API_KEY or a file holds.
type workerConfig struct {
	ServiceURL  string        `name:"service-url" env:"TOCSIN_SERVICE_URL" default:"http://127.0.0.1:8081" help:"The service whose jobs are done."`
	ComputeURL  string        `name:"compute-url" env:"TOCSIN_COMPUTE_URL" placeholder:"URL" help:"What does the work (default: SERVICE_URL/v1/ai/compute)."`
	Issuer      string        `env:"TOCSIN_ISSUER" default:"http://127.0.0.1:8080" help:"Who turns grants into tokens. A user's own worker doesn't need it."`
	NATSURL     string        `name:"nats-url" env:"TOCSIN_NATS_URL" default:"nats://127.0.0.1:4222" help:"NATS server or list of servers. A user's own worker doesn't need it."`
	NATSCreds   string        `name:"nats-creds" env:"TOCSIN_NATS_CREDS" help:"Credentials or NKey seed file for NATS: the service's."`
	Service     string        `env:"TOCSIN_SERVICE" default:"resourcesvc" help:"Name of the service on the bus."`
	Concurrency int           `env:"TOCSIN_CONCURRENCY" default:"4" help:"How many jobs are done at once."`
	JobTimeout  time.Duration `env:"TOCSIN_JOB_TIMEOUT" default:"10m" help:"How long the work for one job may take."`

	logging

	apiKey string
}

// complete fills in what depends on something else, and checks what kong can't.
func (c *workerConfig) complete() (err error) {
	if c.apiKey, err = secret("TOCSIN_API_KEY"); err != nil {
		return err
	}
	c.ServiceURL = strings.TrimSuffix(c.ServiceURL, "/")
	if c.ComputeURL == "" {
		c.ComputeURL = c.ServiceURL + "/v1/ai/compute"
	}
	switch {
	case c.apiKey == "":
		return errors.New("TOCSIN_API_KEY or TOCSIN_API_KEY_FILE must give the worker's own API key")
	case !isHeaderValue(c.apiKey):
		return errors.New("TOCSIN_API_KEY is no API key")
	case !isSafeURL(c.ServiceURL):
		return errors.New("--service-url (TOCSIN_SERVICE_URL) must be an https URL, or http on a loopback host")
	case !isSafeURL(c.ComputeURL):
		return errors.New("--compute-url (TOCSIN_COMPUTE_URL) must be an https URL, or http on a loopback host")
	case !isSafeURL(c.Issuer):
		return errors.New("--issuer (TOCSIN_ISSUER) must be an https URL, or http on a loopback host")
	case !events.ValidService(c.Service):
		return errors.New("--service (TOCSIN_SERVICE) must match [a-z0-9_-]{1,32}")
	case c.Concurrency < 1 || c.Concurrency > 256:
		return errors.New("--concurrency (TOCSIN_CONCURRENCY) must be from 1 to 256")
	case c.JobTimeout <= 0:
		return errors.New("--job-timeout (TOCSIN_JOB_TIMEOUT) must be above 0")
	}
	return nil
}

// isSafeURL reports whether credentials may be sent there: over TLS, or within this machine.
func isSafeURL(s string) bool {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback())
}

func (c workerConfig) settings() worker.Settings {
	return worker.Settings{
		ServiceURL: c.ServiceURL, ComputeURL: c.ComputeURL, Issuer: c.Issuer, Key: c.apiKey,
		NATSURL: c.NATSURL, NATSCreds: c.NATSCreds, Service: c.Service,
		Concurrency: c.Concurrency, JobTimeout: c.JobTimeout,
	}
}

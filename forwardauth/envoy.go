package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/tocsin-auth/tocsin/forwardauth/internal/identity"
)

// envoy answers ext_authz (v3).
type envoy struct {
	authv3.UnimplementedAuthorizationServer
	*api
}

// serveEnvoy answers on an address until stop is called, which waits for questions that are being answered.
func serveEnvoy(addr string, e envoy, stdout io.Writer) (stop func(), err error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("grpc-addr: %w", err)
	}
	server := grpc.NewServer(grpc.MaxRecvMsgSize(256 << 10))
	authv3.RegisterAuthorizationServer(server, e)
	fmt.Fprintf(stdout, "forwardauth %s listening for ext_authz on grpc://%s\n", version, listener.Addr())
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := server.Serve(listener); err != nil {
			e.log.Error("ext_authz ended", "err", err)
		}
	}()
	return func() {
		timer := time.AfterFunc(stopTimeout, server.Stop)
		defer timer.Stop()
		server.GracefulStop()
		<-served
	}, nil
}

// Check decides one request of an Envoy. Only who isn't a listed proxy gets a gRPC error, which Envoy takes for a refusal too
// unless failure_mode_allow is on.
func (e envoy) Check(ctx context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	if from, ok := peer.FromContext(ctx); !ok || !e.isProxy(from.Addr.String()) {
		return nil, status.Error(codes.PermissionDenied, "only the proxy may ask (TOCSIN_PROXY_ADDRS)")
	}
	headers, refused := e.decide(ctx, questionOf(r.GetAttributes().GetRequest().GetHttp()))
	if refused != nil {
		return denied(refused), nil
	}
	return accepted(headers), nil
}

func questionOf(asked *authv3.AttributeContext_HttpRequest) question {
	return question{asked.GetMethod(), asked.GetHost(), asked.GetPath(), headerOf(asked)}
}

// headerOf reads the map, in which Envoy has joined repeated headers by commas, or the list of raw headers. Envoy's own, whose names
// begin with a colon, are in other fields.
func headerOf(r *authv3.AttributeContext_HttpRequest) http.Header {
	h := http.Header{}
	for name, value := range r.GetHeaders() {
		addHeader(h, name, value)
	}
	for _, one := range r.GetHeaderMap().GetHeaders() {
		value := one.GetValue()
		if raw := one.GetRawValue(); len(raw) > 0 {
			value = string(raw)
		}
		addHeader(h, one.GetKey(), value)
	}
	return h
}

func addHeader(h http.Header, name, value string) {
	if !strings.HasPrefix(name, ":") {
		name = textproto.CanonicalMIMEHeaderKey(name)
		h[name] = append(h[name], value)
	}
}

// accepted sets our headers, removes those that have no value now, and the credential, which is nothing for the backend.
func accepted(headers []identity.Header) *authv3.CheckResponse {
	ok := &authv3.OkHttpResponse{HeadersToRemove: []string{"authorization"}}
	set := make(map[string]bool)
	for _, h := range headers {
		if slices.Contains(rateLimitNames, h.Name) {
			ok.ResponseHeadersToAdd = append(ok.ResponseHeadersToAdd, option(h.Name, h.Value, corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD))
			continue
		}
		set[h.Name] = true
		ok.Headers = append(ok.Headers, option(h.Name, h.Value, corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD))
	}
	for _, name := range identity.Names {
		if !set[name] {
			ok.HeadersToRemove = append(ok.HeadersToRemove, strings.ToLower(name))
		}
	}
	return &authv3.CheckResponse{
		Status:       &rpcstatus.Status{Code: int32(codes.OK)},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: ok},
	}
}

func denied(r *refusal) *authv3.CheckResponse {
	answer := &authv3.DeniedHttpResponse{Status: &typev3.HttpStatus{Code: typev3.StatusCode(r.Status)}, Body: string(r.Body)}
	add := func(name, value string, action corev3.HeaderValueOption_HeaderAppendAction) {
		answer.Headers = append(answer.Headers, option(name, value, action))
	}
	add("content-type", "application/problem+json", corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD)
	add("cache-control", "no-store", corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD)
	for _, line := range r.Challenges {
		add("www-authenticate", line, corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD)
	}
	if r.RetryAfter != "" {
		add("retry-after", r.RetryAfter, corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD)
	}
	for i, value := range r.RateLimits {
		add(rateLimitNames[i], value, corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD)
	}
	return &authv3.CheckResponse{
		Status:       &rpcstatus.Status{Code: int32(codes.PermissionDenied)},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: answer},
	}
}

func option(name, value string, action corev3.HeaderValueOption_HeaderAppendAction) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: strings.ToLower(name), Value: value}, AppendAction: action}
}

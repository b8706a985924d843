package main

import (
	"context"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/tocsin-auth/tocsin/forwardauth/internal/identity"
	"github.com/tocsin-auth/tocsin/pkg/verifier"
)

// dial serves a rig on a real socket and returns a client.
func (r *rig) dial(t *testing.T) authv3.AuthorizationClient {
	t.Helper()
	var addr addrWriter
	stop, err := serveEnvoy("127.0.0.1:0", envoy{api: r.api}, &addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	conn, err := grpc.NewClient(addr.addr(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return authv3.NewAuthorizationClient(conn)
}

// addrWriter reads the line that tells where the program listens.
type addrWriter struct{ strings.Builder }

func (w *addrWriter) addr() string {
	_, addr, _ := strings.Cut(strings.TrimSpace(w.String()), "grpc://")
	return addr
}

var _ io.Writer = (*addrWriter)(nil)

// recorded is testdata/envoy.json: what Envoy sends for GET /v1/cars?x=1, by the documentation of its attributes.
func recorded(t testing.TB) *authv3.CheckRequest {
	t.Helper()
	content, err := os.ReadFile("testdata/envoy.json")
	if err != nil {
		t.Fatal(err)
	}
	var r authv3.CheckRequest
	if err := protojson.Unmarshal(content, &r); err != nil {
		t.Fatal(err)
	}
	return &r
}

func TestEnvoyGetsTheIdentityAndRemovesWhatHasNoValue(t *testing.T) {
	r := newRig(t, "envoy")
	got, err := r.dial(t).Check(t.Context(), recorded(t))
	if err != nil || got.GetStatus().GetCode() != int32(codes.OK) {
		t.Fatal(got, err)
	}
	ok, set := got.GetOkResponse(), map[string]string{}
	for _, h := range ok.GetHeaders() {
		set[h.GetHeader().GetKey()] = h.GetHeader().GetValue()
		if h.GetAppendAction().String() != "OVERWRITE_IF_EXISTS_OR_ADD" {
			t.Errorf("%s is %s", h.GetHeader().GetKey(), h.GetAppendAction())
		}
	}
	if set["tocsin-subject"] != "alice" || set["tocsin-roles"] != "user,editor" || strings.Count(set["tocsin-identity"], ".") != 2 {
		t.Error(set)
	}
	for _, name := range identity.Names {
		lower := strings.ToLower(name)
		if _, isSet := set[lower]; isSet == slices.Contains(ok.GetHeadersToRemove(), lower) {
			t.Errorf("%s is both set and removed, or neither", name)
		}
	}
	if !slices.Contains(ok.GetHeadersToRemove(), "authorization") {
		t.Error("the backend gets the credential")
	}
}

func TestEnvoyGetsRefusalsAsTheyAre(t *testing.T) {
	r := newRig(t, "envoy")
	client := r.dial(t)
	for _, refused := range anyRefusal {
		r.guard.err = refused
		got, err := client.Check(t.Context(), recorded(t))
		if err != nil || got.GetStatus().GetCode() == int32(codes.OK) || got.GetOkResponse() != nil {
			t.Fatal(refused, got, err)
		}
		d, challenges, retry := got.GetDeniedResponse(), 0, ""
		for _, h := range d.GetHeaders() {
			switch h.GetHeader().GetKey() {
			case "www-authenticate":
				challenges++
			case "retry-after":
				retry = h.GetHeader().GetValue()
			}
		}
		status := int(d.GetStatus().GetCode())
		if !strings.Contains(d.GetBody(), string(verifier.CodeOf(refused))) || (status < 429) != (challenges == 2) || (status >= 429) != (retry == "1") {
			t.Errorf("%v: %d, %d challenges, retry after %q, %s", refused, status, challenges, retry, d.GetBody())
		}
	}
}

func TestEnvoysQuestionsAreJudgedAsStrictly(t *testing.T) {
	r := newRig(t, "envoy")
	client := r.dial(t)
	for name, change := range map[string]func(*authv3.AttributeContext_HttpRequest){
		"a dotted path":        func(q *authv3.AttributeContext_HttpRequest) { q.Path = "/v1/%2e%2e/admin" },
		"no path":              func(q *authv3.AttributeContext_HttpRequest) { q.Path = "" },
		"absolute form":        func(q *authv3.AttributeContext_HttpRequest) { q.Path = "http://a/v1/cars" },
		"no host":              func(q *authv3.AttributeContext_HttpRequest) { q.Host = "" },
		"a small method":       func(q *authv3.AttributeContext_HttpRequest) { q.Method = "get" },
		"our header":           func(q *authv3.AttributeContext_HttpRequest) { q.Headers["tocsin-subject"] = "root" },
		"our header, spelt":    func(q *authv3.AttributeContext_HttpRequest) { q.Headers["Tocsin_Subject"] = "root" },
		"another path":         func(q *authv3.AttributeContext_HttpRequest) { q.Headers["x-original-url"] = "/admin" },
		"another proxy's":      func(q *authv3.AttributeContext_HttpRequest) { q.Headers["x-forwarded-uri"] = "/health" },
		"two credentials":      func(q *authv3.AttributeContext_HttpRequest) { q.Headers["authorization"] = "Bearer a,Bearer b" },
		"a second, other case": func(q *authv3.AttributeContext_HttpRequest) { q.Headers["Authorization"] = "Bearer b" },
		"the connection's":     func(q *authv3.AttributeContext_HttpRequest) { q.Headers["connection"] = "tocsin-mode" },
	} {
		q := proto.CloneOf(recorded(t))
		change(q.Attributes.Request.Http)
		got, err := client.Check(t.Context(), q)
		if err != nil || got.GetDeniedResponse().GetStatus().GetCode() != 400 {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if got, err := client.Check(t.Context(), &authv3.CheckRequest{}); err != nil || got.GetDeniedResponse() == nil {
		t.Error("an empty question:", got, err)
	}
	if r.guard.asked > 0 {
		t.Errorf("%d credentials were looked at", r.guard.asked)
	}
}

func TestOnlyAListedEnvoyMayAsk(t *testing.T) {
	r := newRig(t, "envoy")
	r.proxies = nil
	if _, err := r.dial(t).Check(t.Context(), recorded(t)); status.Code(err) != codes.PermissionDenied {
		t.Error(err)
	}
	if _, err := (envoy{api: r.api}).Check(context.Background(), recorded(t)); status.Code(err) != codes.PermissionDenied {
		t.Error("no peer:", err)
	}
}

// FuzzEnvoy: whatever bytes a question is, it gets an answer, and is accepted only on a path that is canonical.
func FuzzEnvoy(f *testing.F) {
	whole, _ := proto.Marshal(recorded(f))
	f.Add(whole)
	r := newRig(f, "envoy")
	f.Fuzz(func(t *testing.T, question []byte) {
		var q authv3.CheckRequest
		if proto.Unmarshal(question, &q) != nil {
			return
		}
		asked := q.GetAttributes().GetRequest().GetHttp()
		headers, refused := r.decide(t.Context(), questionOf(asked))
		if refused == nil && (headers != nil && len(headerOf(asked)["Authorization"]) != 1 || strings.ContainsAny(strings.SplitN(asked.GetPath(), "?", 2)[0], ";\\#")) {
			t.Fatalf("accepted: %v", asked)
		}
	})
}

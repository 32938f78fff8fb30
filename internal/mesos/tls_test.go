package mesos

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tidemill/jobs"
	"tidemill/scheduler"
)

// authority signs certificates.
type authority struct {
	t    *testing.T
	file string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.cert, a.key, a.file, _ = a.sign(template)
	return a
}

// sign gives a certificate, and the files of it and of its key.
func (a *authority) sign(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey, string, string) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key, a.write("CERTIFICATE", der), a.write("PRIVATE KEY", secret)
}

func (a *authority) write(kind string, der []byte) string {
	a.t.Helper()
	file := filepath.Join(a.t.TempDir(), "a.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return file
}

// issue makes a certificate for names, and gives its files.
func (a *authority) issue(names ...string) (cert, key string) {
	a.t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	_, _, cert, key = a.sign(template)
	return cert, key
}

// serve serves by TLS with a certificate for the names; with clients, one of
// the same authority is asked for.
func (a *authority) serve(h http.Handler, clients bool, names ...string) string {
	a.t.Helper()
	pair, err := tls.LoadX509KeyPair(a.issue(names...))
	if err != nil {
		a.t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(h)
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if clients {
		srv.TLS.ClientAuth, srv.TLS.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		srv.TLS.ClientCAs.AddCert(a.cert)
	}
	srv.StartTLS()
	a.t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

// before hands on to a server that speaks plain HTTP.
func before(addr string) http.Handler {
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: addr})
	proxy.FlushInterval = -1
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The answer may begin before the end of the question is read.
		if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		proxy.ServeHTTP(w, r)
	})
}

func config(t *testing.T, files TLS) *tls.Config {
	t.Helper()
	c, err := files.Config()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestLocalMesosBehindTLS runs a task at a master, and reads its sandbox at an
// agent, that are reached by https with a client certificate only.
func TestLocalMesosBehindTLS(t *testing.T) {
	l := startLocal(t, Protobuf)
	l.send(scheduler.Teardown{})
	for range l.sub.Events() {
	}
	ca := newAuthority(t)
	cert, key := ca.issue("tidemill")
	secure := config(t, TLS{CA: ca.file, Cert: cert, Key: key})
	s := NewScheduler(Options{Masters: NewMasters(ca.serve(before(l.from.Master), true, "127.0.0.1")), TLS: secure, Log: zerolog.Nop()})
	sub, err := s.Subscribe(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sub.Close)
	l.sub, l.waiting = sub, nil
	l.from = awaitEvent(l, func(scheduler.Subscribed) bool { return true })
	if l.from.MasterSince.IsZero() {
		t.Error("the master does not say since when it leads")
	}
	offer := l.offer()
	host, port, err := net.SplitHostPort(offer.Address)
	if err != nil || host != offer.Hostname {
		t.Errorf("the agent is called %s; its certificate is for %s", offer.Address, offer.Hostname)
	}
	l.send(scheduler.Accept{Offers: []string{offer.ID}, Launches: []scheduler.Launch{{
		Task: "a", Agent: offer.AgentID, Executor: testSpec(t), Data: []byte("finish"), Resources: jobs.Resources{CPUs: 0.5, Mem: 64, Disk: 10},
	}}})
	l.update("a", jobs.TaskRunning)
	l.update("a", jobs.TaskFinished)
	agent := ca.serve(before(net.JoinHostPort("127.0.0.1", port)), true, "127.0.0.1")
	where := scheduler.Sandbox{AgentAddr: agent, AgentID: offer.AgentID, FrameworkID: l.from.FrameworkID, Executor: "test-executor"}
	if data, _, err := NewFiles("", "", secure).Read(t.Context(), where, "odd.bin", 0, len(odd)); err != nil || !slices.Equal(data, odd) {
		t.Errorf("a file of the sandbox: %q, %v", data, err)
	}
	l.send(scheduler.Teardown{})
	for range l.sub.Events() {
	}
}

// TestWhyTLSFails: what an operator has to do stands in the error.
func TestWhyTLSFails(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	never := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a request got through") })
	plain := httptest.NewServer(never)
	t.Cleanup(plain.Close)
	tests := []struct {
		name, addr string
		files      TLS
		want       string
	}{
		{"unknown authority", ca.serve(never, false, "127.0.0.1"), TLS{CA: other.file}, "--mesos-ca"},
		{"another name", ca.serve(never, false, "master.example"), TLS{CA: ca.file}, "--hostname"},
		{"no client certificate", ca.serve(never, true, "127.0.0.1"), TLS{CA: ca.file}, "--mesos-cert"},
		{"plain HTTP", plain.Listener.Addr().String(), TLS{CA: ca.file}, "LIBPROCESS_SSL_ENABLED"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := NewScheduler(Options{Masters: NewMasters(tt.addr), TLS: config(t, tt.files), Log: zerolog.Nop()})
			if _, err := s.Subscribe(t.Context(), ""); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Subscribe: %v, want …%s…", err, tt.want)
			}
			where := scheduler.Sandbox{AgentAddr: tt.addr, Executor: "e", FrameworkID: "F"}
			if _, _, err := NewFiles("", "", config(t, tt.files)).Read(t.Context(), where, "stdout", 0, 1); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Read: %v, want …%s…", err, tt.want)
			}
		})
	}
}

func TestTLSFilesThatAreNone(t *testing.T) {
	ca := newAuthority(t)
	cert, key := ca.issue("a")
	_, otherKey := ca.issue("b")
	for want, files := range map[string]TLS{
		"needs its key":              {Cert: cert},
		"no such file":               {CA: filepath.Join(t.TempDir(), "none.pem")},
		"holds no certificate":       {CA: key},
		"does not match":             {Cert: cert, Key: otherKey},
		"the client certificate for": {Cert: key, Key: key},
	} {
		if _, err := files.Config(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want …%s…", files, err, want)
		}
	}
}

// TestExecutorByTLS: an executor connects as the environment says that Mesos's
// programs do.
func TestExecutorByTLS(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	streams := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write(record([]byte(`{"type":"ERROR","error":{"message":"not you"}}`))) //nolint:errcheck // the client may be gone
	})
	cert, key := ca.issue("executor")
	byAddress, byName := ca.serve(streams, false, "127.0.0.1"), ca.serve(streams, false, "localhost")
	elsewhere, demanding := ca.serve(streams, false, "agent.example"), ca.serve(streams, true, "127.0.0.1")
	verify := map[string]string{"VERIFY_SERVER_CERT": "true", "CA_FILE": ca.file}
	tests := []struct {
		name, addr string
		settings   map[string]string
		err        string
	}{
		{"not verified", byAddress, nil, ""},
		{"verified", byAddress, verify, ""},
		{"verified by the address's name", byName, verify, ""},
		{"another's name", elsewhere, verify, "IP SANs"},
		{"unknown authority", byAddress, map[string]string{"VERIFY_CERT": "1", "CA_FILE": other.file}, "LIBPROCESS_SSL_CA_FILE"},
		{"no client certificate", demanding, verify, "client certificate"},
		{"client certificate", demanding, map[string]string{"CERT_FILE": cert, "KEY_FILE": key}, ""},
		{"no such file", byAddress, map[string]string{"CA_FILE": "/none.pem"}, "no such file"},
	}
	for _, tt := range tests {
		for _, prefix := range []string{"LIBPROCESS_SSL_", "SSL_"} {
			t.Run(tt.name+" by "+prefix, func(t *testing.T) {
				env := map[string]string{prefix + "ENABLED": "1", "MESOS_AGENT_ENDPOINT": tt.addr}
				for name, value := range tt.settings {
					env[prefix+name] = value
				}
				agent, err := NewAgent(environment(env), JSON, zerolog.Nop())
				if err == nil {
					s, errSubscribe := agent.Subscribe(t.Context(), nil, nil)
					if err = errSubscribe; err == nil {
						s.Close()
					}
				}
				if (err == nil) != (tt.err == "") || (err != nil && !strings.Contains(err.Error(), tt.err)) {
					t.Errorf("got %v, want …%s…", err, tt.err)
				}
			})
		}
	}
}

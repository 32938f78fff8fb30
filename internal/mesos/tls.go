package mesos

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

// TLS names the files, all of them PEM, of connections to masters and agents
// that were started with LIBPROCESS_SSL_ENABLED.
type TLS struct {
	CA   string // who signs their certificates; the system's authorities where empty
	Cert string // what they are shown, for those that require a client certificate
	Key  string
}

// Config reads the files.
func (t TLS) Config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if (t.Cert == "") != (t.Key == "") {
		return nil, errors.New("secure the connection to Mesos: a client certificate needs its key, and a key its certificate (give both)")
	}
	if t.CA != "" {
		text, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("read the CA of Mesos: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("read the CA of Mesos: %s holds no certificate (it must be PEM, with BEGIN CERTIFICATE)", t.CA)
		}
	}
	if t.Cert != "" {
		own, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, fmt.Errorf("read the client certificate for Mesos, %s and %s: %w (both must be PEM, the key without a passphrase)", t.Cert, t.Key, err)
		}
		c.Certificates = []tls.Certificate{own}
	}
	return c, nil
}

// agentTLS is how an executor connects to its agent, which says so as to every
// program of Mesos: by LIBPROCESS_SSL_*, from before 1.0 SSL_*. It is nil where
// that is off. As libprocess does by default it believes the agent, unless it
// is told to verify the certificate.
func agentTLS(addr string, getenv func(string) string) (*tls.Config, error) {
	setting := func(name string) string {
		if v := getenv("LIBPROCESS_SSL_" + name); v != "" {
			return v
		}
		return getenv("SSL_" + name)
	}
	on := func(name string) bool { return setting(name) == "1" || setting(name) == "true" }
	if !on("ENABLED") {
		return nil, nil
	}
	c, err := TLS{CA: setting("CA_FILE"), Cert: setting("CERT_FILE"), Key: setting("KEY_FILE")}.Config()
	if err != nil {
		return nil, err
	}
	c.InsecureSkipVerify = true // VerifyConnection below does it, by another name too
	if on("VERIFY_SERVER_CERT") || on("VERIFY_CERT") || on("REQUIRE_CERT") {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		roots := c.RootCAs
		c.VerifyConnection = func(s tls.ConnectionState) error { return verifyAgent(s.PeerCertificates, host, roots) }
	}
	return c, nil
}

// lookupTimeout bounds the question what an agent's address is called.
const lookupTimeout = 5 * time.Second

// verifyAgent accepts a certificate for the address that an agent told its
// executor, or for a name of that address: like libprocess, for an agent tells
// its IP while certificates name hosts.
func verifyAgent(shown []*x509.Certificate, host string, roots *x509.CertPool) error {
	leaf := shown[0] // a handshake without any fails before
	between := x509.NewCertPool()
	for _, c := range shown[1:] {
		between.AddCert(c)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between}); err != nil {
		return err
	}
	err := leaf.VerifyHostname(host)
	if err == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	names, _ := net.DefaultResolver.LookupAddr(ctx, host) // no names: the address was the only one
	for _, name := range names {
		if leaf.VerifyHostname(name) == nil {
			return nil
		}
	}
	return err
}

// hintTLS says what to do about a connection that could not be secured.
func hintTLS(err error) error {
	var unknown x509.UnknownAuthorityError
	var named x509.HostnameError
	var plain tls.RecordHeaderError
	var remote *net.OpError
	switch {
	case errors.As(err, &unknown):
		return fmt.Errorf("%w (it is not signed by a known authority: name the one of Mesos's certificates with --mesos-ca; for executors, LIBPROCESS_SSL_CA_FILE)", err)
	case errors.As(err, &named):
		return fmt.Errorf("%w (masters and agents are called by the --hostname that they were started with, which their certificate must name)", err)
	case errors.As(err, &plain):
		return fmt.Errorf("%w (it speaks plain HTTP: leave --mesos-ca and https:// out, or start it with LIBPROCESS_SSL_ENABLED)", err)
	case errors.As(err, &remote) && remote.Op == "remote error":
		return fmt.Errorf("%w (it refused us: does it require a client certificate? give --mesos-cert and --mesos-key)", err)
	}
	return err
}

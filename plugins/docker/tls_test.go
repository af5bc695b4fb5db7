package docker_test

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
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/plugins/docker"
)

// certificates writes ca.pem, cert.pem and key.pem, one for both ends, and returns the directory.
func certificates(t *testing.T) (string, tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	rawKey, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	secret := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: rawKey})
	dir := t.TempDir()
	for name, content := range map[string][]byte{"ca.pem": cert, "cert.pem": cert, "key.pem": secret} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), content, 0o600))
	}
	pair, err := tls.X509KeyPair(cert, secret)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(cert)
	return dir, pair, pool
}

func TestAnEngineBehindTLSIsReachedWithTheCertificatesOnly(t *testing.T) {
	t.Parallel()
	dir, pair, pool := certificates(t)
	f := newFakeEngine(t)
	server := httptest.NewUnstartedServer(f)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	t.Cleanup(server.Close)
	f.host = "tcp://" + strings.TrimPrefix(server.URL, "https://")

	opts := f.options(t)
	opts.CertDir = dir
	d, err := docker.New(opts)
	require.NoError(t, err)
	req := f.request(nil)
	rt, err := d.Acquire(t.Context(), req)
	require.NoError(t, err)
	withExec(f, saying(frame('s', startedFrame), frame('s', `{"result":{"end":"exited","exitCode":5,"output":{"state":"complete"}}}`)))
	e, err := d.StartExec(t.Context(), drivers.ExecRequest{
		Handle: driverstest.HandleOf(req, rt), Argv: []string{"true"}, JournalDir: filepath.Join(t.TempDir(), "journal"),
	})
	require.NoError(t, err, "the taken-over connection is encrypted as well")
	result, err := e.Wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, 5, result.ExitCode)

	f.rule = nil
	stranger, _, _ := certificates(t)
	opts.CertDir = stranger
	d, err = docker.New(opts)
	require.NoError(t, err)
	_, err = d.Acquire(t.Context(), f.request(nil))
	_ = requireFailure(t, err, drivers.OutcomeRetryable, "engine_untrusted")
	opts.CertDir = t.TempDir()
	d, err = docker.New(opts)
	require.NoError(t, err)
	_, err = d.Acquire(t.Context(), f.request(nil))
	require.ErrorContains(t, err, "ca.pem")
}

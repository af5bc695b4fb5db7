package ssh

import (
	"encoding/json"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/drivers/ssh/sshtest"
)

// acquire makes a runtime with a configuration and releases it when the test ends, unless that fails.
func acquire(t *testing.T, d *Driver, config json.RawMessage) (drivers.AcquireRequest, drivers.Runtime, error) {
	t.Helper()
	req := driverstest.AcquireRequest(driverstest.Features{Config: config})
	rt, err := d.Acquire(t.Context(), req)
	return req, rt, err
}

func requireFailure(t *testing.T, err error, outcome drivers.Outcome, step, code string) drivers.Failure {
	t.Helper()
	f, ok := errors.AsType[*drivers.Failure](err)
	require.True(t, ok, "a Failure, not %v", err)
	require.Equal(t, []any{outcome, step, code}, []any{f.Outcome, f.Step, f.Code}, "%v", err)
	require.NotEmpty(t, f.Remediation)
	return *f
}

// A01
func TestTheRecordedTypeOfHostKeyIsAskedFirst(t *testing.T) {
	t.Parallel()
	s := sshtest.StartFake(t, sshtest.FakeOptions{HostKeyTypes: []string{"ecdsa", "ed25519"}})
	d := newDriver(t, Options{})
	for _, recorded := range []string{"ed25519", "ecdsa"} {
		config := encode(t, s.Fields(t.TempDir()), map[string]any{"knownHosts": s.KnownHosts(recorded)})
		req, rt, err := acquire(t, d, config)
		require.NoError(t, err, recorded)
		require.NotContains(t, string(rt.Metadata), "hostKey", "the configuration decides")
		require.NoError(t, d.Release(t.Context(), drivers.ReleaseRequest{Handle: driverstest.HandleOf(req, rt)}))
	}
}

// A01, second run
func TestAHostKeyOfAnotherTypeIsRefusedBeforeAnyCredential(t *testing.T) {
	t.Parallel()
	s := sshtest.StartFake(t, sshtest.FakeOptions{})
	recorded, known := s.HostKeys["ed25519"], s.KnownHosts("ed25519")
	s.NewHostKeys("ecdsa")
	config := encode(t, s.Fields(t.TempDir()), map[string]any{"knownHosts": known})
	_, _, err := acquire(t, newDriver(t, Options{}), config)
	f := requireFailure(t, err, drivers.OutcomeDefinite, "host_key", "host_key_mismatch")
	for _, want := range []string{
		"ssh-ed25519", "ecdsa-sha2-nistp256", ssh.FingerprintSHA256(recorded), ssh.FingerprintSHA256(s.HostKeys["ecdsa"]),
	} {
		require.Contains(t, f.Err.Error(), want)
	}
	require.Zero(t, s.Attempts.Load(), "nobody tried to log in")
	require.EqualValues(t, 1, s.Accepted.Load(), "and nobody tried again")
}

func TestAnUnknownHostIsRefusedAndItsLineIsSaid(t *testing.T) {
	t.Parallel()
	s := sshtest.StartFake(t, sshtest.FakeOptions{})
	config := encode(t, s.Fields(t.TempDir()), map[string]any{"knownHosts": nil})
	_, _, err := acquire(t, newDriver(t, Options{}), config)
	f := requireFailure(t, err, drivers.OutcomeDefinite, "host_key", "host_key_unknown")
	require.Contains(t, f.Remediation, strings.TrimSpace(s.KnownHosts("ed25519")))
	require.Zero(t, s.Attempts.Load())
	d := newDriver(t, Options{})
	probed, err := d.Probe(t.Context(), drivers.ProbeRequest{Config: config})
	require.NoError(t, err)
	require.False(t, probed.OK)
	require.Equal(t, "host_key", probed.Phase)
	require.Contains(t, probed.Diagnostics[0].Remediation, "knownHosts")
}

// A02
func TestTrustOnFirstUseIsPerLease(t *testing.T) {
	t.Parallel()
	root := filepath.Join(t.TempDir(), "w")
	host := sshtest.StartFake(t, sshtest.FakeOptions{})
	change := map[string]any{"knownHosts": nil, "strictHostKeyChecking": false}
	config := encode(t, host.Fields(root), change)
	d := newDriver(t, Options{Keepalive: time.Second})
	// becomesAnother puts another machine on the address, without a moment in which the port is free for anybody.
	becomesAnother := func() {
		kept := host.KnownHosts("ed25519")
		host.NewHostKeys()
		require.NotEqual(t, kept, host.KnownHosts("ed25519"))
		host.Drop()
		await(t, d.pool(mustConfig(t, config)).unused, func() string { return "the driver does not notice the broken connection" })
	}
	req, rt, err := acquire(t, d, config)
	require.NoError(t, err)
	_, m := pinsOf(rt.Metadata)
	require.Equal(t, pinOf(host.HostKeys["ed25519"]), m.HostKey)
	require.NoError(t, d.Release(t.Context(), drivers.ReleaseRequest{Handle: driverstest.HandleOf(req, rt)}))

	becomesAnother()
	req, rt, err = acquire(t, d, config)
	require.NoError(t, err, "the new machine on the old address is believed by a new lease")
	h := driverstest.HandleOf(req, rt)
	exec := func() error {
		e, err := drivers.StartExec(t.Context(), d, drivers.ExecRequest{
			Handle: h, ExecID: "x", Argv: []string{"true"}, JournalDir: filepath.Join(t.TempDir(), "j"),
		})
		if err == nil {
			_, err = e.Wait(t.Context())
		}
		return err
	}
	require.NoError(t, exec())
	attempts, accepted := host.Attempts.Load(), host.Accepted.Load()
	becomesAnother()
	err = exec()
	start, ok := errors.AsType[*drivers.StartError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, "host_key_mismatch", start.Code)
	require.Equal(t, attempts, host.Attempts.Load())
	require.Equal(t, accepted+1, host.Accepted.Load(), "a refusal is not tried again")
	requireFailure(t, d.Release(t.Context(), drivers.ReleaseRequest{Handle: h}), drivers.OutcomeDefinite, "host_key", "host_key_mismatch")
}

func mustConfig(t *testing.T, raw json.RawMessage) config {
	t.Helper()
	c, err := decodeConfig(raw, false)
	require.NoError(t, err)
	return c
}

func TestKnownHostsAreReadAsOpenSSHReadsThem(t *testing.T) {
	t.Parallel()
	_, key := sshtest.NewKey(t)
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
	at := hop{host: "Build.example.org", port: 2222}
	usual := hop{host: "build.example.org", port: 22}
	for text, want := range map[string][2]bool{ // at, usual
		"[build.example.org]:2222 ": {true, false}, "build.example.org ": {false, true}, "*.example.org ": {false, true},
		"[*.example.org]:2222 ": {true, false}, "*.example.org,!build.example.org ": {false, false}, "buil?.example.org ": {false, true},
		knownhosts.HashHostname("build.example.org") + " ": {false, true}, "other.example.org ": {false, false},
	} {
		lines, bad := parseKnownHosts([]byte("# comment\n\n" + text + line + "\n"))
		require.Zero(t, bad)
		require.Len(t, lines, 1)
		require.Equal(t, want, [2]bool{lines[0].matches(at), lines[0].matches(usual)}, text)
	}
	_, bad := parseKnownHosts([]byte("# comment\nhost ssh-ed25519 AAAA\n"))
	require.Equal(t, 2, bad)
}

func TestARevokedKeyIsRefusedAndACertificateOfAnAuthorityAccepted(t *testing.T) {
	t.Parallel()
	_, key := sshtest.NewKey(t)
	caPEM, ca := sshtest.NewKey(t)
	signer, err := ssh.ParsePrivateKey([]byte(caPEM))
	require.NoError(t, err)
	h := hop{host: "h", port: 22}
	trustOf := func(text string) trust {
		lines, bad := parseKnownHosts([]byte(text))
		require.Zero(t, bad)
		return newTrust(config{knownHosts: lines, strict: true}, h, "")
	}
	line := func(k ssh.PublicKey) string { return "h " + string(ssh.MarshalAuthorizedKey(k)) }
	require.NoError(t, trustOf(line(key)).check("h:22", nil, key))
	requireFailure(t, trustOf(line(key)+"@revoked "+line(key)).check("h:22", nil, key), drivers.OutcomeDefinite, "host_key", "host_key_revoked")

	cert := &ssh.Certificate{
		Key: key, CertType: ssh.HostCert, ValidPrincipals: []string{"h"}, ValidBefore: ssh.CertTimeInfinity,
	}
	require.NoError(t, cert.SignCert(strings.NewReader(strings.Repeat("x", 100)), signer))
	authority := trustOf("@cert-authority " + line(ca))
	require.NoError(t, authority.check("h:22", &net.TCPAddr{}, cert))
	require.Contains(t, authority.algorithms()[0], "-cert-")
	requireFailure(t, authority.check("h:22", nil, key), drivers.OutcomeDefinite, "host_key", "host_key_mismatch")
	requireFailure(t, trustOf("@cert-authority "+line(key)).check("h:22", &net.TCPAddr{}, cert), drivers.OutcomeDefinite, "host_key", "host_key_mismatch")
	for _, revoked := range []ssh.PublicKey{ca, key, cert} {
		requireFailure(t, trustOf("@cert-authority "+line(ca)+"@revoked "+line(revoked)).check("h:22", &net.TCPAddr{}, cert),
			drivers.OutcomeDefinite, "host_key", "host_key_revoked")
	}
	other := trustOf("@cert-authority " + line(ca))
	other.hop.host = "elsewhere"
	requireFailure(t, other.check("elsewhere:22", &net.TCPAddr{}, cert), drivers.OutcomeDefinite, "host_key", "host_key_mismatch")
}

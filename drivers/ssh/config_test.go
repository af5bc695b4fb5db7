package ssh

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/drivers/ssh/sshtest"
)

const ref = `{"type": "secret_ref", "secretId": "s1", "version": "latest"}`

// encrypted is a private key under the passphrase "open sesame".
func encrypted(t *testing.T) string {
	t.Helper()
	plain, _ := sshtest.NewKey(t)
	key, err := ssh.ParseRawPrivateKey([]byte(plain))
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte("open sesame"))
	require.NoError(t, err)
	return string(pem.EncodeToMemory(block))
}

func TestEveryFieldAtFaultIsNamed(t *testing.T) {
	t.Parallel()
	key, public := sshtest.NewKey(t)
	locked := encrypted(t)
	damaged := strings.Replace(key, "\nb3BlbnNzaC", "\nb3BlbnNzaD", 1)
	require.NotEqual(t, key, damaged)
	base := map[string]any{"host": "h", "username": "u", "remoteWorkspacePath": "/w", "privateKeySecretRef": json.RawMessage(ref)}
	require.NoError(t, (&Driver{}).CheckConfig(encode(t, base, nil)), "a reference is as good as a key")
	for name, row := range map[string]struct {
		change map[string]any
		fields []string
	}{
		"unknown":              {map[string]any{"image": 1}, []string{"image"}},
		"several":              {map[string]any{"host": nil, "port": 70000, "username": "a b", "zzz": 1}, []string{"host", "port", "username", "zzz"}},
		"host":                 {map[string]any{"host": "user@h"}, []string{"host"}},
		"host with a port":     {map[string]any{"host": "127.0.0.1:22"}, []string{"host"}},
		"host like an option":  {map[string]any{"host": "-oProxyCommand=x"}, []string{"host"}},
		"port as text":         {map[string]any{"port": "22"}, []string{"port"}},
		"relative path":        {map[string]any{"remoteWorkspacePath": "work"}, []string{"remoteWorkspacePath"}},
		"path upwards":         {map[string]any{"remoteWorkspacePath": "/srv/../etc"}, []string{"remoteWorkspacePath"}},
		"root":                 {map[string]any{"remoteWorkspacePath": "/"}, []string{"remoteWorkspacePath"}},
		"line break":           {map[string]any{"remoteWorkspacePath": "/a\nb"}, []string{"remoteWorkspacePath"}},
		"no credential":        {map[string]any{"privateKeySecretRef": nil}, []string{"privateKey"}},
		"two keys":             {map[string]any{"privateKey": key}, []string{"privateKey"}},
		"damaged":              {map[string]any{"privateKey": damaged, "privateKeySecretRef": nil}, []string{"privateKey"}},
		"damaged, in place":    {map[string]any{"privateKeySecretRef": "not a key"}, []string{"privateKeySecretRef"}},
		"a public key":         {map[string]any{"privateKeySecretRef": string(ssh.MarshalAuthorizedKey(public))}, []string{"privateKeySecretRef"}},
		"encrypted":            {map[string]any{"privateKeySecretRef": locked}, []string{"privateKeySecretRef"}},
		"wrong passphrase":     {map[string]any{"privateKeySecretRef": locked, "passphrase": "open"}, []string{"privateKeySecretRef"}},
		"passphrase alone":     {map[string]any{"privateKeySecretRef": nil, "useAgent": true, "passphrase": "x"}, []string{"passphrase"}},
		"bad reference":        {map[string]any{"privateKeySecretRef": map[string]any{"type": "secret"}}, []string{"privateKeySecretRef", "privateKey"}},
		"certificate":          {map[string]any{"certificate": "x"}, []string{"certificate"}},
		"known hosts":          {map[string]any{"knownHosts": "h ssh-ed25519 AAAA"}, []string{"knownHosts"}},
		"mode":                 {map[string]any{"workspaceMode": "own"}, []string{"workspaceMode"}},
		"timeout":              {map[string]any{"connectTimeoutMs": 0}, []string{"connectTimeoutMs"}},
		"runtime url":          {map[string]any{"runtimeUrl": "maybe", "runtimeApiCandidates": []string{"ftp://x"}}, []string{"runtimeUrl", "runtimeApiCandidates[0]"}},
		"jump":                 {map[string]any{"jumpHosts": []any{map[string]any{"host": "", "x": 1}, 7}}, []string{"jumpHosts[0].host", "jumpHosts[0].x", "jumpHosts[1]"}},
		"strict":               {map[string]any{"strictHostKeyChecking": "no"}, []string{"strictHostKeyChecking"}},
		"certificate, no key":  {map[string]any{"privateKeySecretRef": nil, "certificate": certificateFor(t, public)}, []string{"certificate", "privateKey"}},
		"secret of other type": {map[string]any{"privateKeySecretRef": 7}, []string{"privateKeySecretRef", "privateKey"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := (&Driver{}).CheckConfig(encode(t, base, row.change))
			problem, ok := errors.AsType[*drivers.ConfigError](err)
			require.True(t, ok, "%v", err)
			named := []string{}
			for _, p := range problem.Problems {
				named = append(named, strings.TrimPrefix(p.Field, "config."))
				require.NotEmpty(t, p.Remediation)
			}
			require.Equal(t, row.fields, named)
			for line := range strings.Lines(key + damaged + locked + "open sesame\n") {
				if line = strings.TrimSpace(line); !strings.HasPrefix(line, "-----") {
					require.NotContains(t, err.Error(), line)
				}
			}
		})
	}
}

// certificateFor is a certificate of key by an authority of its own.
func certificateFor(t *testing.T, key ssh.PublicKey, by ...ssh.Signer) string {
	t.Helper()
	if len(by) == 0 {
		private, _ := sshtest.NewKey(t)
		signer, err := ssh.ParsePrivateKey([]byte(private))
		require.NoError(t, err)
		by = []ssh.Signer{signer}
	}
	cert := &ssh.Certificate{Key: key, CertType: ssh.UserCert, ValidBefore: ssh.CertTimeInfinity, ValidPrincipals: []string{sshtest.Me(t)}}
	require.NoError(t, cert.SignCert(rand.Reader, by[0]))
	return string(ssh.MarshalAuthorizedKey(cert))
}

func TestSecretsAreWhereTheConfigurationHasThem(t *testing.T) {
	t.Parallel()
	d := newDriver(t, Options{})
	require.Equal(t, []drivers.SecretField{
		{Value: "/privateKey", Ref: "/privateKeySecretRef"}, {Value: "/passphrase", Ref: "/passphraseSecretRef"},
		{Value: "/jumpHosts/1/privateKey", Ref: "/jumpHosts/1/privateKeySecretRef"},
	}, d.SecretFields(json.RawMessage(`{"privateKey": "x", "passphraseSecretRef": `+ref+`, "jumpHosts": [{"host": "a"}, {"privateKeySecretRef": `+ref+`}]}`)))
	require.Empty(t, d.SecretFields(json.RawMessage(`{"host": "h", "useAgent": true}`)))
	require.Empty(t, d.SecretFields(json.RawMessage(`[]`)))
}

func TestAReferenceThatNobodyReplacedNeverReachesTheHost(t *testing.T) {
	t.Parallel()
	s := sshtest.StartFake(t, sshtest.FakeOptions{})
	_, _, err := acquire(t, newDriver(t, Options{}), encode(t, s.Fields(t.TempDir()), map[string]any{"privateKeySecretRef": json.RawMessage(ref)}))
	requireFailure(t, err, drivers.OutcomeDefinite, "credentials", "secret_unresolved")
	require.Zero(t, s.Attempts.Load())
}

// works acquires, runs a command and releases.
func works(t *testing.T, d *Driver, config json.RawMessage) {
	t.Helper()
	r := driverstest.Acquire(t, driverstest.Features{New: func(*testing.T) drivers.Driver { return d }, Config: config})
	require.Equal(t, "hi\n", string(r.Sh("echo hi").Stdout))
	require.NoError(t, r.Release())
}

func TestEveryKindOfCredentialLogsIn(t *testing.T) {
	t.Parallel()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(rsaKey, "")
	require.NoError(t, err)
	rsaPublic, err := ssh.NewPublicKey(&rsaKey.PublicKey)
	require.NoError(t, err)
	locked := encrypted(t)
	lockedSigner, err := ssh.ParsePrivateKeyWithPassphrase([]byte(locked), []byte("open sesame"))
	require.NoError(t, err)
	caPEM, caKey := sshtest.NewKey(t)
	ca, err := ssh.ParsePrivateKey([]byte(caPEM))
	require.NoError(t, err)
	certified, certifiedKey := sshtest.NewKey(t)
	held, heldKey := sshtest.NewKey(t)
	heldRaw, err := ssh.ParseRawPrivateKey([]byte(held))
	require.NoError(t, err)
	caFile := filepath.Join(t.TempDir(), "ca.pub")
	require.NoError(t, os.WriteFile(caFile, ssh.MarshalAuthorizedKey(caKey), 0o600))
	s := sshtest.Start(t, sshtest.Options{
		Lines: []string{"TrustedUserCAKeys " + caFile}, Authorized: []ssh.PublicKey{rsaPublic, lockedSigner.PublicKey(), heldKey},
	})
	socket := startAgent(t, agent.AddedKey{PrivateKey: heldRaw})
	for name, change := range map[string]map[string]any{
		"raw key": {"privateKey": s.PrivateKey, "privateKeySecretRef": nil}, "rsa": {"privateKeySecretRef": string(pem.EncodeToMemory(block))},
		"passphrase":  {"privateKeySecretRef": locked, "passphraseSecretRef": "open sesame"},
		"certificate": {"privateKeySecretRef": certified, "certificate": certificateFor(t, certifiedKey, ca)},
		"agent":       {"privateKeySecretRef": nil, "useAgent": true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			works(t, newDriver(t, Options{AgentSocket: socket}), encode(t, s.Fields(filepath.Join(t.TempDir(), "w")), change))
		})
	}
	for name, row := range map[string]struct {
		code   string
		change map[string]any
		o      Options
	}{
		"certificate of another key": {"bad_certificate", map[string]any{"certificate": certificateFor(t, certifiedKey, ca)}, Options{}},
		"a wrong passphrase":         {"bad_private_key", map[string]any{"privateKeySecretRef": locked, "passphraseSecretRef": "open"}, Options{}},
		"no agent":                   {"no_agent", map[string]any{"privateKeySecretRef": nil, "useAgent": true}, Options{}},
		"a dead agent":               {"agent_unreachable", map[string]any{"privateKeySecretRef": nil, "useAgent": true}, Options{AgentSocket: "/no/such/socket"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := acquire(t, newDriver(t, row.o), encode(t, s.Fields(t.TempDir()), row.change))
			f, ok := errors.AsType[*drivers.Failure](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, []string{"credentials", row.code}, []string{f.Step, f.Code})
		})
	}
}

// startAgent serves an agent that holds one key.
func startAgent(t *testing.T, key agent.AddedKey) (socket string) {
	t.Helper()
	keys := agent.NewKeyring()
	require.NoError(t, keys.Add(key))
	socket = filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", socket)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, ln.Close()) })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { _ = agent.ServeAgent(keys, c) }()
		}
	}()
	return socket
}

func TestATargetIsReachedThroughJumpHosts(t *testing.T) {
	t.Parallel()
	first, second := sshtest.StartFake(t, sshtest.FakeOptions{}), sshtest.StartFake(t, sshtest.FakeOptions{})
	target := sshtest.Start(t, sshtest.Options{})
	jumps := []any{
		map[string]any{"host": first.Host, "port": first.Port, "username": "one", "privateKeySecretRef": first.PrivateKey},
		map[string]any{"host": second.Host, "port": second.Port},
	}
	known := first.KnownHosts() + second.KnownHosts() + target.KnownHosts()
	fields := target.Fields(filepath.Join(t.TempDir(), "w"))
	works(t, newDriver(t, Options{}), encode(t, fields, map[string]any{"jumpHosts": jumps, "knownHosts": known}))
	for _, s := range []*sshtest.Server{&first.Server, &second.Server, target} {
		require.EqualValues(t, 1, s.Accepted.Load())
	}

	// A jump host is believed no more than a target.
	_, _, err := acquire(t, newDriver(t, Options{}), encode(t, fields, map[string]any{"jumpHosts": jumps, "knownHosts": first.KnownHosts() + target.KnownHosts()}))
	requireFailure(t, err, drivers.OutcomeDefinite, "host_key", "host_key_unknown")
	require.EqualValues(t, 1, target.Accepted.Load(), "the target is not asked")

	// Where a lease trusts what it has seen first, that holds for each server on the way.
	d := newDriver(t, Options{})
	req, rt, err := acquire(t, d, encode(t, fields, map[string]any{"jumpHosts": jumps, "knownHosts": nil, "strictHostKeyChecking": false}))
	require.NoError(t, err)
	second.NewHostKeys()
	other := newDriver(t, Options{})
	err = other.Release(t.Context(), drivers.ReleaseRequest{Handle: driverstest.HandleOf(req, rt)})
	requireFailure(t, err, drivers.OutcomeDefinite, "host_key", "host_key_mismatch")
	require.NoError(t, d.Release(t.Context(), drivers.ReleaseRequest{Handle: driverstest.HandleOf(req, rt)}), "over the connection that it has")

	// A jump host that does not answer fails in its own phase, and in time.
	silent := sshtest.StartFake(t, sshtest.FakeOptions{Stall: "banner"})
	_, _, err = acquire(t, newDriver(t, Options{}), encode(t, silent.Fields(t.TempDir()), map[string]any{
		"connectTimeoutMs": 3000, "jumpHosts": jumps[:1], "knownHosts": first.KnownHosts() + silent.KnownHosts(),
	}))
	requireFailure(t, err, drivers.OutcomeRetryable, "banner", "no_ssh_banner")
}

func TestOptionsThatCannotWorkAreNamed(t *testing.T) {
	t.Parallel()
	_, err := New(Options{Grace: -1, MaxConnections: -1})
	require.ErrorContains(t, err, "duration")
	require.ErrorContains(t, err, "MaxConnections")
}

func TestAnIDThatIsNoPlainNameIsRefused(t *testing.T) {
	t.Parallel()
	d := newDriver(t, Options{})
	for _, id := range []string{"", ".", "..", "../x", "a/b", ".new-x", "a\x00b", "a\nb", "a b", "a'b", "x.gone"} {
		req := requestFor(json.RawMessage(`{}`))
		req.RuntimeID = id
		_, err := d.Acquire(t.Context(), req)
		requireFailure(t, err, drivers.OutcomeDefinite, "check_id", "bad_runtime_id")
		require.Error(t, d.Release(t.Context(), drivers.ReleaseRequest{Handle: drivers.Handle{RuntimeID: id}}))
	}
}

package ssh

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"net"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/tenure-dev/tenure/drivers"
)

// credentials are who we are to a server.
type credentials struct {
	key, passphrase secret
	certificate     string
	agent           bool
}

func (c credentials) given() bool { return c.key.given() || c.agent }

func decodeCredentials(f *fields) credentials {
	var c credentials
	pick := func(name string) secret {
		value, ref := f.secret(name), f.secret(name+"SecretRef")
		if value.given() && ref.given() {
			f.problem(name, "is given twice, as a value and as a reference", "leave out one of "+name+" and "+name+"SecretRef")
		}
		if ref.given() {
			return ref
		}
		return value
	}
	place := "privateKey"
	if _, ok := f.raw["privateKey"]; !ok {
		place = "privateKeySecretRef"
	}
	c.key, c.passphrase = pick("privateKey"), pick("passphrase")
	f.take("useAgent", "true or false", &c.agent)
	c.certificate = f.text("certificate")
	if c.passphrase.given() && !c.key.given() {
		f.problem("passphrase", "is given without a private key", "give the private key, or leave the passphrase out")
	}
	if c.key.value != "" {
		if problem, remediation := checkKey(c.key.value, c.passphrase, f.decrypt); problem != "" {
			f.problem(place, problem, remediation)
		}
	}
	if c.certificate != "" {
		if _, ok := parseCertificate(c.certificate); !ok {
			f.problem("certificate", "is not an SSH certificate", "give the content of the file that ends in -cert.pub")
		} else if !c.given() {
			f.problem("certificate", "is given without its private key", "give the private key, or set useAgent")
		}
	}
	return c
}

// checkKey says what is wrong with a private key, in words that hold nothing of it.
func checkKey(key string, passphrase secret, decrypt bool) (problem, remediation string) {
	_, err := ssh.ParseRawPrivateKey([]byte(key))
	missing := &ssh.PassphraseMissingError{}
	if !errors.As(err, &missing) {
		if err != nil {
			return "is damaged, or not a private key in PEM or OpenSSH form", "give the whole file, from BEGIN to END, with its line breaks"
		}
		return "", ""
	}
	if !passphrase.given() {
		return "is encrypted and there is no passphrase", "give passphrase or passphraseSecretRef, or a key without one"
	}
	if passphrase.value == "" || !decrypt { // the former is a reference, not to be read here
		return "", ""
	}
	if _, err := ssh.ParseRawPrivateKeyWithPassphrase([]byte(key), []byte(passphrase.value)); err != nil {
		return "cannot be decrypted: the passphrase is wrong or the key is damaged", "correct the passphrase"
	}
	return "", ""
}

// signer returns the key, with its certificate if there is one; nil if there is only the agent.
func (c credentials) signer() (ssh.Signer, error) {
	if c.key.ref || c.passphrase.ref {
		return nil, &drivers.Failure{
			Outcome: drivers.OutcomeDefinite, Code: "secret_unresolved", Step: "credentials",
			Remediation: "make sure that the secret exists and is enabled", Err: errors.New("a reference stands where the secret should be"),
		}
	}
	if c.key.value == "" {
		return nil, nil
	}
	var signer ssh.Signer
	var err error
	if signer, err = ssh.ParsePrivateKey([]byte(c.key.value)); err != nil {
		if signer, err = ssh.ParsePrivateKeyWithPassphrase([]byte(c.key.value), []byte(c.passphrase.value)); err != nil {
			return nil, badCredentials("bad_private_key", "the private key cannot be read")
		}
	}
	if cert, ok := parseCertificate(c.certificate); ok {
		if signer, err = ssh.NewCertSigner(cert, signer); err != nil {
			return nil, badCredentials("bad_certificate", "the certificate is for another key")
		}
	}
	return signer, nil
}

func badCredentials(code, why string) error {
	return &drivers.Failure{
		Outcome: drivers.OutcomeDefinite, Code: code, Step: "credentials", Err: errors.New(why),
		Remediation: "correct the credentials of the environment",
	}
}

// methods are the ways to log in; done gives back what they hold, and says what the agent failed at, if it did. The agent is
// asked once the server wants a key, and has limit to answer.
func (c credentials) methods(ctx context.Context, socket string, limit time.Duration) (methods []ssh.AuthMethod, done func() error, err error) {
	done = func() error { return nil }
	signer, err := c.signer()
	if err != nil {
		return nil, done, err
	}
	if signer != nil {
		methods = append(methods, ssh.PublicKeys(signer))
	}
	if !c.agent {
		return methods, done, nil
	}
	if socket == "" {
		return nil, done, badCredentials("no_agent", "the environment uses the SSH agent, and this engine has none")
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, done, &drivers.Failure{
			Outcome: drivers.OutcomeRetryable, Code: "agent_unreachable", Step: "credentials", Err: err,
			Remediation: "start the SSH agent of the engine, or correct its socket",
		}
	}
	held := &agentConn{Conn: conn}
	cert, certified := parseCertificate(c.certificate)
	methods = append(methods, ssh.PublicKeysCallback(func() ([]ssh.Signer, error) {
		if err := conn.SetDeadline(time.Now().Add(limit)); err != nil {
			return nil, err
		}
		signers, err := agent.NewClient(held).Signers()
		if err != nil || !certified {
			return signers, err
		}
		for _, s := range signers {
			if bytes.Equal(s.PublicKey().Marshal(), cert.Key.Marshal()) {
				if s, err = ssh.NewCertSigner(cert, s); err != nil {
					return nil, err
				}
				return []ssh.Signer{s}, nil
			}
		}
		return nil, errors.New("the agent does not have the key of the certificate")
	}))
	return methods, func() error {
		_ = conn.Close()
		if !held.silent.Load() {
			return nil
		}
		return &drivers.Failure{
			Outcome: drivers.OutcomeRetryable, Code: "agent_silent", Step: "credentials",
			Err:         fmt.Errorf("the SSH agent did not answer within %s", limit),
			Remediation: "see whether the SSH agent of the engine works (ssh-add -l), and whether it waits for a confirmation",
		}
	}, nil
}

// agentConn notes that an agent did not answer in time. The words of the library do not say so.
type agentConn struct {
	net.Conn
	silent atomic.Bool
}

// Read implements [net.Conn].
func (a *agentConn) Read(p []byte) (int, error) {
	n, err := a.Conn.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		a.silent.Store(true)
	}
	return n, err
}

// hashInto makes connections of other credentials other connections.
func (c credentials) hashInto(h hash.Hash) {
	for _, s := range []string{c.key.value, c.passphrase.value, c.certificate, fmt.Sprint(c.agent)} {
		sum := sha256.Sum256([]byte(s))
		h.Write(sum[:])
	}
}

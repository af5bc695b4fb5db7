// Package sshtest starts SSH servers for tests on the loopback of this machine: [Start] a real OpenSSH sshd, run as whoever
// runs the test, and [StartFake] a server whose faults can be chosen.
package sshtest

import (
	"os/user"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/tenure-dev/tenure/drivers/ssh/sshtest/sshd"
)

// Options of a server. Dir is a directory of the test's own, and so is Home unless it is given: what the start-up files of
// whoever runs the test do, and which locks they wait for, is no test's business.
type Options = sshd.Options

// Server is an sshd. One process serves one connection, so a test can cut each.
type Server = sshd.Server

// Start runs a server until t ends.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	o.Dir = t.TempDir()
	if o.Home == "" {
		o.Home = t.TempDir()
	}
	s, err := sshd.Start(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() {
		s.Stop()
		if t.Failed() {
			t.Logf("sshd: %s", s.Log())
		}
	})
	return s
}

// Me is who runs the test.
func Me(t testing.TB) string {
	t.Helper()
	me, err := user.Current()
	require.NoError(t, err)
	return me.Username
}

// NewKey makes a key pair; the private one is a PEM.
func NewKey(t testing.TB) (string, ssh.PublicKey) {
	t.Helper()
	private, public, err := sshd.NewKey()
	require.NoError(t, err)
	return private, public
}

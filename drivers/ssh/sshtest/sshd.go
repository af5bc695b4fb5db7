// Package sshtest starts SSH servers for tests on the loopback of this machine: [Start] a real OpenSSH sshd, run as whoever
// runs the test, and [StartFake] a server whose faults can be chosen.
package sshtest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

// Options of a server.
type Options struct {
	// Lines are added to sshd_config before all others, so that they win.
	Lines []string
	// LoginShell is the shell that the user's commands go through, such as "fish"; "" is the user's own.
	LoginShell string
	// HostKeyTypes are the host keys that the server has, of "ed25519" and "ecdsa"; nil is ed25519.
	HostKeyTypes []string
	// Wrap comes before the command that starts sshd.
	Wrap []string
	// Authorized are keys that may log in besides the server's own.
	Authorized []ssh.PublicKey
}

// Server is an sshd. One process serves one connection, so a test can cut each.
type Server struct {
	Host string
	Port int
	User string
	// PrivateKey is the PEM of the key that may log in.
	PrivateKey string
	// HostKeys are the public keys by type.
	HostKeys map[string]ssh.PublicKey
	// Accepted counts the connections so far.
	Accepted atomic.Int64

	t       testing.TB
	ln      net.Listener
	command []string
	// serveConn is how one connection is served.
	serveConn func(net.Conn)
	log       lockedBuffer
	serving   sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

// Start runs a server until t ends.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	dir := t.TempDir()
	s := &Server{Host: "127.0.0.1", User: Me(t), HostKeys: map[string]ssh.PublicKey{}, t: t, conns: map[net.Conn]struct{}{}}
	var authorized ssh.PublicKey
	s.PrivateKey, authorized = NewKey(t)
	var keys strings.Builder
	for _, key := range append(o.Authorized, authorized) {
		keys.Write(ssh.MarshalAuthorizedKey(key))
	}
	write(t, filepath.Join(dir, "authorized_keys"), keys.String())
	lines := append([]string{}, o.Lines...)
	if o.LoginShell != "" {
		lines = append(lines, fmt.Sprintf(`ForceCommand exec %s -c "$SSH_ORIGINAL_COMMAND"`, o.LoginShell))
	}
	if o.HostKeyTypes == nil {
		o.HostKeyTypes = []string{"ed25519"}
	}
	for _, kind := range o.HostKeyTypes {
		name := filepath.Join(dir, "host_"+kind)
		out, err := exec.CommandContext(t.Context(), "ssh-keygen", "-q", "-t", kind, "-N", "", "-f", name).CombinedOutput()
		require.NoError(t, err, "%s", out)
		b, err := os.ReadFile(name + ".pub")
		require.NoError(t, err)
		s.HostKeys[kind], _, _, _, err = ssh.ParseAuthorizedKey(b)
		require.NoError(t, err)
		lines = append(lines, "HostKey "+name)
	}
	lines = append(lines,
		"AuthorizedKeysFile "+filepath.Join(dir, "authorized_keys"), "PidFile none", "StrictModes no", "UsePAM no",
		"PasswordAuthentication no", "KbdInteractiveAuthentication no", "PermitRootLogin yes", "LogLevel ERROR")
	config := filepath.Join(dir, "sshd_config")
	write(t, config, strings.Join(lines, "\n")+"\n")
	if os.Geteuid() == 0 {
		require.NoError(t, os.MkdirAll("/run/sshd", 0o755)) // sshd's own package makes it when the service starts
	}
	sshd, err := exec.LookPath("sshd")
	if err != nil {
		sshd = "/usr/sbin/sshd" // Debian keeps it where only root looks
	}
	s.command = append(slices.Clone(o.Wrap), sshd, "-i", "-e", "-f", config)
	s.serveConn = s.serve
	s.listen("127.0.0.1:0")
	t.Cleanup(s.Stop)
	return s
}

// Me is who runs the test.
func Me(t testing.TB) string {
	t.Helper()
	me, err := user.Current()
	require.NoError(t, err)
	return me.Username
}

func (s *Server) listen(addr string) {
	s.t.Helper()
	var err error
	s.ln, err = (&net.ListenConfig{}).Listen(s.t.Context(), "tcp", addr)
	require.NoError(s.t, err)
	s.Port = s.ln.Addr().(*net.TCPAddr).Port
	s.serving.Go(func() {
		for {
			c, err := s.ln.Accept()
			if err != nil {
				return
			}
			s.Accepted.Add(1)
			s.mu.Lock()
			s.conns[c] = struct{}{}
			s.mu.Unlock()
			s.serving.Go(func() { s.handle(c) })
		}
	})
}

func (s *Server) handle(c net.Conn) {
	defer func() {
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
		_ = c.Close()
	}()
	s.serveConn(c)
}

// serve runs one sshd for one connection.
func (s *Server) serve(c net.Conn) {
	f, err := c.(*net.TCPConn).File()
	if err != nil {
		return
	}
	cmd := exec.CommandContext(context.Background(), s.command[0], s.command[1:]...)
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = f, f, &s.log
	err = cmd.Start()
	_ = f.Close()
	if err == nil {
		_ = cmd.Wait()
	}
}

// Drop cuts every connection, as a network would that lets nothing more through and says so.
func (s *Server) Drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.(*net.TCPConn).SetLinger(0)
		// Shutdown reaches the copy of the descriptor that sshd has.
		_ = c.(*net.TCPConn).CloseRead()
		_ = c.(*net.TCPConn).CloseWrite()
	}
}

// Stop ends the server and its connections.
func (s *Server) Stop() {
	_ = s.ln.Close()
	s.Drop()
	s.serving.Wait()
	if s.t.Failed() {
		s.t.Logf("sshd: %s", s.log.String())
	}
}

// KnownHosts is the server's entry for each of these types of key; for all that it has if none is named.
func (s *Server) KnownHosts(types ...string) string {
	var b strings.Builder
	if len(types) == 0 {
		types = slices.Sorted(maps.Keys(s.HostKeys))
	}
	for _, kind := range types {
		fmt.Fprintf(&b, "[%s]:%d %s", s.Host, s.Port, ssh.MarshalAuthorizedKey(s.HostKeys[kind]))
	}
	return b.String()
}

// Fields is a configuration that works, with root as the remote workspace path.
func (s *Server) Fields(root string) map[string]any {
	return map[string]any{
		"host": s.Host, "port": s.Port, "username": s.User, "remoteWorkspacePath": root,
		"privateKeySecretRef": s.PrivateKey, "knownHosts": s.KnownHosts(),
	}
}

// NewKey makes a key pair; the private one is a PEM.
func NewKey(t testing.TB) (string, ssh.PublicKey) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(private, "")
	require.NoError(t, err)
	key, err := ssh.NewPublicKey(public)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(block)), key
}

func write(t testing.TB, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}

// lockedBuffer is what several processes write to.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Package sshd starts a real OpenSSH sshd on the loopback of this machine, as whoever calls: for tests, which reach it through
// package sshtest, for the demo and the benchmarks. It has keys and a configuration of its own and needs no PAM.
package sshd

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

	"golang.org/x/crypto/ssh"
)

// Options of a server.
type Options struct {
	// Dir is an empty directory for its keys and its configuration, which only this user may enter.
	Dir string
	// Lines are added to sshd_config before all others, so that they win.
	Lines []string
	// Home is the user's home directory in there, for one whose own start-up files are slow or talk; "" is the user's own.
	Home string
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

	ln      net.Listener
	command []string
	// serveConn is how one connection is served.
	serveConn func(net.Conn)
	log       lockedBuffer
	serving   sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

// Start runs a server until [Server.Stop].
func Start(ctx context.Context, o Options) (*Server, error) {
	s := &Server{Host: "127.0.0.1", HostKeys: map[string]ssh.PublicKey{}}
	me, err := user.Current()
	if err != nil {
		return nil, err
	}
	s.User = me.Username
	config, err := s.configure(ctx, o)
	if err != nil {
		return nil, err
	}
	if os.Geteuid() == 0 {
		// sshd's own package makes it when the service starts.
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			return nil, err
		}
	}
	program, err := exec.LookPath("sshd")
	if err != nil {
		program = "/usr/sbin/sshd" // Debian keeps it where only root looks
	}
	if _, err := os.Stat(program); err != nil {
		return nil, fmt.Errorf("no sshd is installed (Debian: openssh-server): %w", err)
	}
	s.command = append(slices.Clone(o.Wrap), program, "-i", "-e", "-f", config)
	return s, s.Listen(ctx, "127.0.0.1:0", s.serve)
}

// configure writes the server's keys and its configuration, and returns where the latter is.
func (s *Server) configure(ctx context.Context, o Options) (config string, err error) {
	var authorized ssh.PublicKey
	if s.PrivateKey, authorized, err = NewKey(); err != nil {
		return "", err
	}
	var keys strings.Builder
	for _, key := range append(o.Authorized, authorized) {
		keys.Write(ssh.MarshalAuthorizedKey(key))
	}
	if err := os.WriteFile(filepath.Join(o.Dir, "authorized_keys"), []byte(keys.String()), 0o600); err != nil {
		return "", err
	}
	lines := append([]string{}, o.Lines...)
	if o.Home != "" {
		lines = append(lines, fmt.Sprintf("SetEnv HOME=%q", o.Home))
	}
	if o.LoginShell != "" {
		lines = append(lines, fmt.Sprintf(`ForceCommand exec %s -c "$SSH_ORIGINAL_COMMAND"`, o.LoginShell))
	}
	if o.HostKeyTypes == nil {
		o.HostKeyTypes = []string{"ed25519"}
	}
	for _, kind := range o.HostKeyTypes {
		name := filepath.Join(o.Dir, "host_"+kind)
		if out, err := exec.CommandContext(ctx, "ssh-keygen", "-q", "-t", kind, "-N", "", "-f", name).CombinedOutput(); err != nil {
			return "", fmt.Errorf("make a host key: %w: %s", err, out)
		}
		public, err := os.ReadFile(name + ".pub")
		if err != nil {
			return "", err
		}
		if s.HostKeys[kind], _, _, _, err = ssh.ParseAuthorizedKey(public); err != nil {
			return "", err
		}
		lines = append(lines, "HostKey "+name)
	}
	lines = append(lines,
		"AuthorizedKeysFile "+filepath.Join(o.Dir, "authorized_keys"), "PidFile none", "StrictModes no", "UsePAM no",
		"PasswordAuthentication no", "KbdInteractiveAuthentication no", "PermitRootLogin yes", "LogLevel ERROR")
	config = filepath.Join(o.Dir, "sshd_config")
	return config, os.WriteFile(config, []byte(strings.Join(lines, "\n")+"\n"), 0o600)
}

// Listen serves each connection to addr by serve, in a goroutine of its own, until [Server.Stop].
func (s *Server) Listen(ctx context.Context, addr string, serve func(net.Conn)) error {
	var err error
	if s.ln, err = (&net.ListenConfig{}).Listen(ctx, "tcp", addr); err != nil {
		return err
	}
	s.Port = s.ln.Addr().(*net.TCPAddr).Port
	s.serveConn, s.conns = serve, map[net.Conn]struct{}{}
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
	return nil
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
}

// Log is what the servers of all connections said.
func (s *Server) Log() string { return s.log.String() }

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
func NewKey() (string, ssh.PublicKey, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", nil, err
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return "", nil, err
	}
	key, err := ssh.NewPublicKey(public)
	return string(pem.EncodeToMemory(block)), key, err
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

package docker

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"time"
)

// DefaultHost is the engine's usual address.
const DefaultHost = "unix:///var/run/docker.sock"

// Options of the driver.
type Options struct {
	// Host is the engine of environments that name none; "" is [DefaultHost].
	Host string
	// CertDir holds ca.pem, cert.pem and key.pem for engines reached by TCP. Without it only those on this machine's
	// loopback are accepted, since whoever reaches an engine owns its machine.
	CertDir string
	// Inner is a static program that calls inner.Main when its first argument is inner.Command: the engine's own. It is
	// the absolute path of a regular file.
	Inner string
	// CopyInner copies the program into each container instead of mounting it. It is done anyway for engines reached by
	// TCP, and for those that do not have the file at this path.
	CopyInner bool
	// Logger takes the progress of pulls and the warnings of the engine; nil is none.
	Logger *slog.Logger
	// Grace lies between SIGTERM and SIGKILL where a request does not say; 0 is 5 s.
	Grace time.Duration
	// Drain bounds the wait for output after a command's main process has exited; 0 is 2 s.
	Drain time.Duration
	// Silence is after how long without a sign of life from a command's parent, or from the engine, the command's end is
	// unknown; 0 is 45 s.
	Silence time.Duration
}

// Defaults fills in what is not set.
func (o Options) Defaults() Options {
	if o.Host == "" {
		o.Host = DefaultHost
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Grace <= 0 {
		o.Grace = 5 * time.Second
	}
	if o.Drain <= 0 {
		o.Drain = 2 * time.Second
	}
	return o
}

// Validate names every option that cannot work.
func (o Options) Validate() error {
	var problems []error
	if err := checkHost(o.Host, o.CertDir); err != nil {
		problems = append(problems, fmt.Errorf("option Host: %w", err))
	}
	if !filepath.IsAbs(o.Inner) {
		problems = append(problems, fmt.Errorf("option Inner: %q is not an absolute path", o.Inner))
	}
	return errors.Join(problems...)
}

// isLocal reports whether an engine is reached by a socket of this machine.
func isLocal(host string) bool { return strings.HasPrefix(host, "unix://") }

// checkHost accepts unix:///absolute/path and tcp://name:port.
func checkHost(host, certDir string) error {
	if path, ok := strings.CutPrefix(host, "unix://"); ok {
		if !filepath.IsAbs(path) || strings.Contains(path, "\x00") {
			return fmt.Errorf("%q does not name a socket by its absolute path", host)
		}
		return nil
	}
	u, err := url.Parse(host)
	if err != nil || u.Scheme != "tcp" || u.Hostname() == "" || u.Port() == "" || u.User != nil || u.RawQuery != "" || strings.Trim(u.Path, "/") != "" {
		return errors.New("is neither unix:///path nor tcp://host:port")
	}
	if ip := net.ParseIP(u.Hostname()); certDir == "" && (ip == nil || !ip.IsLoopback()) {
		return errors.New("needs TLS: this server has no certificates for Docker engines, so only loopback addresses are accepted")
	}
	return nil
}

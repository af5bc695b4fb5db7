package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// ErrNoDataDir says that nothing tells where the data directory is.
var ErrNoDataDir = errors.New("neither HOME nor XDG_DATA_HOME is set, so there is no default data directory")

// DefaultDataDir is /var/lib/tenure for root, else tenure in $XDG_DATA_HOME or ~/.local/share.
func DefaultDataDir(env func(string) string, uid int) (string, error) {
	if uid == 0 {
		return "/var/lib/tenure", nil
	}
	dir := userFile(env, "XDG_DATA_HOME", filepath.Join(".local", "share"), "")
	if dir == "" {
		return "", ErrNoDataDir
	}
	return filepath.Clean(dir), nil
}

// The files that a server leaves in its data directory for the CLI on the same machine.
const (
	// AddressFile holds where it listens.
	AddressFile = "address"
	// KeyFile holds the first admin key.
	KeyFile = "admin.key"
)

// LocalServer is the base URL of the server of a data directory, from the file that it writes when it listens; "" when
// there is none.
func LocalServer(dataDir string) string {
	if dataDir == "" {
		return ""
	}
	data, err := os.ReadFile(filepath.Join(dataDir, AddressFile))
	if err != nil {
		return ""
	}
	address := strings.TrimSpace(string(data))
	if address == "" || strings.ContainsAny(address, " \n") {
		return ""
	}
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	return address
}

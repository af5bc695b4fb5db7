package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Key is an API key and where it came from. It prints as its source: a key never reaches a terminal or a log.
type Key struct {
	Secret string
	Source string
}

func (k Key) String() string { return k.Source }

// GoString keeps %#v from showing the secret.
func (k Key) GoString() string { return k.Source }

// NoKeyError says that there is no key and how to give one.
type NoKeyError struct {
	// Cause is why none was found.
	Cause string
	// Remediation is what to do.
	Remediation string
}

func (e *NoKeyError) Error() string { return e.Cause }

const giveKey = "put the key into TENURE_API_KEY, or its file's name into TENURE_API_KEY_FILE"

// Key finds the API key: TENURE_API_KEY, else the file TENURE_API_KEY_FILE, else the context's apiKeyFile, else the
// admin.key of the local data directory. That last one is the key of the server on this machine and is offered to no
// other: local says that the server addressed is that one.
func (s *Settings) Key(dataDir string, local bool) (Key, error) {
	if key := strings.TrimSpace(s.env("TENURE_API_KEY")); key != "" {
		return checkKey(key, "TENURE_API_KEY")
	}
	if path := s.env("TENURE_API_KEY_FILE"); path != "" {
		return readKey(path, "TENURE_API_KEY_FILE")
	}
	if path := s.context.APIKeyFile; path != "" {
		return readKey(path, "apiKeyFile in "+s.path)
	}
	switch {
	case !local:
		return Key{}, &NoKeyError{Cause: "no API key is set for this server", Remediation: giveKey}
	case dataDir == "":
		return Key{}, &NoKeyError{Cause: "no API key is set, and no data directory is known", Remediation: giveKey + ", or name the server's data directory with --data-dir"}
	}
	key, err := readKey(filepath.Join(dataDir, KeyFile), "the data directory")
	if missing, ok := errors.AsType[*NoKeyError](err); ok {
		missing.Remediation = giveKey + ", or name the server's data directory with --data-dir"
	}
	return key, err
}

func readKey(path, from string) (Key, error) {
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Key{}, &NoKeyError{Cause: fmt.Sprintf("there is no key file %s (from %s)", path, from), Remediation: giveKey}
	case errors.Is(err, fs.ErrPermission):
		return Key{}, &NoKeyError{
			Cause:       fmt.Sprintf("the key file %s (from %s) may not be read by this user", path, from),
			Remediation: "call as the user that runs the server, or " + giveKey,
		}
	case err != nil:
		return Key{}, fmt.Errorf("read key file %s (from %s): %w", path, from, err)
	}
	return checkKey(strings.TrimSpace(string(data)), path)
}

// checkKey refuses what cannot stand in a header, before an HTTP library quotes it in an error.
func checkKey(secret, from string) (Key, error) {
	ok := secret != ""
	for _, r := range secret {
		ok = ok && r > ' ' && r < 0x7f
	}
	if !ok {
		return Key{}, &NoKeyError{Cause: from + " holds no API key: one word of visible ASCII characters is expected", Remediation: giveKey}
	}
	return Key{Secret: secret, Source: from}, nil
}

package embedded

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"regexp"
	"slices"
	"time"
)

const (
	// databaseName is the database ConnString points at, and the role that owns it.
	databaseName = "tenure"
	roleName     = "tenure"

	defaultUser         = "postgres"
	defaultStartTimeout = time.Minute
	defaultLogLimit     = 8 << 20
)

// Options say which directory is served and how.
type Options struct {
	// DataDir is the engine's data directory; the cluster lives in DataDir/postgres. Required unless Lock is given.
	DataDir string
	// Lock is the lock on the data directory if the caller holds it already; it then says which directory. Start takes (and Stop gives back) one of its own otherwise.
	Lock *DirLock
	// BinDir is the directory of postgres and initdb. Empty: the installed ones are searched.
	BinDir string
	// User is whom the server runs as when the engine is root. Default "postgres". It should be used for nothing else.
	User string
	// Logger gets starts, adoptions, deaths and restarts. Default: nothing is logged.
	Logger *slog.Logger
	// StartTimeout bounds initdb, and the time in which a server neither answers nor says that it is recovering. Default 1 minute.
	StartTimeout time.Duration
	// LogLimit is the size in bytes beyond which postgres.log is rotated or cut. Default 8 MiB.
	LogLimit int64
	// Settings are added to postgresql.conf. Those that decide who can reach the server cannot be set.
	Settings map[string]string
	// NoSync trades the data's safety in a power failure for speed. For tests only.
	NoSync bool

	backoff backoff
}

// Defaults returns o with every unset field that has a default filled in.
func (o Options) Defaults() Options {
	if o.User == "" {
		o.User = defaultUser
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.StartTimeout == 0 {
		o.StartTimeout = defaultStartTimeout
	}
	if o.LogLimit == 0 {
		o.LogLimit = defaultLogLimit
	}
	if o.backoff.failures == 0 {
		o.backoff = defaultBackoff
	}
	return o
}

// reservedSettings decide who can reach the server and where its parts are; both are this package's promise.
var reservedSettings = []string{
	"config_file", "data_directory", "external_pid_file", "hba_file", "ident_file", "include", "include_dir", "include_if_exists",
	"listen_addresses", "password_encryption", "port", "unix_socket_directories", "unix_socket_group", "unix_socket_permissions",
}

var settingName = regexp.MustCompile(`^[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?$`)

// Validate reports every problem at once, each with the field's name.
func (o Options) Validate() error {
	var problems []error
	if o.DataDir == "" && o.Lock == nil {
		problems = append(problems, errors.New("DataDir: must not be empty"))
	}
	if o.BinDir != "" && !filepath.IsAbs(o.BinDir) {
		problems = append(problems, fmt.Errorf("BinDir: %q is not an absolute path", o.BinDir))
	}
	if o.StartTimeout < 0 {
		problems = append(problems, fmt.Errorf("StartTimeout: %s is negative", o.StartTimeout))
	}
	if o.LogLimit < 0 {
		problems = append(problems, fmt.Errorf("LogLimit: %d is negative", o.LogLimit))
	}
	for name := range o.Settings {
		switch {
		case !settingName.MatchString(name):
			problems = append(problems, fmt.Errorf("Settings: %q is not a lower-case setting name", name)) //nolint:staticcheck // begins with the field
		case slices.Contains(reservedSettings, name):
			problems = append(problems, fmt.Errorf("Settings: %q is decided by the engine and cannot be set", name)) //nolint:staticcheck // begins with the field
		}
	}
	if len(problems) == 0 {
		return nil
	}
	return &Error{Code: CodeBadOptions, What: "embedded postgres options", Cause: errors.Join(problems...)}
}

package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
)

const configHeader = "# Written by the engine at every start; changes made here are lost.\n"

// configure writes the three configuration files. They are whole before a server starts and never edited by hand.
func (c *cluster) configure(at address, settings map[string]string, noSync bool) error {
	root, err := os.OpenRoot(c.dir)
	if err != nil {
		return dataDirError(c.dir, err)
	}
	defer root.Close() //nolint:errcheck // what is written in it is closed by itself
	hba, ident := authentication(peerName())
	if peerName() == "" {
		if _, err := os.Stat(c.passwordPath()); err != nil {
			return &Error{
				Code: CodePasswordMissing, What: fmt.Sprintf("uid %d has no passwd entry, so it needs %s to connect", os.Geteuid(), c.passwordPath()), Cause: err,
				Remediation: "restore that file, or add the uid to /etc/passwd",
			}
		}
	}
	files := []struct{ name, text string }{
		{"postgresql.conf", serverSettings(at, settings, noSync)}, {"pg_hba.conf", hba}, {"pg_ident.conf", ident},
		{"postgresql.auto.conf", ""},
	}
	for _, f := range files {
		if err := c.writeConfig(root, f.name, configHeader+f.text); err != nil {
			return dataDirError(c.dir, fmt.Errorf("write %s: %w", f.name, err))
		}
	}
	return nil
}

// writeConfig goes through os.Root because root writes here into another user's directory: a planted link leads nowhere.
func (c *cluster) writeConfig(root *os.Root, name, text string) error {
	if old, err := root.ReadFile(name); err == nil && string(old) == text {
		return nil
	}
	tmp := name + ".new"
	if err := root.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Chown(c.acct.uid, c.acct.gid), f.Sync(), f.Close()); err != nil {
		return err
	}
	return root.Rename(tmp, name)
}

// authentication lets in the one operating system user the engine is, by name if it has one.
func authentication(peer string) (hba, ident string) {
	if peer == "" {
		return "local all " + roleName + " scram-sha-256\n", ""
	}
	return "local all " + roleName + " peer map=engine\n", "engine " + peer + " " + roleName + "\n"
}

// serverSettings: later lines win, so the caller's come after ours and what decides who can connect comes last.
func serverSettings(at address, extra map[string]string, noSync bool) string {
	settings := map[string]string{
		"max_connections": "100",
		"shared_buffers":  "128MB",
		"jit":             "off",
		"timezone":        "UTC",
		"log_timezone":    "UTC",
		// The engine sees every error of its statements. Here they would only repeat values that do not belong into a log.
		"log_destination":             "stderr",
		"logging_collector":           "off",
		"log_min_messages":            "log",
		"log_min_error_statement":     "panic",
		"log_error_verbosity":         "terse",
		"log_checkpoints":             "off",
		"log_autovacuum_min_duration": "-1",
		// An acknowledged append is on disk.
		"fsync":              "on",
		"synchronous_commit": "on",
		"full_page_writes":   "on",
	}
	if noSync {
		// A commit still reaches the operating system before it is acknowledged, so kill -9 loses nothing here either.
		settings["fsync"], settings["full_page_writes"] = "off", "off"
	}
	maps.Copy(settings, extra)
	maps.Copy(settings, map[string]string{ //nolint:gosec // password_encryption names a method, not a password
		"listen_addresses":        "",
		"port":                    strconv.Itoa(at.port),
		"unix_socket_directories": `"` + at.dir + `"`,
		"unix_socket_permissions": "0700",
		"password_encryption":     "scram-sha-256",
	})
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&text, "%s = %s\n", name, quoteSetting(settings[name]))
	}
	return text.String()
}

// quoteSetting quotes for postgresql.conf, where a line ends the value.
func quoteSetting(value string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", "''", "\n", `\n`, "\r", `\r`).Replace(value) + "'"
}
